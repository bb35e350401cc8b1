"""Ctrl-C and the signals like it, and how children are kept from them."""

import signal
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess

# Ctrl-C, `kill`, and a terminal that is closed. Windows has no SIGHUP.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupt:
    """Turns Ctrl-C and the like into a flag, so that they cannot interrupt the writing of a row.

    `caught` is the number of the signal, or 0.
    """

    caught = 0

    def __enter__(self) -> "Interrupt":
        hangup = getattr(signal, "SIGHUP", None)
        ignored = {hangup} if hangup and signal.getsignal(hangup) == signal.SIG_IGN else set()  # `nohup` does that
        self._before = {number: signal.signal(number, self._catch) for number in STOP_SIGNALS if number not in ignored}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _catch(self, number: int, _) -> None:
        self.caught = number

    @property
    def exit_status(self) -> int:
        """As the shell has it: 130 after Ctrl-C."""
        return 128 + (self.caught or signal.SIGINT)

    def start(self, process: BaseProcess) -> None:
        """Start a child that gets none of these signals before it ignores them: a terminal sends them to all
        processes. One that comes in the meantime is not lost: it is blocked, and caught afterwards."""
        if not hasattr(signal, "pthread_sigmask"):  # on Windows
            process.start()
            return
        # Python's helper that cleans up after killed children; starting it would unblock the signals.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
