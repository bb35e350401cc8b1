"""Several processes that train together: their shares, what their sweeps tell each other, and who is to blame."""

import json
import os
import socket
import threading
from dataclasses import replace

import pytest

from speed_test import launchers, ranks
from speed_test.clock import Clock
from speed_test.command_line import BadInput, parse
from speed_test.experiment import Experiment
from speed_test.group import Group, shares
from speed_test.interrupt import Interrupt
from speed_test.ranks import Place, RankLost, Ranks, cause

EXPERIMENT = Experiment(
    framework="pytorch",
    model="tiny",
    dataset="NOISE",
    samples=100,
    results="results_tiny",
    batch_sizes=(8,),
    switches=("processes",),
)
LAUNCHED = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "192.0.2.10",
    "MASTER_PORT": "29500",
}


# ---- Shares ----


def test_each_sample_is_in_one_batch_of_one_rank():
    for samples in range(1, 70):
        for batch_size in (1, 2, 5, 8):
            for size in (1, 2, 3, 4):
                of_ranks = [list(shares(samples, batch_size, size, rank)) for rank in range(size)]
                seen = [number for batches in of_ranks for first, last in batches for number in range(first, last)]
                assert sorted(seen) == list(range(samples))
                assert len({len(batches) for batches in of_ranks}) == 1
                assert all(last - first <= batch_size for batches in of_ranks for first, last in batches)
                if size > 1 and samples >= batch_size * size:
                    smallest = min(last - first for batches in of_ranks for first, last in batches)
                    assert smallest >= batch_size // 2


def test_a_process_alone_has_the_rest_as_its_last_batch():
    assert list(shares(20, 8, 1, 0)) == [(0, 8), (8, 16), (16, 20)]
    assert Group().own_sizes(20, 8) == [8, 8, 4]


def test_ranks_warm_up_on_the_shapes_of_the_steps_that_they_share():
    class OfTwo(Group):
        size = 2

    def sizes(samples, *arguments):
        clock = Clock(EXPERIMENT, parse(EXPERIMENT, "", list(arguments)), 10, None, lambda *_: None, OfTwo())
        return [len(part) for (part,) in clock.shapes((list(range(10)),), samples)]

    assert sizes(40) == [10]
    assert sizes(50) == [10, 7, 7]  # 50 is a multiple of 10, but not of 20: 20, and then 30 in two steps of both
    assert sizes(50, "--max_steps=1") == [10]
    assert sizes(50, "--max_steps=2") == [10, 7]


# ---- Who is to blame ----

KILLED = ("failed", "was killed by SIGKILL")
CLOSED = ("failed", "RuntimeError: [pair.cc:553] Connection closed by peer [127.0.0.1]:1 (distributed.py, line 9)")
LATE = ("failed", "RuntimeError: Timed out waiting 40000ms for recv operation to complete (x.py, line 1)")
MEMORY = ("out_of_memory", "DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize(
    ("ended", "blamed"),
    [
        ({0: None, 1: None}, None),
        ({0: None, 1: KILLED}, ("failed", "rank 1: was killed by SIGKILL")),
        ({0: CLOSED, 1: KILLED}, ("failed", "rank 1: was killed by SIGKILL")),
        ({0: CLOSED, 1: CLOSED, 2: MEMORY}, ("out_of_memory", f"rank 2: {MEMORY[1]}")),
        ({0: LATE, 1: None, 2: LATE}, ("failed", f"rank 1 kept the others waiting: {LATE[1]}")),
        ({0: CLOSED, 1: CLOSED}, ("failed", f"rank 0: {CLOSED[1]}")),
    ],
)
def test_the_cause_is_a_ranks_own_failure_or_the_silent_one(ended, blamed):
    assert cause(ended) == blamed


# ---- What sweeps tell each other ----


def at_each_rank(work, size=3):
    """Let `work(ranks)` run at each of `size` ranks, each in a thread; return what each returned or raised."""
    found = {}
    offered = threading.Event()
    offer = {}

    def run(rank):
        try:
            with Ranks(Place(rank, size, rank, size, 1, "localhost", 1, False), Interrupt()) as here:
                if rank == 0:
                    offer.update(offer=here.offer, host="127.0.0.1")
                    offered.set()
                assert offered.wait(20)
                here.meet(offer)
                found[rank] = work(here)
        except BaseException as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [found[rank] for rank in range(size)]


def test_all_ranks_hear_what_each_says():
    def work(here):
        first = here.gather({"data": here.place.rank})
        return first, here.gather([here.place.rank, "again"])

    expected = {rank: {"data": rank} for rank in range(3)}, {rank: [rank, "again"] for rank in range(3)}
    assert at_each_rank(work) == [expected] * 3


def test_a_failure_stops_all_and_is_blamed_on_its_rank(monkeypatch):
    """A failure that another rank may have caused waits for that one's."""
    monkeypatch.setattr(ranks, "SECONDS_FOR_THE_CAUSE", 30)
    said = threading.Event()

    def work(here):
        rank = here.place.rank
        if rank == 0:
            here._tell({"order": {"batch_size": 8}})
            verdict = here.verdict(None)
            return verdict, here.gather(None) and here.verdict(None)
        assert here.told("order") == {"batch_size": 8}
        if rank == 1:
            said.set()
            here.verdict(CLOSED)
        else:
            assert said.wait(20)
            here.verdict(KILLED)
        return here.gather(None) and here.verdict(None)

    assert at_each_rank(work) == [(("failed", "rank 2: was killed by SIGKILL"), None), None, None]


def test_a_running_child_has_to_stop_when_another_has_failed():
    def work(here):
        if here.place.rank == 1:
            here.verdict(MEMORY)
            return None
        while not here.has_to_stop():
            pass
        return here.verdict(None)

    assert at_each_rank(work, size=2)[0] == ("out_of_memory", f"rank 1: {MEMORY[1]}")
    assert at_each_rank(work)[0] == ("out_of_memory", f"rank 1: {MEMORY[1]}")


def test_a_rank_that_is_gone_is_named():
    def work(here):
        if here.place.rank == 2:
            here._lines[0].close()
            here._lines.clear()
            return None
        found = here.verdict(None)
        with pytest.raises((RankLost, SystemExit)):
            here.gather(None)
        return found, here.lost

    blamed = ("failed", "rank 2: its connection to rank 0 ended")
    assert at_each_rank(work)[0] == (blamed, "rank 2 is gone: its connection ended")


def test_all_end_with_the_exit_status_of_rank_0():
    def work(here):
        if here.place.rank == 0:
            raise SystemExit(3)
        here.told("order")

    assert [error.code for error in at_each_rank(work)] == [3, 3, 3]


def test_strangers_are_not_let_in():
    with Ranks(Place(0, 2, 0, 2, 1, "localhost", 1, False), Interrupt()) as here:
        port, key = json.loads(here.offer)
        knocking = []
        for line in (
            b'{"key": "no", "rank": 1}\n',
            b"\xff\xfe\n",
            b"[]\n",
            json.dumps({"key": key, "rank": 9}).encode(),
        ):
            knocking.append(socket.create_connection(("127.0.0.1", port)))
            knocking[-1].sendall(line + b"\n")
        friend = socket.create_connection(("127.0.0.1", port))
        friend.sendall(json.dumps({"key": key, "rank": 1}).encode() + b"\n")
        here.meet({})
        friend.close()
        assert list(here._lines) == [1]
        for connection in knocking:
            assert connection.recv(1) == b""
            connection.close()


# ---- Launchers ----


def placed(monkeypatch, *arguments, experiment=EXPERIMENT, without=(), **variables):
    for name in (*LAUNCHED, "GROUP_WORLD_SIZE", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return launchers.place(experiment, parse(experiment, "", list(arguments)))


def test_the_place_is_what_the_launcher_says(monkeypatch):
    assert placed(monkeypatch) is None
    assert placed(monkeypatch, **LAUNCHED) == Place(3, 4, 1, 2, 2, "192.0.2.10", 29500, False)
    more = {"GROUP_WORLD_SIZE": "3", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    assert placed(monkeypatch, **LAUNCHED, **more)[4:] == (3, "192.0.2.10", 29500, True)
    assert placed(monkeypatch, **LAUNCHED | {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}) is None
    assert "RANK" not in os.environ


def test_a_first_process_is_not_silent(monkeypatch):
    assert placed(monkeypatch, **LAUNCHED)
    assert launchers.local_rank() == 1
    with pytest.raises(BadInput, match="LOCAL_RANK is set, but RANK is not"):
        placed(monkeypatch, LOCAL_RANK="1")
    assert launchers.local_rank() == 0


def test_what_no_process_can_do_is_found_out_before_a_launcher_starts_them(monkeypatch):
    found = {"launcher": ["-m", "torch.distributed.run"], "processes": 4}
    monkeypatch.setattr(launchers.Child, "__init__", lambda *_: None)
    monkeypatch.setattr(launchers.Child, "answers", lambda _: found)
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("it was started"))
    options = parse(EXPERIMENT, "", ["--processes=4", "--batch_sizes=26"])
    with pytest.raises(BadInput, match="26 in each of 4 processes is more than"):
        launchers.relaunch(EXPERIMENT, options, Interrupt())


@pytest.mark.parametrize(
    ("arguments", "changes", "variables", "said"),
    [
        (["--processes=2"], {}, LAUNCHED, "--processes: the launcher has started 4 processes already"),
        ([], {"switches": ()}, LAUNCHED, "RANK is set, .* is started as one process: python "),
        ([], {"framework": "tensorflow"}, LAUNCHED, "RANK is set, .* is started as one process: python "),
        ([], {"framework": "tensorflow"}, {"LOCAL_RANK": "0"}, "LOCAL_RANK is set, "),
        ([], {}, {"RANK": "0"}, "RANK is set, but WORLD_SIZE is not"),
        ([], {}, LAUNCHED | {"RANK": "one"}, "RANK: 'one' is not a whole number"),
        ([], {}, LAUNCHED | {"RANK": "4"}, "no launcher sets RANK=4, WORLD_SIZE=4, "),
        ([], {}, LAUNCHED | {"WORLD_SIZE": "0"}, "no launcher sets RANK=3, WORLD_SIZE=0, "),
        ([], {}, LAUNCHED | {"LOCAL_WORLD_SIZE": "0"}, "no launcher sets "),
        ([], {}, LAUNCHED | {"MASTER_PORT": "99999"}, "no launcher sets .*99999"),
        ([], {}, LAUNCHED | {"GROUP_WORLD_SIZE": "x"}, "GROUP_WORLD_SIZE: 'x' is not a whole number"),
        (["--batch_sizes=26"], {}, LAUNCHED, "--batch_sizes: 26 in each of 4 processes is more than the 100 samples"),
        (
            ["--batch_sizes=2"],
            {"smallest_batch": 2},
            LAUNCHED,
            "--batch_sizes: with 2 in each of 4 processes one gets 1",
        ),
        (["--best"], {}, LAUNCHED, "--best: it tries one process"),
        (
            [],
            {},
            {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "True"},
            "accelerate launch has started one process",
        ),
    ],
)
def test_what_a_launcher_cannot_do_is_one_sentence(monkeypatch, arguments, changes, variables, said):
    experiment = replace(EXPERIMENT, **changes)
    with pytest.raises(BadInput, match=said) as error:
        placed(monkeypatch, *arguments, experiment=experiment, **variables)
    assert "\n" not in str(error.value)
