"""The blocks of an epoch, the stops in it, the compute limit as a measurement, and --until."""

import random
import signal
import sys
import time
from dataclasses import replace

import pytest

from speed_test import Epochs, Repeats, clock, epoch, steady
from speed_test.clock import Clock
from speed_test.command_line import parse
from speed_test.epoch import Blocks
from tests.test_clock import EXPERIMENT, Idle, Trainer


class Time:
    """A clock that the test sets."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        self.waits = 0
        monkeypatch.setattr(epoch.time, "perf_counter", lambda: self.now)

    def wait(self):
        self.waits += 1

    def blocks(self, steps, size=10, waited=0.0):
        """The blocks of an epoch whose steps take so many seconds each."""
        blocks = Blocks(self.wait)
        blocks.start(self.now)
        for seconds in steps:
            self.now += seconds
            blocks.count(size, waited)
        blocks.stop(self.now)
        return blocks


def test_a_block_is_about_a_second_and_they_hold_all_samples(monkeypatch):
    blocks = Time(monkeypatch).blocks([0.3] * 41)
    assert [round(rate, 3) for rate in blocks.rates] == [33.333] * 10  # the last step became a part of the tenth
    assert sum(samples for samples, _ in blocks._blocks) == 410
    assert sum(seconds for _, seconds in blocks._blocks) == pytest.approx(0.3 * 41)


def test_a_block_is_a_step_where_one_takes_longer(monkeypatch):
    assert Time(monkeypatch).blocks([2, 4, 2]).rates == [5, 2.5, 5]


def test_an_epoch_shorter_than_a_block_is_one(monkeypatch):
    assert Time(monkeypatch).blocks([0.1, 0.1, 0.3]).rates == [pytest.approx(60)]


def test_the_device_is_waited_for_at_borders_only(monkeypatch):
    clock = Time(monkeypatch)
    clock.blocks([0.01] * 1000)  # 10 seconds
    assert clock.waits in (9, 10)


@pytest.mark.parametrize("seconds", [59, 61, 119, 121, 500, 4000])
def test_there_are_60_blocks_at_most_and_a_long_epoch_has_few_waits(monkeypatch, seconds):
    clock = Time(monkeypatch)
    blocks = clock.blocks([0.25] * (4 * seconds))
    assert min(30, seconds) <= len(blocks.rates) <= 60
    assert clock.waits < 500
    assert all(rate == pytest.approx(40) for rate in blocks.rates)
    assert sum(samples for samples, _ in blocks._blocks) == 40 * seconds


def test_a_stop_of_the_process_is_a_gap_between_two_steps(monkeypatch):
    clock = Time(monkeypatch)
    assert clock.blocks([0.2] * 20).stopped_seconds == 0
    assert clock.blocks([0.2] * 10 + [3.2] + [0.2] * 10).stopped_seconds == pytest.approx(3, abs=0.05)
    assert clock.blocks([0.2] * 10 + [0.6] + [0.2] * 10).stopped_seconds == 0  # a slow step
    assert clock.blocks([2.0] * 10).stopped_seconds == 0


def test_waiting_for_data_is_no_stop(monkeypatch):
    clock = Time(monkeypatch)
    blocks = Blocks(clock.wait)
    blocks.start(clock.now)
    for number in range(20):
        clock.now += 5.2 if number == 10 else 0.2
        blocks.count(10, waited=5.0 if number >= 10 else 0.0)
    blocks.stop(clock.now)
    assert blocks.stopped_seconds == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_after_a_signal_a_stop_of_a_few_steps_is_seen(monkeypatch):
    before = signal.getsignal(signal.SIGCONT)
    clock = Time(monkeypatch)
    try:
        epoch.notice_stops()
        blocks = Blocks(clock.wait)
        blocks.start(clock.now)
        for number in range(10):
            if number == 5:
                signal.raise_signal(signal.SIGCONT)
            clock.now += 6 if number == 5 else 2
            blocks.count(10, 0.0)
        blocks.stop(clock.now)
    finally:
        signal.signal(signal.SIGCONT, before)
    assert blocks.stopped_seconds == pytest.approx(4)


def test_a_stop_while_an_answer_is_generated():
    tokens = [5.0 + 0.1 * number for number in range(20)]  # the prompt takes 5 seconds
    assert epoch.stopped_seconds(tokens, after_signal=False) == 0
    late = [second + (3 if number >= 10 else 0) for number, second in enumerate(tokens)]
    assert epoch.stopped_seconds(late, after_signal=False) == pytest.approx(3)
    slow = [2.0 * number + (3 if number >= 10 else 0) for number in range(20)]
    assert epoch.stopped_seconds(slow, after_signal=False) == 0
    assert epoch.stopped_seconds(slow, after_signal=True) == pytest.approx(3)
    assert epoch.stopped_seconds([7.0], after_signal=False) == 0


def test_the_row_lists_the_rates_of_its_blocks(scratch, monkeypatch):
    monkeypatch.setattr(epoch, "BLOCK_SECONDS", 0.05)
    sent, _ = Trainer(5, step_seconds=0.02).time(monkeypatch, "--epochs=1")
    row = sent[-1][1]
    rates = [float(rate) for rate in row["block_samples_per_second"].split()]
    assert 2 <= len(rates) <= 9  # ten steps of 0.02 s or more, on a quiet machine three a block
    assert min(rates) * 0.99 < row["samples_per_second"] < max(rates) * 1.01


def limit(monkeypatch, step_seconds, seconds=0.0):
    """The compute limit of a step, and how many steps it took."""
    monkeypatch.setattr(clock, "COMPUTE_SECONDS", seconds)
    trainer = Trainer(10, step_seconds=step_seconds)
    watch = Clock(EXPERIMENT, parse(EXPERIMENT, "", ["--device=cpu"]), 10, trainer, lambda kind, content: None)
    (batch,) = next(iter(trainer.batches()))
    return watch.compute_limit(trainer.step, (batch,)), sum(kind == "step" for kind, _ in trainer.log)


def test_the_compute_limit_has_five_blocks_even_if_a_step_is_slow(scratch, monkeypatch):
    rate, steps = limit(monkeypatch, step_seconds=0.25)
    assert steps == 5
    assert 30 < rate <= 40


def test_a_step_of_minutes_is_not_measured_for_hours(scratch, monkeypatch):
    monkeypatch.setattr(clock, "COMPUTE_MOST_SECONDS", 0.5)
    assert limit(monkeypatch, step_seconds=0.3)[1] in (1, 2)  # five without it


def test_the_compute_limit_is_measured_again_after_the_last_epoch(scratch, monkeypatch):
    monkeypatch.setattr(clock, "COMPUTE_SECONDS", 0.01)
    monkeypatch.setattr(clock, "BLOCK_SECONDS", 0.001)
    trainer, sent = Trainer(10, step_seconds=0.02), []
    options = parse(EXPERIMENT, "", ["--device=cpu", "--batch_sizes=10"])
    watch = Clock(EXPERIMENT, options, 10, trainer, lambda kind, content: sent.append((kind, content)))
    watch.time_epochs(clock_epochs(trainer))
    trainer.step_seconds = 0.1  # the machine becomes slower
    watch.finish(once_more=True)
    assert [kind for kind, _ in sent] == ["rate", "begin", "held", "rest"]
    after = sent[-1][1]["compute_samples_per_second_after"]
    assert 20 < after <= 100 < sent[0][1]


def clock_epochs(trainer):
    return Epochs(trainer.step, trainer.batches, trainer.samples, trainer.rewind)


# ---- --until ----


def until(rates_of_epochs, target="2%", experiment=EXPERIMENT):
    """After how many epochs --until ends, and what it says."""
    options = parse(experiment, "", [f"--until={target}", f"--epochs={len(rates_of_epochs)}", "--device=cpu"])
    watch = Clock(experiment, options, 8, Idle(), lambda kind, content: None)
    for number, rates in enumerate(rates_of_epochs, start=1):
        if why := watch.until.enough(rates, number == len(rates_of_epochs)):
            return number, why
    return len(rates_of_epochs), ""


def noise(spread, blocks, seed):
    random.seed(seed)
    return [random.gauss(100, spread * 100) for _ in range(blocks)]


def test_until_ends_when_the_interval_is_narrow_enough(scratch):
    quiet = [noise(0.002, 10, seed) for seed in range(6)]
    number, why = until(quiet)
    assert number == 1
    width = steady.interval(quiet[0]).half_width
    assert why == f"batch size 8: sure enough (--until=2%): ±{width:.1%} after 10 blocks"


def test_until_looks_after_10_20_40_blocks_only(scratch, monkeypatch):
    looked = []
    monkeypatch.setattr(steady, "stop", lambda half_widths, target: looked.append(len(half_widths)))
    widths = []
    interval = steady.interval
    monkeypatch.setattr(steady, "interval", lambda rates: widths.append(len(rates)) or interval(rates))
    until([noise(0.2, 5, seed) for seed in range(17)])
    assert widths == [10, 20, 40, 80, 85]  # the last look is the end


def test_until_says_that_it_came_to_the_last_epoch(scratch):
    number, why = until([noise(0.2, 10, seed) for seed in range(2)])
    assert number == 2
    assert why.startswith("batch size 8: no surer at the last epoch (--until=2%): ±")
    assert until([noise(0.2, 4, 1)])[1].endswith("4 blocks, too few to tell")


def test_without_until_all_epochs_are_timed(scratch):
    options = parse(EXPERIMENT, "", ["--device=cpu"])
    watch = Clock(EXPERIMENT, options, 8, Idle(), lambda kind, content: None)
    assert not any(watch.until.enough(noise(0.001, 60, seed), seed == 4) for seed in range(5))


def test_until_ends_a_test_without_batch_sizes(scratch, monkeypatch):
    monkeypatch.setattr(steady, "stop", lambda half_widths, target: "sure" if len(half_widths) == 2 else None)
    pieces = replace(EXPERIMENT, batch_sizes=(), figure="samples_per_second", better="higher")
    sent = []
    options = parse(pieces, "", ["--device=cpu", "--until=50%"])
    watch = Clock(pieces, options, None, Idle(), lambda kind, content: sent.append((kind, content)))
    watch.time_repeats(Repeats(lambda item: time.sleep(0.001), list(range(100))))
    assert sum(kind == "row" for kind, _ in sent) == 20
