"""Several processes that train together, started by torchrun or accelerate launch: the part that imports no framework.

The launcher starts a sweep for each rank. Each of them starts a fresh child for each batch size, and the children train
as one process group. The sweeps hold plain sockets to that of rank 0: it tells the others what to time, hears how each
child has ended, and so knows which rank failed and why, whatever the framework's own group does then.
"""

import contextlib
import hmac
import json
import os
import secrets
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from speed_test.child import Child, Failure
from speed_test.command_line import BadInput
from speed_test.interrupt import Interrupt
from speed_test.line import Line

SECONDS_TO_MEET = 300  # for all sweeps to reach that of rank 0
SECONDS_TO_SAY_WHO = 5  # for a stranger who connects to that port
SECONDS_FOR_THE_CAUSE = 5  # after a failure that another one may have caused, before all children are ended
SECONDS_TO_END = 30  # for the other sweeps, after the last word of rank 0

# How a rank says that another one has left it: gloo (the first five), NCCL, and the store that ranks meet at.
OF_ANOTHER = (
    *("by peer", "Timed out waiting", "Broken pipe", "Gloo connect", "Socket closed"),
    *("NCCL", "SIGABRT", "wait timeout", "DistStoreError", "DistNetworkError"),
)


class Place(NamedTuple):
    """Where a process stands among all that the launcher has started.

    `rank` is of `size` in all, `local_rank` of `local_size` on its machine, of which there are `nodes`. They meet at
    `master` and `port`; `agent_store`: the launcher itself keeps the store there.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    nodes: int
    master: str
    port: int
    agent_store: bool


class RankLost(Exception):
    """The connection to another rank's sweep has ended. Its text is one sentence."""


class Ranks:
    """The sweeps of all ranks, as one of them sees the others. Use it with `with`: at its end rank 0 tells the others
    to end, with its own exit status.

    Without a launcher, `place` is None: there is one process, and nothing here does anything.
    """

    def __init__(self, place: Place | None, interrupt: Interrupt) -> None:
        self.place = place
        self.size = place.size if place else 1
        self.nodes = place.nodes if place else 1
        self.follows = bool(place and place.rank)
        self.have_met = False
        self._has_heard_the_end = False
        self.lost = ""  # why no further batch size can be timed
        self._children = 0  # that were started so far
        self._interrupt = interrupt
        self._lines: dict[int, Line] = {}  # of rank 0: to each other rank; of the others: to rank 0
        self._inbox: dict[int, list[Any]] = {}
        self._key = secrets.token_hex()
        self._server: socket.socket | None = None
        self._suspected = 0.0  # since when a batch size has had failures of which another rank may be the cause

    def __enter__(self) -> "Ranks":
        if self.place:
            threading.Thread(target=_end_with_launcher, args=(self._interrupt, os.getppid()), daemon=True).start()
            if not self.follows:
                self._server = socket.create_server(("", 0))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _) -> None:
        """Rank 0 tells the end, when it has printed all, and the others wait for that: a launcher that sees one of
        them fail ends all at once."""
        if self.follows and isinstance(error, KeyboardInterrupt):
            self._tell({"interrupted": self._interrupt.caught})
        if self.place and not self.follows:
            self._tell({"end": self._status(error)})
        end = time.monotonic() + SECONDS_TO_END
        while any(line.is_open for line in self._lines.values()) and time.monotonic() < end:
            if self._has_heard_the_end or (self.follows and any("end" in said for said in self._inbox.get(0, ()))):
                break
            self._poll(0.1)
        for line in self._lines.values():
            line.close()
        if self._server:
            self._server.close()

    def _status(self, error: BaseException | None) -> int:
        """The exit status that `error` leads to."""
        if isinstance(error, SystemExit):
            return error.code if isinstance(error.code, int) else 1
        if isinstance(error, KeyboardInterrupt):
            return self._interrupt.exit_status
        return 2 if isinstance(error, BadInput) else 1

    # ---- Meeting ----

    @property
    def offer(self) -> str:
        """What rank 0 puts into the launcher's store, for the others to find it; "" at the others."""
        return json.dumps([self._server.getsockname()[1], self._key]) if self._server else ""

    def meet(self, found: Mapping[str, str]) -> None:
        """Connect the sweeps of all ranks. `found` has rank 0's `offer` and its `host`, as the others reach it.

        Raises RankLost if not all of them come within 5 minutes, KeyboardInterrupt after Ctrl-C.
        """
        assert self.place
        if not self._server:
            port, key = json.loads(found["offer"])
            try:
                line = Line(socket.create_connection((found["host"], port), timeout=SECONDS_TO_END))
            except OSError as error:
                raise RankLost(
                    f"rank 0 cannot be reached at {found['host']}, port {port} ({error.strerror or error}); a firewall "
                    "must let connections through to it"
                ) from None
            line.send({"key": key, "rank": self.place.rank})
            self._lines[0] = line
        end = time.monotonic() + SECONDS_TO_MEET
        while self._server and len(self._lines) < self.size - 1:
            self._check_for_interrupt()
            if time.monotonic() > end:
                missing = sorted({*range(1, self.size)} - self._lines.keys())
                raise RankLost(f"rank {missing[0]} has not come within {SECONDS_TO_MEET} s")
            if select.select([self._server], [], [], 0.1)[0]:
                self._welcome(self._server.accept()[0])
        self._inbox = {rank: self._inbox.get(rank, []) for rank in self._lines}
        self.have_met = True

    def _welcome(self, connection: socket.socket) -> None:
        """Take in a rank that knows the key, and nobody else."""
        line = Line(connection)
        connection.settimeout(SECONDS_TO_SAY_WHO)
        with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
            said, *more = line.receive()  # it may have said more already
            if hmac.compare_digest(said["key"], self._key) and said["rank"] in range(1, self.size):
                connection.settimeout(SECONDS_TO_END)
                self._lines[said["rank"]] = line
                self._inbox[said["rank"]] = more
                return
        line.close()

    # ---- Talking ----

    def gather(self, mine: Any) -> dict[int, Any]:
        """The same question to all ranks: what each says, at all of them.

        Raises RankLost if one is gone, KeyboardInterrupt after Ctrl-C.
        """
        if self.follows:
            self._lines[0].send(mine)
            return {int(rank): said for rank, said in self.told("gathered").items()}
        while not all(self._inbox.values()):
            self._check_for_interrupt()
            self._poll(0.1)
            if self.lost:
                raise RankLost(self.lost)
        said = {0: mine} | {rank: waiting.pop(0) for rank, waiting in self._inbox.items()}
        self._tell({"gathered": said})
        return said

    def told(self, *kinds: str) -> Any:
        """What rank 0 says next of one of `kinds`; with several of them, as (kind, content).

        Raises RankLost if it is gone, KeyboardInterrupt after Ctrl-C, SystemExit once it tells the end.
        """
        while True:
            waiting = self._inbox[0]
            while waiting:
                ((kind, content),) = waiting.pop(0).items()
                if kind == "end":
                    self._has_heard_the_end = True
                    raise SystemExit(content)
                if kind in kinds:
                    return content if len(kinds) == 1 else (kind, content)
            self._check_for_interrupt()
            if self.lost:
                raise RankLost(self.lost)
            self._poll(0.1)

    def child(
        self, job: Callable, arguments: tuple[Any, ...], stall_timeout: float, order: dict[str, Any] | None = None
    ) -> Child:
        """A child that runs `job(send, *arguments, place, name)`: `place` is this rank's, and `name` is new for each.

        As rank 0, first tell the `order` to the others, so that they start theirs.
        """
        if not self.place:
            return Child(job, (*arguments, None, ""), self._interrupt, stall_timeout)
        if order:
            self._tell({"order": order})
        self._children += 1
        arguments = (*arguments, self.place, f"child {self._children}")
        return Child(job, arguments, self._interrupt, stall_timeout, self.has_to_stop)

    def has_to_stop(self) -> bool:
        """Whether the child that runs has to be ended, because of another rank; looked at ten times a second."""
        self._poll(0)
        if self.follows:
            return bool(self.lost) or any("stop" in said or "end" in said for said in self._inbox[0])
        return bool(self.lost) or self._is_time_to_stop({rank: said[0] for rank, said in self._inbox.items() if said})

    def verdict(self, failure: Failure | None) -> Failure | None:
        """How a batch size has ended at all ranks: the failure that was the cause, None if all went well.

        `failure` is that of this rank's own child. Raises KeyboardInterrupt after Ctrl-C.
        """
        if self.size == 1:
            return failure
        if self.follows:
            self.gather(failure)
            return None
        ended = {0: failure}
        told = False
        while len(ended) < self.size:
            self._check_for_interrupt()
            self._poll(0.1)
            for rank, waiting in self._inbox.items():
                if rank not in ended and (waiting or not self._lines[rank].is_open):
                    ended[rank] = waiting.pop(0) if waiting else ("failed", "its connection to rank 0 ended")
            if not told and self._is_time_to_stop(ended):
                self._tell({"stop": True})
                told = True
        self._suspected = 0.0
        self._tell({"gathered": {}})
        return cause(ended)

    def _is_time_to_stop(self, ended: Mapping[int, Failure | None]) -> bool:
        """Whether one has failed; if that may be because of another, who will say so, only after a while."""
        if not any(ended.values()):
            return False
        self._suspected = self._suspected or time.monotonic()
        return not _is_of_another(ended) or time.monotonic() - self._suspected > SECONDS_FOR_THE_CAUSE

    def _tell(self, message: dict[str, Any]) -> None:
        for line in self._lines.values():
            line.send(message)

    def _poll(self, seconds: float) -> None:
        """Take in what has come within so many seconds."""
        if not (lines := {rank: line for rank, line in self._lines.items() if line.is_open}):
            time.sleep(seconds)
            return
        ready, _, _ = select.select(list(lines.values()), [], [], seconds)
        for rank, line in lines.items():
            if line in ready:
                said = line.receive()
                for number in [value["interrupted"] for value in said if _is_interrupt(value)]:
                    self._interrupt.caught = self._interrupt.caught or number or int(signal.SIGINT)
                self._inbox.setdefault(rank, []).extend(value for value in said if not _is_interrupt(value))
            if not line.is_open:
                self.lost = f"rank {rank} is gone: its connection ended"

    def _check_for_interrupt(self) -> None:
        if self._interrupt.caught:
            raise KeyboardInterrupt


def _is_interrupt(value: object) -> bool:
    return isinstance(value, dict) and "interrupted" in value


def _is_of_another(ended: Mapping[int, Failure | None]) -> bool:
    """Whether all failures so far may come from that of a rank that has not said anything yet."""
    return all(any(words in why for words in OF_ANOTHER) for _, why in filter(None, ended.values()))


def cause(ended: Mapping[int, Failure | None]) -> Failure | None:
    """The failure that caused the others, and of which rank it is. `ended` has that of each rank, None if it has ended
    well or was stopped because of others.

    A rank's own failures go before those that another may have caused. If there are only such, the cause is a rank
    that is silent while others wait for it.
    """
    failed = {rank: failure for rank, failure in sorted(ended.items()) if failure}
    if not failed:
        return None
    own = [rank for rank, failure in failed.items() if not _is_of_another({rank: failure})]
    silent = [] if own else sorted(ended.keys() - failed.keys())
    rank = (own or list(failed))[0]
    status, why = failed[rank]
    return status, f"rank {silent[0]} kept the others waiting: {why}" if silent else f"rank {rank}: {why}"


def _end_with_launcher(interrupt: Interrupt, launcher: int) -> None:
    """Take the death of the launcher, which may be killed without a word, for a closed terminal."""
    while os.getppid() == launcher:
        time.sleep(0.5)
    interrupt.caught = interrupt.caught or int(getattr(signal, "SIGHUP", signal.SIGTERM))
