"""The monitor: made-up sensors, and the real ones of this machine."""

import sys
import threading
import time

import pytest

from speed_test import state
from speed_test.results import COLUMNS, GENERATION_COLUMNS
from speed_test.sensors import base, system
from speed_test.sensors.base import EDGES, Moment, Sensor
from speed_test.sensors.load import Busiest
from speed_test.state import STATE, Monitor, worst


@pytest.fixture
def sensors(monkeypatch):
    """The sensors that a monitor has, as functions of the moment or as Sensor. They may cost what they like."""
    monkeypatch.setattr(state, "SHARE", 1.0)

    def use(*functions):
        made = [found if isinstance(found, Sensor) else Sensor(found) for found in functions]
        monkeypatch.setattr(system, "of_system", lambda launcher: list(made))

    return use


class Telling:
    """A sensor that tells these columns, one after the other, the last of them for ever."""

    def __init__(self, *columns):
        self.left = list(columns)

    def __call__(self, moment):
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]

    def has_told_all(self):
        return len(self.left) == 1


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def test_every_column_is_one_of_the_csv(sensors):
    sensors()
    with Monitor() as monitor:
        monitor.begin()
        found = monitor.end()
        assert found == dict.fromkeys(STATE)
        assert monitor.now() == dict.fromkeys([*STATE, "busiest_other_pid"])
    assert set(STATE) <= set(COLUMNS)
    assert set(STATE) <= set(GENERATION_COLUMNS)


@pytest.mark.parametrize(
    ("column", "one", "other", "expected"),
    [
        ("power", "battery", "mains", "battery"),
        ("thermal_level", "heavy", "moderate", "heavy"),
        ("thermal_level", "nominal", "sleeping", "sleeping"),
        ("memory_pressure", "normal", "critical", "critical"),
        ("low_power_mode", False, True, True),
        ("emulated", None, False, False),
        ("gpu_temperature_c", 71, 83, 83),
        ("gpu_clock_mhz", 1755, 1410, 1410),
        ("gpu_power_limit_w", 350.0, 300.0, 300.0),
        ("throttle_reasons", "power cap", "HwThermal, power cap", "power cap, HwThermal"),
        ("throttle_reasons", None, "HwThermal", "HwThermal"),
        ("swap_growth_gb", 0.2, 0.0, 0.2),
        ("cpu_stolen_percent", 1.0, None, 1.0),
        ("energy_joules", 10.0, 30.0, 30.0),
    ],
)
def test_the_worse_of_two(column, one, other, expected):
    assert worst({column: one}, {column: other})[column] == expected
    assert worst({}, {column: one})[column] == one
    assert worst({column: one}, {})[column] == one


def test_the_busiest_process_of_all_readings(sensors):
    looks = [Busiest(40.0, "a", 7), None, Busiest(90.0, "b", 8), Busiest(60.0, "c", 9), None]
    load = Telling({}, {}, *({"other_load_percent": 95.0, "busiest_other_process": look} for look in looks))
    sensors(load)
    with Monitor(interval=0.02) as monitor:
        monitor.begin()
        until(load.has_told_all)
        found = monitor.end()
    assert (found["other_load_percent"], found["busiest_other_process"]) == (95, "b")


def test_now_is_the_last_reading_and_not_the_worst(sensors):
    load = Telling(
        {},
        {},
        {"other_load_percent": 95.0, "busiest_other_process": Busiest(90.0, "a", 7), "thermal_level": "heavy"},
        {"other_load_percent": 60.0, "thermal_level": "nominal"},
    )
    sensors(load)
    with Monitor(interval=0.02) as monitor:
        monitor.begin()
        until(load.has_told_all)
        found = monitor.now()
    assert (found["other_load_percent"], found["busiest_other_process"], found["busiest_other_pid"]) == (60, "a", 7)
    assert found["thermal_level"] == "nominal"


def test_the_worst_of_an_epoch_and_nothing_of_the_one_before(sensors):
    heat = Telling(*({"thermal_level": level} for level in ("trapping", "nominal", "heavy", "nominal")))
    sensors(heat)
    with Monitor(interval=0.02) as monitor:
        monitor.begin()
        until(heat.has_told_all)
        assert monitor.end()["thermal_level"] == "heavy"
        monitor.begin()
        assert monitor.end()["thermal_level"] == "nominal"


def test_between_two_epochs_nothing_is_read(sensors):
    moments = []
    sensors(lambda moment: moments.append(moment) or {})
    with Monitor(interval=0.05) as monitor:
        monitor.begin()
        until(lambda: Moment.BETWEEN in moments)
        monitor.end()
        count = len(moments)
        time.sleep(0.3)
        assert len(moments) == count
        assert moments[-1] is Moment.END


def test_what_is_read_seldom(sensors):
    seldom, often = [], []
    sensors(Sensor(lambda moment: seldom.append(moment) or {}, EDGES), lambda moment: often.append(moment) or {})
    with Monitor(interval=0.02) as monitor:
        monitor.begin()
        until(lambda: often.count(Moment.BETWEEN) > 3)
        monitor.end()
    assert seldom == [Moment.BEGIN, Moment.BEGIN, Moment.END]  # the first is that of the start


def test_counters_stand_next_to_the_epoch(sensors):
    order = []
    sensors(lambda moment: order.append("counter") or {}, lambda moment: order.append("slow") or {})
    with Monitor() as monitor:
        order.clear()
        monitor.begin()
        monitor.end()
    assert order == ["slow", "counter", "counter", "slow"]


def test_a_source_that_fails_is_left_out(sensors):
    calls = []

    def fail(moment):
        calls.append(moment)
        raise RuntimeError("as nobody expected")

    sensors(fail, Telling({"power": "mains"}))
    with Monitor() as monitor:
        for _ in range(3):
            monitor.begin()
            assert monitor.end()["power"] == "mains"
    assert len(calls) == 1


def test_so_is_one_that_tells_what_nobody_knows(sensors):
    word = {"thermal_level": "a word of next year"}
    heat = Telling({"thermal_level": "heavy"}, {"thermal_level": "heavy"}, word, word)
    sensors(heat, Telling({"power": "mains"}))
    with Monitor(interval=0.02) as monitor:
        monitor.begin()
        until(heat.has_told_all)
        found = monitor.end()
        assert (found["thermal_level"], found["power"]) == ("heavy", "mains")
        assert monitor.now()["thermal_level"] is None


def test_a_source_that_hangs_does_not_hold_the_run(sensors, monkeypatch):
    going_on = threading.Event()
    monkeypatch.setattr(state, "PATIENCE", 0.2)
    sensors(lambda moment: going_on.wait(30) and {"power": "mains"})
    begin = time.monotonic()
    with Monitor() as monitor:
        for _ in range(50):
            monitor.begin()
            assert monitor.end()["power"] is None
        assert time.monotonic() - begin < 5
        going_on.set()  # what is late is not lost for ever
        until(lambda: monitor.end()["power"] == "mains")


def test_readings_that_cost_much_come_less_often(sensors, monkeypatch):
    monkeypatch.setattr(state, "SHARE", 0.0015)

    def burn(moment):
        moments.append(moment)
        end = time.thread_time() + 0.01
        while moment is Moment.BETWEEN and time.thread_time() < end:
            pass
        return {}

    moments = []
    sensors(burn)
    with Monitor(interval=0.05) as monitor:
        monitor.begin()
        time.sleep(1)
        monitor.end()
    assert moments.count(Moment.BETWEEN) == 1  # the next would be 5 seconds later


def test_without_a_thread_nothing_is_known():
    monitor = Monitor()
    monitor.begin()
    assert monitor.end() == dict.fromkeys(STATE)


def test_the_decimals(sensors):
    sensors(Telling({"other_load_percent": 95.123456, "gpu_temperature_c": 71.0, "low_power_mode": False}))
    with Monitor() as monitor:
        found = monitor.now()
    assert (found["other_load_percent"], found["gpu_temperature_c"], found["low_power_mode"]) == (95.1, 71, False)
    assert isinstance(found["gpu_temperature_c"], int)


# ---- Asleep ----


class Clocks:
    """The clocks of a system: `asleep` is how long it slept, `wall` how far somebody has set the wall clock."""

    def __init__(self, **names):
        self.__dict__.update(names)
        self.now, self.asleep, self.set = 1000.0, 0.0, 0.0

    def clock_gettime(self, name):
        return self.now + (self.asleep if name in ("boot", "with sleep") else 0.0)

    def monotonic(self):
        return self.now

    def time(self):
        return 1.7e9 + self.now + self.asleep + self.set


@pytest.mark.parametrize(
    "clocks",
    [
        {"CLOCK_BOOTTIME": "boot", "CLOCK_MONOTONIC": "awake"},
        {"CLOCK_MONOTONIC_RAW": "with sleep", "CLOCK_UPTIME_RAW": "awake"},
        {},
    ],
    ids=["Linux", "macOS", "neither"],
)
def test_asleep(monkeypatch, sensors, clocks):
    clock = Clocks(**clocks)
    monkeypatch.setattr(base, "time", clock)
    sensors(base.Growth(base.asleep_seconds, "suspended_seconds", smallest=0.5))
    with Monitor() as monitor:
        monitor.begin()
        clock.now += 60
        clock.asleep += 0.3  # a clock that NTP slews
        assert monitor.end()["suspended_seconds"] == 0
        monitor.begin()
        clock.asleep += 33
        assert monitor.end()["suspended_seconds"] == pytest.approx(33)
        if clocks:
            clock.set = 5 * 3600
            assert monitor.now()["suspended_seconds"] == 0


# ---- For real ----


def test_this_machine():
    with Monitor(interval=0.3) as monitor:
        monitor.watch("cpu", None)
        monitor.begin()
        time.sleep(1.2)
        found = monitor.end()
        assert set(found) == set(STATE)
        assert found["suspended_seconds"] == 0
        if sys.platform == "linux":
            assert 0 <= found["other_load_percent"] < 1e6
            assert found["emulated"] in (False, None)
    assert not monitor._thread.is_alive()


def test_devices_that_are_not_there():
    with Monitor() as monitor:
        for device in ("cuda", "mps", "cpu"):
            monitor.watch(device, "no such uuid")
        assert monitor.now()["gpu_temperature_c"] is None


@pytest.mark.parametrize("name", ["Linux", "Darwin", "Windows", "Haiku"])
def test_the_sensors_of_each_system(monkeypatch, name):
    """None of them does anything before it is read, so that they can be made anywhere."""
    monkeypatch.setattr(system.platform, "system", lambda: name)
    monkeypatch.setattr(system.os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(system.os, "sysconf", lambda _: 100, raising=False)
    found = system.of_system()
    assert len(found) >= 2
    assert all(isinstance(sensor, Sensor) for sensor in found)
    assert isinstance(system.of_device("cpu", None), list)
