"""Linux: power, governor, pressure, swap, limits of the container, heat and energy, from files that need no root.

Every function takes the folder that stands for "/". The files: https://docs.kernel.org/accounting/psi.html,
https://docs.kernel.org/admin-guide/pm/cpufreq.html, https://docs.kernel.org/admin-guide/cgroup-v2.html,
https://docs.kernel.org/power/powercap/powercap.html, and Documentation/ABI/testing/sysfs-class-power.
"""

import re
from functools import partial
from pathlib import Path

from speed_test.sensors.base import EDGES, GIB, SELDOM, Columns, Growth, Moment, Sensor, Windows, number, text

CPUS = "sys/devices/system/cpu"
# In these drivers "powersave" is the name of the normal governor, which goes up to the full clock:
# https://docs.kernel.org/admin-guide/pm/intel_pstate.html, https://docs.kernel.org/admin-guide/pm/amd-pstate.html
NORMAL_POWERSAVE = {"intel_pstate", "amd-pstate-epp"}


def sensors(root: Path = Path("/")) -> list[Sensor]:
    """The sensors of this system, but those of load and energy."""
    return [
        Sensor(Windows(partial(_stalls, root), _pressure)),
        Sensor(Growth(partial(_swap_gb, root), "swap_growth_gb", smallest=0.001)),
        Sensor(Windows(partial(_quotas, root), _throttled)),
        Sensor(_Thermal(root), EDGES),
        Sensor(partial(_power, root), SELDOM),
        Sensor(partial(_governor, root), SELDOM),
    ]


def energy(root: Path = Path("/")) -> Sensor:
    """The energy of the processors, where RAPL can be read (since 2020 mostly by root only)."""
    return Sensor(Growth(_Rapl(root), "energy_joules"))


# ---- Power ----


def _power(root: Path, _: Moment) -> Columns:
    """On mains if any charger is online; a machine without battery and charger has nothing to tell."""
    chargers, has_battery = [], False
    for supply in sorted((root / "sys/class/power_supply").glob("*")):
        kind = text(supply / "type")
        if kind == "Battery":
            has_battery |= text(supply / "scope") != "Device"  # that of a mouse or a keyboard
        elif kind in ("Mains", "USB"):
            chargers.append((kind, text(supply / "online") not in ("", "0")))  # 2: programmable (USB-C)
    if any(is_online for _, is_online in chargers) and (has_battery or ("Mains", True) in chargers):
        return {"power": "mains"}
    return {"power": "battery"} if has_battery and chargers else {}


def _governor(root: Path, _: Moment) -> Columns:
    """What sets the clock, and whether that, or the firmware's profile, saves power at the cost of speed."""
    policies = sorted((root / CPUS / "cpufreq").glob("policy*"))
    governors = {text(policy / "scaling_governor"): policy for policy in policies}
    governors.pop("", None)
    profile = text(root / "sys/firmware/acpi/platform_profile")
    columns: Columns = {"cpu_governor": ", ".join(sorted(governors))} if governors else {}
    if governors or profile:
        slow = "powersave" in governors and text(governors["powersave"] / "scaling_driver") not in NORMAL_POWERSAVE
        columns["low_power_mode"] = slow or profile == "low-power"
    return columns


# ---- Pressure and swap ----


def _stalls(root: Path) -> tuple[int | None, int | None] | None:
    """Microseconds since boot in which some process waited for a CPU, and for memory."""
    found = [
        re.search(r"^some .*total=(\d+)", text(root / "proc/pressure" / kind), flags=re.MULTILINE)
        for kind in ("cpu", "memory")
    ]
    if not any(found):
        return None
    cpu, memory = (int(line[1]) if line else None for line in found)
    return cpu, memory


def _pressure(before: tuple, after: tuple, seconds: float) -> Columns:
    cpu, memory = (
        None if old is None or new is None else min(100.0, max(0.0, (new - old) / 1e4 / seconds))
        for old, new in zip(before, after, strict=True)
    )
    columns: Columns = {} if cpu is None else {"cpu_pressure_percent": cpu}
    if memory is not None:
        columns["memory_pressure"] = "normal" if memory < 5 else "warning" if memory < 25 else "critical"
    return columns


def _swap_gb(root: Path) -> float | None:
    found = dict(re.findall(r"^(Swap\w+): +(\d+) kB", text(root / "proc/meminfo"), flags=re.MULTILINE))
    if not {"SwapTotal", "SwapFree"} <= found.keys():
        return None
    return (int(found["SwapTotal"]) - int(found["SwapFree"])) * 1024 / GIB


# ---- The container's share of the CPU ----


def _groups(root: Path) -> set[Path]:
    """The files cpu.stat of our control group and of those around it, version 2 or 1."""
    groups = root / "sys/fs/cgroup"
    files = set()
    for line in text(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0":
            folders = [groups, groups / "unified"]
        elif "cpu" in controllers.split(","):
            folders = [groups / controllers, groups / "cpu"]
        else:
            continue
        # Inside a container the path may be the host's, of which only the last folder is there, as the top one.
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for folder in folders:
            files |= {folder.joinpath(*parts[:depth], "cpu.stat") for depth in range(len(parts) + 1)}
    return {file.resolve() for file in files if file.is_file()}


def _quotas(root: Path) -> dict[Path, tuple[int, int]] | None:
    """For each control group with a limit: the periods so far, and in how many of them it had to pause."""
    quotas = {}
    for file in _groups(root):
        found = dict(re.findall(r"^(nr_periods|nr_throttled) (\d+)$", text(file), flags=re.MULTILINE))
        if len(found) == 2:
            quotas[file] = (int(found["nr_periods"]), int(found["nr_throttled"]))
    return quotas or None


def _throttled(before: dict, after: dict, _: float) -> Columns:
    for file in before.keys() & after.keys():
        periods, pauses = (new - old for old, new in zip(before[file], after[file], strict=True))
        if pauses > 0 and pauses >= 0.01 * periods:  # a single pause of a tenth of a second takes nothing from a minute
            return {"throttle_reasons": "cpu quota of the container"}
    return {}


# ---- Heat and energy ----


class _Thermal:
    """Whether the processor has slowed down for its heat, as each core and package counts."""

    def __init__(self, root: Path) -> None:
        self._files = sorted((root / CPUS).glob("cpu[0-9]*/thermal_throttle/*_throttle_count"))
        self._growth = Growth(self._count, "count")

    def _count(self) -> int | None:
        return sum(number(file) or 0 for file in self._files) if self._files else None

    def __call__(self, moment: Moment) -> Columns:
        return {"throttle_reasons": "cpu thermal"} if self._growth(moment).get("count") else {}


class _Rapl:
    """Joules of all packages. Each counter starts anew at its own limit, after some minutes of heavy work."""

    def __init__(self, root: Path) -> None:
        zones = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))  # AMD's have this name, too
        # Of the others, "core" and "dram" are parts of a package, and "psys" is the whole machine.
        packages = [zone for zone in zones if text(zone / "name").startswith("package")]
        self._limits = {zone / "energy_uj": number(zone / "max_energy_range_uj") for zone in packages}
        self._last: dict[Path, int] = {}
        self._sum = 0

    def __call__(self) -> float | None:
        for file, limit in self._limits.items():
            energy = number(file)
            if energy is None:
                return None
            grown = energy - self._last.get(file, energy)
            self._sum += grown if grown >= 0 else grown + (limit or -grown)
            self._last[file] = energy
        return self._sum / 1e6 if self._limits else None
