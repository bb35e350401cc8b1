"""Ctrl-C before anybody watches for it: while a script still imports what it needs.

Python raises KeyboardInterrupt wherever it is at that moment. Where it comes in a `__del__` or in a callback of a weak
reference, as the import machinery has them, Python prints "Exception ignored in ..." and goes on, and so do libraries
with a bare `except:`. The run that the user wanted to end would go on for hours. And Python 3.11 makes a RuntimeError
of one in a `__set_name__`.

This imports next to nothing, so that it is in place early.
"""

import signal
import sys
from types import FrameType, TracebackType

_came = False


def watch() -> None:
    """Note each Ctrl-C from here on, besides raising KeyboardInterrupt as Python does, and print nothing for it.

    Does nothing where somebody else deals with it: an own handler, a process that ignores it, another thread than the
    first.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        try:
            signal.signal(signal.SIGINT, _note)
        except ValueError:  # not in the main thread
            return
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _quiet
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _quiet_if_ignored


def raise_missed() -> None:
    """Raise KeyboardInterrupt if a Ctrl-C has come and its KeyboardInterrupt has got lost. It is forgotten then."""
    global _came
    if _came:
        _came = False
        raise KeyboardInterrupt


def _note(number: int, frame: FrameType | None) -> None:
    global _came
    _came = True
    signal.default_int_handler(number, frame)


def _quiet(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        return  # Python ends with the signal itself
    cause = error.__cause__ or error.__context__
    seen = {id(error)}
    while cause and id(cause) not in seen:  # causes may form a circle
        seen.add(id(cause))
        if isinstance(cause, KeyboardInterrupt):
            sys.exit(128 + signal.SIGINT)
        cause = cause.__cause__ or cause.__context__
    sys.__excepthook__(kind, error, traceback)


def _quiet_if_ignored(ignored: "sys.UnraisableHookArgs") -> None:
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)
