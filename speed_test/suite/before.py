"""Before the start: what will run and for how long, and what of the machine should be mended first."""

import platform
import time

from speed_test import faults, machine, screen, state
from speed_test.suite import shares
from speed_test.suite.memory import shares_memory
from speed_test.suite.shares import time_text
from speed_test.suite.suite import Suite

SECONDS_OF_A_LOOK = 2.0  # at other programs


def say_plan(suite: Suite) -> None:
    """Print which tests will run, what they measure, and how long each gets."""
    tests, left = suite.to_do(), suite.left()
    if left is not None and left < shares.LEAST:
        return  # each of them is left out, with that reason
    time_of_all = ", each as long as it takes" if left is None else f" in {time_text(left)}"
    each = f", about {time_text(left / len(tests))} each" if left is not None and len(tests) > 1 else ""
    screen.say(f"\n{screen.count(len(tests), 'speed test')}{time_of_all}{each}")
    width = max(len(test.name) for test in tests)
    for test in tests:
        screen.say_sentence(f"  {test.name:{width}}  {test.says}", indent=width + 4)


def say_state(suite: Suite) -> None:
    """Warn of everything that will spoil the figures, such as power from a battery."""
    device = _device(suite.options.device)
    with state.Monitor() as monitor, state.Sweeps() as sweeps:
        monitor.watch(device, machine.nvidia_uuid() if device == "cuda" else None)
        time.sleep(SECONDS_OF_A_LOOK)
        found = {**monitor.now(), "other_sweeps": sweeps.others(), "device": device}
    for sentence in faults.spoils(found, machine.cpu_cores()):
        suite.need_not_say(sentence)
        screen.warn(sentence)


def _device(wanted: str) -> str:
    """The device that the tests will probably use."""
    if wanted != "auto":
        return wanted
    if not shares_memory(wanted):
        return "cuda"
    return "mps" if platform.system() == "Darwin" and platform.machine() == "arm64" else "cpu"
