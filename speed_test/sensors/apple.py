"""macOS: power, heat, memory, the use of the GPU, and energy, from commands and a package that need no root."""

import re

from speed_test.sensors.base import GIB, SELDOM, Columns, Growth, IdleUse, Moment, Sensor, output

THERMAL_LEVELS = ("nominal", "moderate", "heavy", "trapping", "sleeping")  # OSThermalPressureLevel of macOS, from 0
MEMORY_LEVELS = {"1": "normal", "2": "warning", "4": "critical"}  # DISPATCH_MEMORYPRESSURE_*
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def sensors() -> list[Sensor]:
    """The sensors of this system, but those of load, GPU and energy."""
    return [Sensor(_Memory()), Sensor(_heat), Sensor(_power, SELDOM)]


def gpu() -> Sensor:
    """The use of the GPU by others."""
    return Sensor(IdleUse(_gpu_use))


def energy() -> Sensor:
    """The energy of the chip: processor cores, GPU, neural engine and memory.

    Raises ImportError without zeus-apple-silicon, RuntimeError where the system has no counters (a virtual machine).
    """
    from zeus_apple_silicon import AppleEnergyMonitor

    monitor = AppleEnergyMonitor()

    def joules() -> float | None:
        metrics = monitor.get_cumulative_energy()  # in millijoules; None where the chip has no such counter
        names = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "ane_mj", "dram_mj")
        parts = [part for part in (getattr(metrics, name, None) for name in names) if part is not None]
        return sum(parts) / 1000 if parts else None

    return Sensor(Growth(joules, "energy_joules"))


def is_emulated() -> bool | None:
    """Whether this Python was built for Intel and runs under Rosetta. Raises OSError if there is no `sysctl`."""
    found = output("sysctl", "-in", "sysctl.proc_translated").strip()
    return {"0": False, "1": True}.get(found, False)  # an Intel Mac does not have it


def _power(_: Moment) -> Columns:
    """On a Mac without a battery there is nothing to tell. `powermode` 2 is "high power", so only 1 is low."""
    columns: Columns = {}
    listing = output("pmset", "-g", "batt")
    source = re.search(r"drawing from '(\w+) Power'", listing)
    if source and re.search(r"^\s*-", listing, flags=re.MULTILINE):
        columns["power"] = "mains" if source[1] == "AC" else "battery"
    modes = re.findall(r"^\s*(?:low)?powermode\s+(\d+)", output("pmset", "-g"), flags=re.MULTILINE)
    if modes:
        columns["low_power_mode"] = "1" in modes
    return columns


def _heat(_: Moment) -> Columns:
    found = re.search(r"(\d+)\s*$", output("notifyutil", "-g", "com.apple.system.thermalpressurelevel"))
    level = int(found[1]) if found else len(THERMAL_LEVELS)
    return {"thermal_level": THERMAL_LEVELS[level]} if level < len(THERMAL_LEVELS) else {}


class _Memory:
    """Memory pressure and growth of the swap, from one command."""

    def __init__(self) -> None:
        self._listing = ""
        self._growth = Growth(self._swap_gb, "swap_growth_gb", smallest=0.001)

    def __call__(self, moment: Moment) -> Columns:
        self._listing = output("sysctl", "-i", "vm.swapusage", "kern.memorystatus_vm_pressure_level")
        columns = self._growth(moment)
        level = re.search(r"^kern\.memorystatus_vm_pressure_level: *(\d+)", self._listing, flags=re.MULTILINE)
        if level and level[1] in MEMORY_LEVELS:
            columns["memory_pressure"] = MEMORY_LEVELS[level[1]]
        return columns

    def _swap_gb(self) -> float | None:
        used = re.search(r"used = ([\d.,]+)([KMGT]?)", self._listing)
        return float(used[1].replace(",", ".")) * UNITS[used[2]] / GIB if used else None


def _gpu_use() -> float | None:
    """The use of the busiest GPU, in percent; an Intel Mac may have two."""
    listing = output("ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator")
    found = re.findall(r'"Device Utilization %"\s*=\s*(\d+)', listing)
    return float(max(map(int, found))) if found else None
