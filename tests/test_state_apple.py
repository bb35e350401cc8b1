"""What macOS tells of its state: programs in the PATH that print what its own print."""

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from speed_test.sensors import apple, base, load
from speed_test.sensors.base import GIB, Moment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the fakes are shell scripts")

ON_MAINS = """Now drawing from 'AC Power'
 -InternalBattery-0 (id=23068771)\t100%; charged; 0:00 remaining present: true
"""
ON_BATTERY = """Now drawing from 'Battery Power'
 -InternalBattery-0 (id=23068771)\t71%; discharging; 4:11 remaining present: true
"""
SETTINGS = """System-wide power settings:
Currently in use:
 standby              1
 Sleep On Power Button 1
 hibernatefile        /var/vm/sleepimage
 {mode}
 displaysleep         10 (display sleep prevented by WindowServer)
 sleep                1 (sleep prevented by caffeinate)
"""
MEMORY = """vm.swapusage: total = 2048.00M  used = {used}  free = 990.75M  (encrypted)
kern.memorystatus_vm_pressure_level: {level}
"""
GPU = """+-o AGXAcceleratorG14X  <class AGXAcceleratorG14X, id 0x100000482, registered, matched, active, busy 0>
    {
      "IOClass" = "AGXAcceleratorG14X"
      "PerformanceStatistics" = {"In use system memory (driver)"=0,"Alloc system memory"=3417055232,"Tiler Utilization %"=3,"Renderer Utilization %"=12,"Device Utilization %"=USE,"In use system memory"=407715840}
      "gpu-core-count" = 30
    }
"""  # noqa: E501 - as ioreg prints it


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Make programs that print a text, and note the arguments of each call in a file."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def make(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.txt").write_text(text)
            (tmp_path / name).write_text(
                f'#!/bin/sh\necho "$@" >>"{tmp_path}/{name}.calls"\ncat "{tmp_path}/{name}.txt"\n'
            )
            (tmp_path / name).chmod(0o755)

    return make


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        (ON_MAINS, "mains"),
        (ON_BATTERY, "battery"),
        (ON_BATTERY.replace("Battery Power", "UPS Power"), "battery"),
        ("Now drawing from 'AC Power'\n", None),
        ("", None),
    ],
)
def test_power(programs, listing, expected):
    programs(pmset=listing)
    assert apple._power(Moment.END).get("power") == expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("lowpowermode         1", True),
        ("lowpowermode         0", False),
        ("powermode            0", False),
        ("powermode            1", True),
        ("powermode            2", False),
        ("highpowermode        1", None),
        ("", None),
    ],
)
def test_low_power_in_both_spellings(programs, mode, expected):
    programs(pmset=SETTINGS.format(mode=mode))
    assert apple._power(Moment.END).get("low_power_mode") == expected


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        *[
            (f"com.apple.system.thermalpressurelevel {number}\n", level)
            for number, level in enumerate(("nominal", "moderate", "heavy", "trapping", "sleeping"))
        ],
        ("com.apple.system.thermalpressurelevel 5\n", None),
        ("com.apple.system.thermalpressurelevel: not found\n", None),
        ("", None),
    ],
)
def test_heat(programs, printed, expected):
    programs(notifyutil=printed)
    assert apple._heat(Moment.END).get("thermal_level") == expected


@pytest.mark.parametrize(("level", "expected"), [("1", "normal"), ("2", "warning"), ("4", "critical"), ("3", None)])
def test_memory_pressure(programs, level, expected):
    programs(sysctl=MEMORY.format(used="0.00M", level=level))
    assert apple._Memory()(Moment.END).get("memory_pressure") == expected


@pytest.mark.parametrize(
    ("before", "after", "growth"),
    [
        ("1057.25M", "1569.25M", 0.5),
        ("1057,25M", "1569,25M", 0.5),
        ("512.00K", "1.50G", 1.5 - 512 * 1024 / GIB),
        ("1057.25M", "1000.00M", 0),
    ],
)
def test_swap(programs, before, after, growth):
    memory = apple._Memory()
    programs(sysctl=MEMORY.format(used=before, level=1))
    assert "swap_growth_gb" not in memory(Moment.BEGIN)
    programs(sysctl=MEMORY.format(used=after, level=1))
    assert memory(Moment.END)["swap_growth_gb"] == pytest.approx(growth)


@pytest.mark.parametrize(("printed", "expected"), [("1\n", True), ("0\n", False), ("", False)])
def test_rosetta(programs, printed, expected):
    programs(sysctl=printed)
    assert apple.is_emulated() is expected


def test_use_of_the_gpu_by_others(programs, tmp_path):
    gpu = apple.gpu().read
    programs(ioreg=GPU.replace("USE", "2") + GPU.replace("USE", "3"))
    assert gpu(Moment.BEGIN) == {"gpu_other_load_percent": 3}
    programs(ioreg=GPU.replace("USE", "95"))
    assert gpu(Moment.BETWEEN) == {}  # our own work
    assert gpu(Moment.END) == {"gpu_other_load_percent": 3}  # too soon for another pause
    assert len((tmp_path / "ioreg.calls").read_text().splitlines()) == 1


def test_our_own_work_on_the_gpu_has_a_second_to_end(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(base.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(base.time, "sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))
    uses = iter([98.0, 60.0, 4.0])
    assert base.IdleUse(lambda: next(uses))(Moment.END) == {"gpu_other_load_percent": 4}
    assert clock.now == pytest.approx(100.3)
    busy = base.IdleUse(lambda: 70.0)
    assert busy(Moment.END) == {"gpu_other_load_percent": 70}
    assert clock.now < 102
    assert base.IdleUse(lambda: None)(Moment.END) == {}


@pytest.mark.parametrize("missing", [None, "ane_mj", "dram_mj"])
def test_energy(monkeypatch, missing):
    class AppleEnergyMonitor:
        times = 0

        def get_cumulative_energy(self):
            self.times += 1
            parts = dict.fromkeys(("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "ane_mj", "dram_mj"), 1000 * self.times)
            return SimpleNamespace(**parts | ({missing: None} if missing else {}), performance_cores_mj=[5, 5])

    module = ModuleType("zeus_apple_silicon")
    module.AppleEnergyMonitor = AppleEnergyMonitor
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", module)
    energy = apple.energy().read
    assert energy(Moment.BEGIN) == {}
    assert energy(Moment.END) == {"energy_joules": 4 if missing else 5}


def test_the_busiest_process(programs):
    listing = "  501  99.0 /Applications/Some App.app/Contents/MacOS/Some App\n  77  95,4 /usr/libexec/mds\n"
    programs(ps=listing + "   1   0.1 /sbin/launchd\n")
    assert load._busiest_by_ps(set()) == (99.0, "Some App", 501)
    assert load._busiest_by_ps({501}) == (95.4, "mds", 77)
    programs(ps="")
    assert load._busiest_by_ps(set()) is None


def test_a_program_that_hangs_is_an_error(programs, tmp_path):
    (tmp_path / "pmset").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "pmset").chmod(0o755)
    with pytest.raises(base.subprocess.TimeoutExpired):
        base.output("pmset", "-g", timeout=0.2)
    with pytest.raises(FileNotFoundError):
        base.output("no_such_program_anywhere")
