"""--cooldown: a rest between two batch sizes, so that the heat of one is not the fate of the next."""

import time
from collections.abc import Mapping

from speed_test import screen
from speed_test.interrupt import Interrupt
from speed_test.results import LEVELS
from speed_test.state import Monitor

SECONDS_AT_MOST = 300  # of --cooldown=auto
SECONDS_OF_A_LOOK = 5
HEAT = ("thermal_level", "throttle_reasons", "gpu_temperature_c")  # the columns that tell of it
DEGREES = 5  # a GPU cools down to a few degrees above where it was


class Cooldown:
    """Rests for `seconds`, or if that is "auto", until the machine is as cool as in `start`, the state at the start."""

    def __init__(
        self, seconds: float | str | None, monitor: Monitor, start: Mapping[str, object], interrupt: Interrupt
    ) -> None:
        self._seconds = seconds
        self._monitor = monitor
        self._start = dict(start)
        self._interrupt = interrupt
        self._is_first = True
        if seconds == "auto" and not any(self._start.get(column) is not None for column in HEAT):
            screen.warn("nothing here tells how hot the machine is, so --cooldown=auto will not rest; name seconds")

    def rest(self) -> None:
        """Rest, but not before the first batch size. Raises KeyboardInterrupt after Ctrl-C."""
        is_first, self._is_first = self._is_first, False
        if is_first or not self._seconds:
            return
        until_cool = self._seconds == "auto"
        seconds = SECONDS_AT_MOST if isinstance(self._seconds, str) else self._seconds
        with screen.working(f"Cooling down, {screen.duration(seconds)}{' at most' if until_cool else ''}"):
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                if until_cool and is_as_cool(self._monitor.now(), self._start):
                    return
                self._sleep(min(left, SECONDS_OF_A_LOOK))

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._interrupt.caught:
                raise KeyboardInterrupt
            time.sleep(min(left, 0.1))


def is_as_cool(now: Mapping[str, object], start: Mapping[str, object]) -> bool:
    """Whether the machine is as cool as it was, by the state columns of both times. What is unknown says nothing."""
    levels = [LEVELS["thermal_level"].index(str(state.get("thermal_level") or "nominal")) for state in (now, start)]
    reasons = [set(str(state.get("throttle_reasons") or "").split(", ")) - {""} for state in (now, start)]
    degrees = [state.get("gpu_temperature_c") for state in (now, start)]
    warmer = [degree for degree in degrees if isinstance(degree, float | int)]
    return levels[0] <= levels[1] and reasons[0] <= reasons[1] and (len(warmer) < 2 or warmer[0] <= warmer[1] + DEGREES)
