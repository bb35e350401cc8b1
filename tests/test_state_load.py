"""How much CPU time others take: made-up /proc, and for real on Linux."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from speed_test.sensors import base, load
from speed_test.sensors.base import Moment
from speed_test.sensors.load import Busiest, Snapshot, Times, growth
from tests.test_state_linux import write

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


# ---- Our own CPU time ----

A, B, C = (1, 10.0), (2, 20.0), (3, 30.0)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({A: Times(1, 0)}, {A: Times(3, 0)}, 2),
        ({A: Times(1, 0)}, {A: Times(1, 0), B: Times(4, 0)}, 4),  # a new one has done all its work since
        ({A: Times(1, 0), B: Times(4, 0)}, {A: Times(1, 5)}, 1),  # ended, and waited for by its parent
        ({A: Times(1, 0)}, {A: Times(1, 2)}, 2),  # began and ended in between
        ({A: Times(1, 0), B: Times(4, 3), C: Times(2, 0)}, {A: Times(1, 9.5)}, 0.5),  # a whole branch
        ({A: Times(1, 0), B: Times(4, 0)}, {A: Times(1, 3.97)}, 0),  # counted in ticks of 10 ms
        ({A: Times(1, 0), B: Times(4, 0)}, {A: Times(2, 0)}, None),  # nobody waited for it: its time is lost
        ({A: Times(1, 0), (2, 20.0): Times(4, 0)}, {A: Times(1, 4), (2, 99.0): Times(1, 0)}, 1),  # the number again
    ],
)
def test_growth_of_our_own_time(before, after, expected):
    assert growth(before, after) == (None if expected is None else pytest.approx(expected))


# ---- The columns ----


def snapshot(busy=0.0, ours=0.0, stolen=0.0, total=0.0):
    return Snapshot(busy, stolen, total, {A: Times(ours, 0)})


def columns(before, after, seconds=10.0, busiest=lambda pids: None):
    return load.Load(lambda: None, busiest)._columns(before, after, seconds)


def test_the_load_is_what_is_not_ours():
    asked = []
    found = columns(snapshot(), snapshot(busy=20.0, ours=9.0), busiest=lambda pids: asked.append(pids))
    assert found == {"other_load_percent": pytest.approx(110)}
    assert asked == [{1}]


@pytest.mark.parametrize(
    ("busy", "busiest", "expected"),
    [
        (5.0, Busiest(45.0, "We\nird\x1b name", 7), Busiest(45.0, "Weird name", 7)),
        (5.0, Busiest(29.0, "one of many", 7), None),
        (5.0, None, None),
        (2.9, Busiest(45.0, "below a third of a core", 7), None),
    ],
)
def test_the_name(busy, busiest, expected):
    found = columns(snapshot(), snapshot(busy=busy), busiest=lambda pids: busiest)
    assert found.get("busiest_other_process") == expected


def test_a_name_is_looked_for_once_in_an_epoch_unless_the_load_grows(ticks):
    asked = []
    loads = iter([0, 40, 85, 130, 190, 250, 300])  # seconds, every 10 seconds
    sensor = load.Load(
        lambda: snapshot(busy=float(next(loads))),
        lambda pids: asked.append(ticks.now) or Busiest(400.0, "a", 7),
    )
    for moment in (Moment.BEGIN, *[Moment.BETWEEN] * 4, Moment.BEGIN, Moment.END):
        sensor(moment)
        ticks.now += 10
    assert asked == [60, 90, 110]  # 400%, not 450% and 450%, but 600%; and in the next epoch 500%


def test_the_error_of_two_large_numbers_is_no_load():
    """64 cores that work for us: a difference of half a percent of 640 seconds."""
    assert columns(snapshot(), snapshot(busy=643.0, ours=640.0))["other_load_percent"] == 0
    assert columns(snapshot(), snapshot(busy=637.0, ours=640.0))["other_load_percent"] == 0
    assert columns(snapshot(), snapshot(busy=650.0, ours=640.0))["other_load_percent"] == pytest.approx(100)


def test_a_sum_of_other_cpus_tells_nothing():
    assert columns(snapshot(), snapshot(busy=1.0, ours=9.0)) == {}


def test_lost_time_tells_nothing():
    before = Snapshot(0, 0, 0, {A: Times(0, 0), B: Times(5, 0)})
    assert columns(before, snapshot(busy=10.0, ours=5.0)) == {}


def test_stolen_time():
    assert columns(snapshot(), snapshot(stolen=1.0, total=20.0))["cpu_stolen_percent"] == pytest.approx(5)


# ---- Made-up /proc ----


def process(pid, parent, name, own, reaped=0, start=5):
    """A line of /proc/PID/stat; `own` and `reaped` in ticks, half of them in the kernel."""
    times = f"{own - own // 2} {own // 2} {reaped - reaped // 2} {reaped // 2}"
    return {f"proc/{pid}/stat": f"{pid} ({name}) S {parent} 1 1 0 -1 4194560 9 9 0 0 {times} 20 0 1 0 {start} 7 8 9"}


def cpus(*rows):
    lines = [f"cpu{number}  {' '.join(map(str, row))}" for number, row in enumerate(rows)]
    total = " ".join(str(sum(column)) for column in zip(*rows, strict=True))
    return {"proc/stat": "\n".join([f"cpu  {total}", *lines, "intr 1 2 3", "ctxt 5"])}


@pytest.fixture
def ticks(monkeypatch):
    if not hasattr(os, "sysconf"):
        pytest.skip("reads /proc")
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    clock = SimpleNamespace(now=50.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(base, "time", clock)
    monkeypatch.setattr(load, "time", clock)
    return clock


def all_of(sensors):
    """Several sensors as one. As in the monitor, the first of them comes last at the begin of an epoch."""

    def read(moment):
        order = reversed(sensors) if moment is Moment.BEGIN else sensors
        return {column: value for sensor in order for column, value in sensor.read(moment).items()}

    return read


def test_a_made_up_proc(tmp_path, ticks):
    #          user nice system idle iowait irq softirq steal guest guest_nice
    idle = (0, 0, 0, 1000, 0, 0, 0, 0, 0, 0)
    write(tmp_path, cpus(idle, idle) | process(1, 0, "init", 0) | process(7, 1, "python", 10))
    write(tmp_path, process(8, 7, "python", 20) | process(9, 1, "a) (b c", 30))
    sensor = all_of(load.linux(tmp_path, None, pid=7))
    assert sensor(Moment.BEGIN) == {}
    ticks.now += 10
    busy = (300, 20, 150, 1400, 60, 5, 5, 60, 40, 10)  # guests are in user and nice already
    write(tmp_path, cpus(busy, idle) | process(8, 7, "python", 200) | process(9, 1, "a) (b c", 330))
    write(tmp_path, process(10, 8, "worker", 60))
    found = sensor(Moment.END)
    assert found["other_load_percent"] == pytest.approx(24)  # 480 ticks, of them 240 ours
    assert "busiest_other_process" not in found  # 24% are not worth it
    assert found["cpu_stolen_percent"] == pytest.approx(100 * 60 / 1000)
    ticks.now += 10
    write(tmp_path, cpus((1200, 20, 150, 1400, 60, 5, 5, 60, 0, 0), idle) | process(9, 1, "a) (b c", 1230))
    found = sensor(Moment.END)
    assert found["other_load_percent"] == pytest.approx(90)
    assert found["busiest_other_process"] == (pytest.approx(90), "a) (b c", 9)


@pytest.mark.parametrize(("allowed", "expected"), [({0}, 0), ({1}, 80), ({0, 1}, 80), (None, 80), ({4, 5, 6}, 80)])
def test_only_the_cpus_that_we_may_run_on_count(tmp_path, ticks, allowed, expected):
    idle = (0, 0, 0, 1000, 0, 0, 0, 0, 0, 0)
    write(tmp_path, cpus(idle, idle) | process(7, 1, "python", 10) | process(9, 1, "other", 0))
    sensor = all_of(load.linux(tmp_path, allowed, pid=7))
    sensor(Moment.BEGIN)
    ticks.now += 10
    write(tmp_path, cpus(idle, (800, 0, 0, 1200, 0, 0, 0, 0, 0, 0)) | process(9, 1, "other", 0))
    assert sensor(Moment.END)["other_load_percent"] == pytest.approx(expected)


def test_those_that_are_not_ours_are_looked_at_once(tmp_path, ticks, monkeypatch):
    write(tmp_path, cpus((0,) * 10) | process(1, 0, "init", 0) | process(7, 1, "python", 0) | process(9, 1, "a", 0))
    proc = load._Proc(tmp_path / "proc", None, 7)
    looked = []
    monkeypatch.setattr(proc, "_process", lambda pid: looked.append(pid) or load._Proc._process(proc, pid))
    assert {pid for pid, _ in proc.snapshot().ours} == {7}
    assert set(looked) == {1, 7, 9}
    looked.clear()
    write(tmp_path, process(11, 7, "worker", 3))
    assert {pid for pid, _ in proc.snapshot().ours} == {7, 11}
    assert set(looked) == {7, 11}
    write(tmp_path, process(9, 11, "of ours", 3, start=77))  # a number that is used again
    proc.times()
    assert {pid for pid, _ in proc.snapshot().ours} == {7, 9, 11}


def test_no_proc(tmp_path, ticks):
    (tmp_path / "proc").mkdir()
    sensor = all_of(load.linux(tmp_path, pid=7))
    assert [sensor(moment) for moment in Moment] == [{}, {}, {}]


# ---- For real ----

BUSY = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
# A process that nobody of ours has started: its parent has ended.
ORPHAN = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=2).pid)"


def cpu_times():
    import psutil

    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq


def own_time(pid):
    import psutil

    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def measured(pid, sensor, seconds=1.0):
    """The columns of some seconds; CPU seconds that `pid` took then, and all; and the seconds."""
    sensor(Moment.BEGIN)
    begin, spent, busy = time.monotonic(), own_time(pid), cpu_times()
    time.sleep(seconds)
    spent, busy = own_time(pid) - spent, cpu_times() - busy
    return sensor(Moment.END), spent, busy, time.monotonic() - begin


@linux_only
def test_a_busy_program_of_others_is_seen_and_named():
    pid = int(subprocess.check_output([sys.executable, "-c", ORPHAN, BUSY]))
    try:
        found, spent, _, seconds = measured(pid, all_of(load.linux()))
    finally:
        os.kill(pid, signal.SIGKILL)
    share = 100 * spent / seconds  # 100 where nothing else runs
    assert share - 20 < found["other_load_percent"] < 100 * os.cpu_count() + 20
    if share > 60:
        busiest = found["busiest_other_process"]
        assert busiest.pid == pid or busiest.percent > share - 20  # of another program, on a machine that is not quiet


@linux_only
@pytest.mark.parametrize("make", [load.linux, load.windows])
def test_our_own_work_is_not_counted(make):
    with subprocess.Popen([sys.executable, "-c", BUSY]) as child:
        try:
            found, spent, busy, seconds = measured(child.pid, all_of(make()))
        finally:
            child.kill()
    assert spent > 0.1
    rest, share = 100 * (busy - spent) / seconds, 100 * spent / seconds
    assert found["other_load_percent"] < 1.05 * rest + max(15, 0.6 * share)  # not 1.0: the two times differ a little


@linux_only
def test_a_worker_that_ends_takes_its_time_with_it():
    """Its parent waits for it, and so has its time: neither lost, nor counted twice."""
    worker = "end = __import__('time').process_time() + 0.6\nwhile __import__('time').process_time() < end: pass"
    script = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {worker!r}]); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script]) as child:
        try:
            proc = load._Proc(load.Path("/proc"), None, os.getpid())
            first = proc.snapshot()
            before, spent = {}, 0.0
            end = time.monotonic() + 20
            while time.monotonic() < end:
                time.sleep(0.1)
                latest = proc.snapshot()
                spent += growth(before or first.ours, latest.ours)
                gone = before.keys() - latest.ours.keys()
                before = latest.ours
                if gone:
                    break
        finally:
            child.kill()
    assert gone
    assert 0.5 < spent < 1.5
