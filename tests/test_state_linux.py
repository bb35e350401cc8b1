"""What Linux tells of its state, from made-up trees of /proc and /sys in the formats of the kernel."""

import pytest

from speed_test.sensors import base, linux
from speed_test.sensors.base import Moment

PRESSURE = """some avg10=10.13 avg60=12.24 avg300=9.92 total={some}
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
"""
MEMORY = """MemTotal:       24684092 kB
SwapCached:            0 kB
SwapTotal:       {total} kB
SwapFree:        {free} kB
"""


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when told to."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(base, "time", clock)
    return clock


@pytest.fixture
def look(tmp_path):
    """The columns of all sensors of the tree in `tmp_path`. They are the same sensors at each look."""
    sensors = [*linux.sensors(tmp_path), linux.energy(tmp_path)]

    def look(moment=Moment.END):
        return {column: value for sensor in sensors for column, value in sensor.read(moment).items()}

    return look


def supplies(*kinds):
    """Files of power supplies: (type, online or None, further files)."""
    files = {}
    for number, (kind, online, further) in enumerate(kinds):
        folder = f"sys/class/power_supply/S{number}"
        files |= {f"{folder}/type": kind, **{f"{folder}/{name}": text for name, text in further.items()}}
        if online is not None:
            files[f"{folder}/online"] = online
    return files


BATTERY = ("Battery", None, {"status": "Discharging"})
MOUSE = ("Battery", None, {"scope": "Device"})


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([("Mains", "1", {}), BATTERY], "mains"),
        ([("Mains", "0", {}), BATTERY], "battery"),
        ([("Mains", "0", {}), ("USB", "1", {}), BATTERY], "mains"),
        ([("USB", "2", {}), BATTERY], "mains"),
        ([("USB", "0", {}), BATTERY], "battery"),
        ([("Mains", "1", {})], "mains"),
        ([BATTERY], None),
        ([MOUSE, ("USB", "0", {})], None),
        ([("USB", "1", {})], None),
        ([], None),
    ],
)
def test_power(tmp_path, look, kinds, expected):
    write(tmp_path, supplies(*kinds))
    assert look().get("power") == expected


def policy(number, governor, driver):
    folder = f"sys/devices/system/cpu/cpufreq/policy{number}"
    return {f"{folder}/scaling_governor": governor, f"{folder}/scaling_driver": driver}


PROFILE = "sys/firmware/acpi/platform_profile"


@pytest.mark.parametrize(
    ("files", "governor", "low"),
    [
        (policy(0, "performance", "intel_pstate"), "performance", False),
        (policy(0, "powersave", "intel_pstate"), "powersave", False),
        (policy(0, "powersave", "amd-pstate-epp"), "powersave", False),
        (policy(0, "powersave", "intel_cpufreq"), "powersave", True),
        (policy(0, "powersave", "acpi-cpufreq"), "powersave", True),
        (policy(0, "schedutil", "cppc_cpufreq"), "schedutil", False),
        (policy(0, "schedutil", "scmi") | policy(4, "performance", "scmi"), "performance, schedutil", False),
        (policy(0, "powersave", "intel_pstate") | {PROFILE: "low-power"}, "powersave", True),
        ({PROFILE: "low-power"}, None, True),
        ({PROFILE: "balanced"}, None, False),
        ({}, None, None),
    ],
)
def test_governor_and_low_power(tmp_path, look, files, governor, low):
    write(tmp_path, files)
    found = look()
    assert (found.get("cpu_governor"), found.get("low_power_mode")) == (governor, low)


@pytest.mark.parametrize(
    ("stalled", "level"), [(0, "normal"), (490_000, "normal"), (510_000, "warning"), (2_600_000, "critical")]
)
def test_pressure_is_the_share_of_time_in_a_window(tmp_path, look, clock, stalled, level):
    files = {"proc/pressure/cpu": PRESSURE.format(some=50), "proc/pressure/memory": PRESSURE.format(some=7)}
    write(tmp_path, files)
    assert "memory_pressure" not in look(Moment.BEGIN)
    clock.sleep(10)
    files = {"proc/pressure/cpu": PRESSURE.format(some=2_500_050)}
    write(tmp_path, files | {"proc/pressure/memory": PRESSURE.format(some=7 + stalled)})
    found = look()
    assert found["cpu_pressure_percent"] == pytest.approx(25)
    assert found["memory_pressure"] == level


def test_pressure_of_a_short_epoch(tmp_path, look, clock):
    write(tmp_path, {"proc/pressure/cpu": PRESSURE.format(some=0)})
    look(Moment.BEGIN)
    clock.sleep(1)
    write(tmp_path, {"proc/pressure/cpu": PRESSURE.format(some=400_000)})
    assert "cpu_pressure_percent" not in look(Moment.BETWEEN)
    assert look()["cpu_pressure_percent"] == pytest.approx(40)
    clock.sleep(0.1)
    assert "cpu_pressure_percent" not in look()


def test_the_rest_of_an_epoch_joins_the_window_before(tmp_path, look, clock):
    def at(seconds, some):
        clock.now = 1000 + seconds
        write(tmp_path, {"proc/pressure/cpu": PRESSURE.format(some=some * 1_000_000)})

    at(0, 0)
    look(Moment.BEGIN)
    at(5, 1)
    assert look(Moment.BETWEEN)["cpu_pressure_percent"] == pytest.approx(20)
    at(10, 3)
    assert look(Moment.BETWEEN)["cpu_pressure_percent"] == pytest.approx(40)
    at(11, 4)
    assert look()["cpu_pressure_percent"] == pytest.approx(50)  # 3 of 6 seconds


@pytest.mark.parametrize(("free", "growth"), [(900_000, 0), (899_900, 0), (900_500, 0), (375_712, 0.5)])
def test_swap(tmp_path, look, free, growth):
    write(tmp_path, {"proc/meminfo": MEMORY.format(total=1_000_000, free=900_000)})
    look(Moment.BEGIN)
    write(tmp_path, {"proc/meminfo": MEMORY.format(total=1_000_000, free=free)})
    assert look()["swap_growth_gb"] == pytest.approx(growth, abs=1e-6)


STAT = "usage_usec 5\nnr_periods {periods}\nnr_throttled {throttled}\nthrottled_usec 7"
QUOTA = "cpu quota of the container"


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("0::/", "sys/fs/cgroup/cpu.stat"),
        ("0::/user.slice/a.scope", "sys/fs/cgroup/user.slice/a.scope/cpu.stat"),
        ("0::/kubepods/pod1/c1", "sys/fs/cgroup/kubepods/pod1/cpu.stat"),
        ("0::/kubepods/pod1/c1", "sys/fs/cgroup/cpu.stat"),
        ("9:memory:/m\n4:cpu,cpuacct:/docker/0a1b\n0::/", "sys/fs/cgroup/cpu,cpuacct/docker/0a1b/cpu.stat"),
        ("4:cpu,cpuacct:/docker/0a1b", "sys/fs/cgroup/cpu,cpuacct/cpu.stat"),
        ("1:cpu:/", "sys/fs/cgroup/cpu/cpu.stat"),
    ],
)
@pytest.mark.parametrize(
    ("periods", "throttled", "expected"), [(100, 0, None), (1000, 9, None), (100, 3, QUOTA), (0, 0, None)]
)
def test_quota_of_a_container(tmp_path, look, clock, groups, file, periods, throttled, expected):
    write(tmp_path, {"proc/self/cgroup": groups, file: STAT.format(periods=500, throttled=400)})
    look(Moment.BEGIN)
    clock.sleep(10)
    write(tmp_path, {file: STAT.format(periods=500 + periods, throttled=400 + throttled)})
    assert look().get("throttle_reasons") == expected


def test_a_group_without_limit_has_no_periods(tmp_path, look, clock):
    write(tmp_path, {"proc/self/cgroup": "0::/../x", "sys/fs/cgroup/cpu.stat": "usage_usec 5\nuser_usec 3"})
    look(Moment.BEGIN)
    clock.sleep(10)
    assert "throttle_reasons" not in look()


def test_heat_of_the_processor(tmp_path):
    file = "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count"
    write(tmp_path, {file: "7", file.replace("cpu1", "cpu0"): "7"})
    heat = linux._Thermal(tmp_path)
    assert [heat(moment) for moment in (Moment.BEGIN, Moment.END)] == [{}, {}]
    write(tmp_path, {file: "8"})
    assert heat(Moment.END) == {"throttle_reasons": "cpu thermal"}
    assert heat(Moment.END) == {}


def zone(name, energy, title):
    folder = f"sys/class/powercap/{name}"
    return {f"{folder}/energy_uj": energy, f"{folder}/name": title, f"{folder}/max_energy_range_uj": 262_143_000_000}


def test_energy_is_that_of_the_packages(tmp_path):
    zones = zone("intel-rapl:0", 5_000_000, "package-0") | zone("intel-rapl:1", 262_140_000_000, "package-1")
    zones |= zone("intel-rapl:0:0", 1, "core") | zone("intel-rapl:2", 1, "psys")
    write(tmp_path, zones)
    energy = linux.energy(tmp_path).read
    assert energy(Moment.BEGIN) == {}
    zones = zone("intel-rapl:0", 25_000_000, "package-0") | zone("intel-rapl:1", 7_000_000, "package-1")
    write(tmp_path, zones | zone("intel-rapl:0:0", 9_000_000, "core") | zone("intel-rapl:2", 9_000_000, "psys"))
    assert energy(Moment.BETWEEN) == {"energy_joules": pytest.approx(20 + 10)}  # the second began anew at its limit
    assert energy(Moment.END) == {"energy_joules": pytest.approx(30)}
    assert energy(Moment.END) == {"energy_joules": 0}


def test_a_system_that_tells_nothing(look, clock):
    assert look(Moment.BEGIN) == {}
    clock.sleep(10)
    assert look() == {}


def test_the_real_files():
    for sensor in [*linux.sensors(), linux.energy()]:
        for moment in Moment:
            assert isinstance(sensor.read(moment), dict)
