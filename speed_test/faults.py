"""What was wrong with the machine while it measured, in plain words: for grades, and for warnings before the start.

A row is a running sweep's, with typed values, or a CSV's, with text. Unknown (None or "") is never taken for wrong.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from speed_test import screen

Row = Mapping[str, object]

SWAPPED_GB = 0.1
SUSPENDED_SECONDS = 1
LOAD_OF_A_CORE = 30  # percent: on a CPU, others that take this much take it from the test
LOAD_OF_ALL_CORES = 25  # percent: a test on a GPU needs a core or two to feed it
GPU_LOAD = 10  # percent
STOLEN = 2  # percent
# A load that is in fewer rows than one of ten hardly moves a median.
RARE = 10

# What throttle_reasons may hold. Anything else is shown, and no fault: a new driver may have new reasons.
HOT = ("thermal",)
HELD_BACK = ("slowdown", "brake", "quota")
CHECK_POWER = "look after its cooling and its power supply"


class Fault(NamedTuple):
    """Something wrong: `kind` tells it from other things, `size` from better and worse of its kind.

    `letter` is the grade that it allows at best, "" for a note. `text` completes a grade: "on battery". The kinds of
    heat begin with "heat".
    """

    kind: str
    letter: str
    size: float
    text: str


# ---- Cells ----


def number(row: Row, column: str) -> float | None:
    """A cell as a finite number; None if it is empty or no number."""
    value = row.get(column)
    if value is None or value == "" or isinstance(value, bool):
        return None
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def truth(row: Row, column: str) -> bool:
    """Whether a cell is true; False if it is empty."""
    return row.get(column) in (True, "True")


def text(row: Row, column: str) -> str:
    """A cell as text; "" if it is empty."""
    value = row.get(column)
    return "" if value is None else str(value)


# ---- Faults ----


def faults(rows: Sequence[Row]) -> list[Fault]:
    """What was wrong in these rows of one machine, the worst of each kind; the worst kinds first, notes last."""
    worst: dict[str, Fault] = {}
    times: dict[str, int] = {}
    for row in rows:
        for fault in _faults(row):
            times[fault.kind] = times.get(fault.kind, 0) + 1
            if fault.kind not in worst or (fault.letter, fault.size) > (worst[fault.kind][1:3]):
                worst[fault.kind] = fault
    often = [fault for fault in worst.values() if fault.kind not in LOADS or times[fault.kind] * RARE >= len(rows)]
    return sorted(often, key=lambda fault: fault.letter, reverse=True)


def _faults(row: Row) -> Iterator[Fault]:
    yield from _state_of_memory(row)
    yield from _state_of_power(row)
    yield from _heat(row)
    yield from _loads(row)
    if truth(row, "emulated"):
        yield Fault("emulated", "D", 1, "Python was emulated")
    stopped = number(row, "suspended_seconds") or 0
    if stopped >= SUSPENDED_SECONDS:
        yield Fault("suspended", "D", stopped, f"stopped or asleep for {screen.duration(stopped)}")
    if operators := text(row, "cpu_fallback"):
        yield Fault("fallback", "C", 1, f"a part ran on the CPU: {screen.one_line(operators, 60)}")


def _state_of_memory(row: Row) -> Iterator[Fault]:
    swapped = number(row, "swap_growth_gb") or 0
    if swapped > SWAPPED_GB:
        yield Fault("swap", "D", swapped, f"swapped {screen.number(swapped)} GB")
    pressure = text(row, "memory_pressure")
    if pressure in ("warning", "critical"):
        yield Fault("memory", "C", float(pressure == "critical"), f"memory was short for a time ({pressure})")


def _state_of_power(row: Row) -> Iterator[Fault]:
    if text(row, "power") == "battery":
        yield Fault("battery", "C", 1, "on battery")
    if truth(row, "low_power_mode"):
        yield Fault("low power", "C", 1, "in low power mode")


def _heat(row: Row) -> Iterator[Fault]:
    level = text(row, "thermal_level")
    if level in ("trapping", "sleeping"):
        yield Fault("heat", "C", 1, f"heat: thermal level {level}")
    elif level in ("moderate", "heavy"):
        # Normal on a Mac without a fan, and a row does not tell whether there is one. See also `hot`.
        yield Fault("heat", "", float(level == "heavy"), f"thermal level {level}")
    for reason in text(row, "throttle_reasons").split(", "):
        if reason:
            kind = f"heat {reason}" if _is_one_of(reason, HOT) else reason
            yield Fault(kind, "C" if _is_one_of(reason, HOT + HELD_BACK) else "", 1, _held_back(reason))


def _held_back(reason: str) -> str:
    """ "held back by heat (SwThermal)", "held back by the cpu quota of the container", "held back (power cap)" """
    said = screen.one_line(reason, 60)
    if _is_one_of(reason, HOT):
        return f"held back by heat ({said})"
    return f"held back by the {said}" if "quota" in reason else f"held back ({said})"


def _is_one_of(reason: str, words: tuple[str, ...]) -> bool:
    return any(word in reason.lower() for word in words)


def hot(row: Row) -> bool:
    """Whether heat may have slowed the machine down."""
    return text(row, "thermal_level") in ("moderate", "heavy", "trapping", "sleeping") or _is_one_of(
        text(row, "throttle_reasons"), HOT
    )


LOADS = ("load", "gpu load", "stolen")


def load_limit(device: str, cores: float | None) -> float:
    """The CPU time of others, in percent of a core, from which on it is a fault."""
    return LOAD_OF_A_CORE if device in ("cpu", "") else LOAD_OF_ALL_CORES * (cores or 4)


def of_cores(percent: float) -> str:
    """ "95% of a core", "2.4 cores" """
    return f"{percent:.0f}% of a core" if percent < 150 else f"{percent / 100:.1f} cores"


def _loads(row: Row) -> Iterator[Fault]:
    load = number(row, "other_load_percent") or 0
    if load >= load_limit(text(row, "device"), number(row, "cpu_cores")):
        most = screen.one_line(text(row, "busiest_other_process"), 40)
        used = f"other programs used {of_cores(load)} for a time"
        yield Fault("load", "C", load, used + (f" (most: {most})" if most else ""))
    of_gpu = number(row, "gpu_other_load_percent") or 0
    if of_gpu >= GPU_LOAD:
        yield Fault("gpu load", "C", of_gpu, f"other programs used {of_gpu:.0f}% of the GPU")
    stolen = number(row, "cpu_stolen_percent") or 0
    if stolen >= STOLEN:
        yield Fault("stolen", "C", stolen, f"the host gave {stolen:.0f}% of the CPU time to other machines for a time")
    if sweeps := number(row, "other_sweeps"):
        yield Fault("sweeps", "C", sweeps, f"{screen.count(int(sweeps), 'other speed test')} ran meanwhile")


# ---- Before the start ----


def spoils(state: Row, cores: int | None) -> list[str]:
    """Before the start: a sentence for each thing that will spoil the result, with what to do. Empty if all is well.

    `state` has the state columns, and as far as they are known "device" (without it, that of a test on the CPU),
    "busiest_other_pid" and "other_sweeps". `cores` is how many the machine has.
    """
    found = []
    if text(state, "power") == "battery":
        found.append("on battery: plug in")
    if truth(state, "low_power_mode"):
        found.append("low power mode is on: switch it off")
    if truth(state, "emulated"):
        rosetta = sys.platform == "darwin"
        found.append(
            "this Python runs under Rosetta: install an arm64 Python"
            if rosetta
            else "this Python is emulated: install one that was built for this processor"
        )
    found += _heat_before(state)
    if number(state, "other_sweeps"):
        found.append("another speed test is running on this machine: wait until it has ended")
    return found + _memory_before(state) + _loads_before(state, cores)


def _heat_before(state: Row) -> list[str]:
    level = text(state, "thermal_level")
    found = []
    if level in ("heavy", "trapping", "sleeping"):
        found.append(f"the machine is hot (thermal level {level}): let it cool down")
    for reason in text(state, "throttle_reasons").split(", "):
        if _is_one_of(reason, HOT):
            found.append(f"{_held_back(reason)}: let it cool down")
        elif _is_one_of(reason, HELD_BACK):
            found.append(f"{_held_back(reason)}: {'give it more CPUs' if 'quota' in reason else CHECK_POWER}")
    return found


def _memory_before(state: Row) -> list[str]:
    pressure, swapped = text(state, "memory_pressure"), number(state, "swap_growth_gb") or 0
    if swapped > SWAPPED_GB:
        return ["the machine is swapping: close other programs, or this figure is a D"]
    if pressure in ("warning", "critical"):
        return [f"memory is short ({pressure}): close other programs"]
    return []


def _loads_before(state: Row, cores: int | None) -> list[str]:
    found = []
    load = number(state, "other_load_percent") or 0
    if load >= load_limit(text(state, "device"), cores):
        busiest = screen.one_line(text(state, "busiest_other_process"), 40)
        pid = text(state, "busiest_other_pid")
        if busiest:
            who = busiest + (f" (PID {pid})" if pid else "")
            found.append(f"other programs use {of_cores(load)}, most of all {who}: end it, or this figure is a C")
        else:
            found.append(f"other programs use {of_cores(load)}: end them, or this figure is a C")
    of_gpu = number(state, "gpu_other_load_percent") or 0
    if of_gpu >= GPU_LOAD:
        found.append(f"other programs use {of_gpu:.0f}% of the GPU: end them, or this figure is a C")
    stolen = number(state, "cpu_stolen_percent") or 0
    if stolen >= STOLEN:
        found.append(f"the host gives {stolen:.0f}% of the CPU time to other machines: measure at a quieter time")
    return found
