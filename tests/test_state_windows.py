"""What Windows tells of its state: a made-up kernel32."""

import ctypes
from types import SimpleNamespace

import pytest

from speed_test.sensors import base, load, windows
from speed_test.sensors.base import Moment


def kernel(monkeypatch, **functions):
    def get_current_process():
        return 2**64 - 1

    functions = {"GetCurrentProcess": get_current_process, **functions}
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=SimpleNamespace(**functions)), raising=False)


@pytest.mark.parametrize(
    ("line", "battery", "saver", "expected"),
    [
        (1, 8, 0, {"power": "mains", "low_power_mode": False}),
        (0, 1, 0, {"power": "battery", "low_power_mode": False}),
        (0, 1, 1, {"power": "battery", "low_power_mode": True}),
        (255, 255, 0, {"low_power_mode": False}),
        (1, 128, 0, {"low_power_mode": False}),
    ],
)
def test_power(monkeypatch, line, battery, saver, expected):
    def get_system_power_status(status):
        status._obj.line, status._obj.battery, status._obj.saver = line, battery, saver
        return 1

    kernel(monkeypatch, GetSystemPowerStatus=get_system_power_status)
    assert windows._power(Moment.END) == expected
    kernel(monkeypatch, GetSystemPowerStatus=lambda status: 0)
    assert windows._power(Moment.END) == {}


def test_the_structure_has_the_size_that_windows_writes():
    assert ctypes.sizeof(windows._PowerStatus) == 4 + 2 * 4


@pytest.mark.parametrize(
    ("native", "python", "expected"),
    [
        (0xAA64, "win-amd64", True),
        (0xAA64, "win32", True),
        (0xAA64, "win-arm64", False),
        (0x8664, "win-amd64", False),
    ],
)
def test_a_python_for_x86_on_an_arm_processor(monkeypatch, native, python, expected):
    def is_wow64_process_2(process, ours, of_the_machine):
        ours._obj.value, of_the_machine._obj.value = 0, native
        return 1

    get_current_process = type("Function", (), {"__call__": lambda self: 2**64 - 1, "restype": None})()
    kernel(monkeypatch, IsWow64Process2=is_wow64_process_2, GetCurrentProcess=get_current_process)
    monkeypatch.setattr(windows.sysconfig, "get_platform", lambda: python)
    assert windows.is_emulated() is expected
    kernel(monkeypatch, IsWow64Process2=lambda *_: 0, GetCurrentProcess=get_current_process)
    assert windows.is_emulated() is None
    kernel(monkeypatch, GetCurrentProcess=get_current_process)
    assert windows.is_emulated() is None


def test_sleep_is_what_one_of_two_clocks_slept_through(monkeypatch):
    clock = SimpleNamespace(awake=1000.0, asleep=0.0)

    def query_unbiased_interrupt_time(ticks):
        ticks._obj.value = int(clock.awake * 1e7)

    get_tick_count = type("Function", (), {"__call__": lambda self: int((clock.awake + clock.asleep) * 1000)})()
    kernel(monkeypatch, QueryUnbiasedInterruptTime=query_unbiased_interrupt_time, GetTickCount64=get_tick_count)
    asleep = base.Growth(windows.asleep_seconds, "suspended_seconds", smallest=0.5)
    assert asleep(Moment.BEGIN) == {}
    clock.awake += 20
    clock.asleep += 0.015  # it counts in steps of 16 ms
    assert asleep(Moment.BETWEEN) == {"suspended_seconds": 0}
    clock.asleep += 30
    assert asleep(Moment.END) == {"suspended_seconds": pytest.approx(30.015, abs=0.01)}


def test_swap(monkeypatch):
    import psutil

    used = SimpleNamespace(used=2 * 2**30)
    monkeypatch.setattr(psutil, "swap_memory", lambda: used)
    swap = windows.sensors()[0].read
    assert swap(Moment.BEGIN) == {}
    used.used += 2**29
    assert swap(Moment.END) == {"swap_growth_gb": pytest.approx(0.5)}


def test_the_busiest_process(monkeypatch):
    import psutil

    def process(pid, name, seconds, created=1.0):
        times = SimpleNamespace(user=seconds, system=0.0) if seconds is not None else None
        return SimpleNamespace(info={"pid": pid, "name": name, "cpu_times": times, "create_time": created})

    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(load.time, "monotonic", lambda: clock.now)
    lists = iter(
        [
            [process(0, "System Idle Process", 900), process(4, "System", 5), process(9, "python.exe", 50)],
            [
                process(0, "System Idle Process", 918),
                process(4, "System", 5.5),
                process(9, "python.exe", 59),
                process(12, "MsMpEng.exe", None),
                process(11, "one of ours", 20),
                process(13, "chrome.exe", 1),
            ],
        ]
    )
    monkeypatch.setattr(psutil, "process_iter", lambda facts: next(lists))
    busiest = load.Ranking(load._psutil_times)
    assert busiest.prime(Moment.BEGIN) == {}
    assert busiest.prime(Moment.BETWEEN) == {}
    clock.now += 10
    assert busiest({11}) == (pytest.approx(90), "python.exe", 9)
