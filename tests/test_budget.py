"""--budget: what it measures, on machines of every kind, and how long a run then takes."""

import math
import random
from types import SimpleNamespace

import pytest

import pytorch_test_computer_vision_cifar100 as cifar100
from speed_test import budget, resume, timetable
from speed_test.budget import Costs, Measured, Plan, Share, Shares
from speed_test.child import Skipped
from speed_test.clock import costs
from speed_test.command_line import Options
from speed_test.pace import Pace

COSTS = Costs(warmup_steps=3, warmup_seconds=10, limit_blocks=5, limit_seconds=2)
SIZES = cifar100.EXPERIMENT.batch_sizes
SAMPLES = cifar100.EXPERIMENT.samples


def tried(shares, left, rates, run=1, done=()):
    """The sizes of a run on a machine that does `rates(size)` samples per second, when each takes all of its share."""
    now = [left]
    found = []
    for size, seconds in shares.of_run(run, lambda: now[0], done):
        found.append(size)
        if size:
            shares.measured(Measured(size, rates(size), overhead=5.0, peak_memory_gb=1 + size / 100))
        now[0] -= seconds
    return found


def test_small_middle_and_large():
    assert tried(Shares(SIZES, COSTS, are_chosen=False), 600, lambda size: 10_000) == [16, 128, 1024]
    assert tried(Shares((32, 64, 128), COSTS, are_chosen=False), 600, lambda size: 10_000) == [32, 64, 128]
    assert tried(Shares((16, 32, 64, 128), COSTS, are_chosen=False), 600, lambda size: 10_000) == [16, 32, 128]
    assert tried(Shares((8, 2, 5), COSTS), 600, lambda size: 10_000) == [8, 2, 5]
    assert tried(Shares((), COSTS), 600, lambda size: 10_000) == [None]


def test_a_size_that_takes_too_long_is_replaced_and_named():
    # 10 steps of 256, 3 of warm-up and twice 5 of the limit are 23 steps of 2 s, and 5 s to start.
    shares = Shares(SIZES, COSTS, are_chosen=False)
    assert tried(shares, 150, lambda size: 128) == [16, 128, 64]
    assert shares.sentences() == [
        "Batch sizes 256, 512 and 1024 were left out: "
        "10 steps of 256 and the compute limit would take 51 s, and 50 s were left."
    ]
    assert tried(Shares(SIZES, COSTS, are_chosen=False), 156, lambda size: 128) == [16, 128, 256]


def test_a_size_that_has_no_room_in_memory_is_replaced_and_named():
    # 1 GB and 1 GB for each 100 samples: 1024 takes 11.24 GB of 12 GB, over 90%
    shares = Shares(SIZES, COSTS, are_chosen=False, memory_gb=12)
    assert tried(shares, 600, lambda size: 10_000) == [16, 128, 512]
    assert shares.sentences() == ["Batch size 1024 was left out: it would need about 11.2 GB of the 12.0 GB of memory."]
    assert tried(Shares(SIZES, COSTS, are_chosen=False, memory_gb=13), 600, lambda size: 10_000) == [16, 128, 1024]


def test_the_next_smaller_follows_one_that_ran_out_of_memory():
    shares = Shares(SIZES, COSTS, are_chosen=False)
    found = []
    for size, seconds in shares.of_run(1, lambda: 600):
        found.append((size, seconds))
        if size >= 64:
            shares.too_large(size)
        else:
            shares.measured(Measured(size, 1000))
    assert [size for size, _ in found] == [16, 128, 64, 32]
    assert tried(Shares(SIZES, COSTS, are_chosen=False, out_of_memory=64), 600, lambda size: 1000) == [16, 32]


def test_what_one_leaves_over_goes_to_the_next():
    left = [90.0]
    found = []
    shares = Shares((1, 2, 3), COSTS)
    for size, seconds in shares.of_run(1, lambda: left[0]):
        found.append(seconds)
        left[0] -= 10 if size == 1 else seconds
    assert found == [30, 40, 40]


def test_runs_share_the_budget_and_repeat_the_sizes_of_the_first():
    shares = Shares(SIZES, COSTS, are_chosen=False, runs=3)
    left = [900.0]
    found = []
    for run in (1, 2, 3):
        for size, seconds in shares.of_run(run, lambda: left[0]):
            found.append((run, size, seconds))
            left[0] -= seconds
            shares.measured(Measured(size, 10_000))
    assert found == [(run, size, pytest.approx(100)) for run in (1, 2, 3) for size in (16, 128, 1024)]


def test_what_is_in_the_csv_is_not_measured_again():
    assert tried(Shares(SIZES, COSTS, are_chosen=False), 600, lambda size: 10_000, done={16, 128}) == [1024]
    assert tried(Shares(SIZES, COSTS, are_chosen=False), 600, lambda size: 10_000, done={16, 64, 1024}) == []
    assert tried(Shares((8, 2, 5), COSTS), 600, lambda size: 10_000, done={2}) == [8, 5]
    shares = Shares(SIZES, COSTS, are_chosen=False, runs=2)
    assert tried(shares, 600, lambda size: 10_000, run=1, done={16, 128, 512}) == []
    assert tried(shares, 600, lambda size: 10_000, run=2, done={16}) == [128, 512]


@pytest.mark.parametrize(
    ("left", "epoch", "step", "most", "planned"),
    [
        (100, 20, 0.01, 5, Plan(4, True, 107)),  # 5 epochs would leave no margin
        (106, 20, 0.01, 5, Plan(5, True, 113)),
        (900, 20, 0.01, 5, Plan(5, True, 907)),
        (90, 385, 0.1, 5, Plan(3, False, 29.95)),
        (90, 385, 0.1, 2, Plan(2, False, 44.95)),
        (25, 385, 0.1, 5, Plan(2, False, 12.45)),
        (15, 385, 0.1, 5, Plan(1, False, 14.95)),
        (90, 385, 4, 5, Plan(2, False, 43)),
        (3, 385, 4, 5, Plan(1, False, 2)),
    ],
)
def test_whole_epochs_if_they_fit_and_else_parts(left, epoch, step, most, planned):
    found = budget.plan(left, 7, epoch, step, most)
    assert (found.epochs, found.whole, pytest.approx(found.time_limit)) == planned


def test_the_next_epoch_is_started_only_if_it_fits():
    whole = Plan(3, True, 100)
    assert budget.next_epoch(whole, 1, left=22, reserve=2, last=20, step=0.1) == Plan(3, True, 24)
    assert budget.next_epoch(whole, 1, left=20.5, reserve=2, last=20, step=0.1) is None  # loading is slow, say
    assert budget.next_epoch(whole, 3, left=500, reserve=2, last=20, step=0.1) is None
    parts = Plan(3, False, 10)
    assert budget.next_epoch(parts, 1, left=24, reserve=2, last=12, step=2) == Plan(3, False, 11)
    assert budget.next_epoch(parts, 2, left=4, reserve=2, last=12, step=2) is None


def test_a_first_step_that_only_compiles_is_given_another_chance():
    def pace(left):
        return Pace(Share(0, left, left), COSTS, now=lambda: 0)

    assert not pace(100).needs_another_step([1.0])
    assert pace(100).needs_another_step([60.0])
    assert not pace(100).needs_another_step([60.0, 0.1])
    with pytest.raises(Skipped, match="a step takes 59 s, and 100 s were left of --budget"):
        pace(100).needs_another_step([60.0, 59.0])
    with pytest.raises(Skipped, match="the first step took 800 s, and 150 s were left of --budget"):
        pace(150).needs_another_step([800.0])


def test_a_child_keeps_time_for_the_compute_limit_after_the_last_epoch():
    now = [0.0]
    pace = Pace(Share(0, 100, 200), COSTS, now=lambda: now[0])

    def plan(pace):
        return pace.plan_epochs(Options(epochs=5), rate=100, batch_size=10, samples=100_000, warm_up=1, limit=4)

    options = plan(pace)
    assert (options.epochs, options.time_limit) == (3, pytest.approx(96 / 3 - 0.05))
    now[0] = 36
    options, is_last, _ = pace.plan_next(options, is_whole=False, rate=99)
    assert (is_last, options.time_limit) == (False, pytest.approx(60 / 2 - 0.05))
    now[0] = 96
    assert pace.plan_next(options, is_whole=False, rate=99)[1:] == (True, "")
    for now[0], has_time in ((196, True), (197.5, True), (198.5, False)):
        assert pace.has_time_for_limit is has_time
    now[0] = 0
    # Too little for that: it is left out, and all of the time goes to the steps.
    assert plan(Pace(Share(0, 2, 3), COSTS, now=lambda: now[0])).time_limit == pytest.approx(3 - 0.05)


def test_a_child_goes_on_beyond_its_deadline_only_for_the_least_or_if_nothing_can_follow():
    def deadline(following, least=8.0):
        return budget.deadline_of(Share(0, 10, 60, following), least, rate=10, overhead=5, costs=COSTS)

    assert deadline(None) == 10
    assert deadline(None, least=20) == 20
    assert deadline(None, least=90) == 60
    # A step of 19 takes 1.9 s, and 23 steps 43.7 s: with 5 s to start, that begins after 10 s and ends before 60.
    assert (deadline(19), deadline(20)) == (10, 60)
    assert deadline(19, least=12) == 60


def test_a_compute_limit_that_is_far_too_low_does_not_cost_the_other_batch_sizes_their_time():
    """It was measured while the machine stood still, say: at 4 samples a second, 32 would not fit."""
    now = [0.0]
    pace = Pace(Share(0, 60, 180, following=32), COSTS, now=lambda: now[0])
    now[0] = 30
    options = pace.plan_epochs(Options(epochs=5), rate=4, batch_size=16, samples=100_000, warm_up=10, limit=15)
    assert options.epochs == 3
    now[0] = 75
    assert not pace.plan_next(options, is_whole=False, rate=4)[1]
    assert pace.plan_next(options, is_whole=False, rate=200)[1]

    shares = Shares(SIZES, COSTS, are_chosen=False)
    slow = Measured(16, rate=4)
    row = {"samples_per_second": 200.0, "peak_memory_gb": 1.5}
    shares.measured(slow)
    assert shares.why_not(256, 50)
    shares.measured(slow.with_epoch(row))
    assert not shares.why_not(256, 50)
    assert slow.with_epoch(row | {"samples_per_second": 3.0}) == Measured(16, 4, peak_memory_gb=1.5)


def test_the_share_of_the_first_child(monkeypatch):
    monkeypatch.setattr(timetable, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    options = Options(batch_sizes=SIZES, has_chosen_sizes=False, budget=90.3, runs=1, epochs=5)
    table = timetable.Timetable(options, 1000.0, resume.NOTHING, None)
    size, of_child = next(table.of_run(1))
    assert (size, of_child.share) == (16, Share(1000, 1029, 1089, 32))
    assert 1090 < table.child_has_to_end < 1096


def test_pieces_are_made_so_short_that_ten_fit():
    assert budget.most_things(left=120, first=2, each=0.1, items=100) == 1 + 100
    assert budget.most_things(left=120, first=2, each=0.1, items=3) == 1 + 380
    assert budget.most_things(left=10, first=2, each=0.1, items=100) == 1
    now = [0.0]
    pace = Pace(Share(0, 100.0, 200.0), COSTS, now=lambda: now[0])
    assert pace.plan_pieces([2.0, 2.5, 3.0], yields=17) == 10
    assert pace.has_time_for_a_piece
    now[0] = 89
    pace.piece_took(11.0)
    assert pace.has_time_for_a_piece
    pace.piece_took(11.5)
    assert not pace.has_time_for_a_piece
    with pytest.raises(Skipped, match=r"it would take 122 s, and 100 s were left of --budget"):
        Pace(Share(0, 50.0, 100.0), COSTS, now=lambda: 0).plan_pieces([2.0, 3.0], yields=121)


# ---- 1,000 machines ----


class World:
    """A machine that is made up, and its clock. `speed` is against 2 CPU cores, 130 samples of CIFAR100 a second."""

    def __init__(self, seed):
        draw = random.Random(seed)
        self.now = draw.uniform(0, 1e6)
        self.budget = math.exp(draw.uniform(math.log(45), math.log(3600)))
        self.plateau = 130 * 10 ** draw.uniform(-2, 3)
        self.half = draw.choice([0, 8, 64, 512])  # samples of a batch at which half of that speed is reached
        self.start = draw.uniform(2, 30)
        self.tail = draw.uniform(0.1, 3)
        self.memory_gb = draw.choice([4, 8, 16, 24, 80, 200])
        self.gb_a_sample = draw.uniform(0.001, 0.03)
        self.loader = self.plateau * draw.choice([0.1, 0.5, 0.9, 10, 10, 10])
        self.compiling = draw.choice([0, 0, 5, 20])
        self.noise = draw.choice([0, 0.005, 0.03])
        self.runs = draw.choice([1, 1, 1, 2, 3])
        self.draw = draw

    def takes(self, seconds):
        seconds *= math.exp(self.draw.gauss(0, self.noise))
        self.now += seconds
        return seconds

    def step(self, size):
        return (size + self.half) / self.plateau

    def limit(self, size, pace):
        """Measure the compute limit, as the clock does: the seconds that it takes."""
        most, blocks, took = pace.seconds_for_limit, 0, 0.0
        while not blocks or took < min(most, 2 if blocks >= 5 else 300):
            took += self.takes(max(self.step(size), 0.2))
            blocks += 1
        return took

    def child(self, size, options):
        """What the clock does at a batch size: what was found, and how it failed."""
        self.takes(self.start)
        if size * self.gb_a_sample > self.memory_gb:
            return None, "out_of_memory"
        pace = Pace(options.share, costs(), now=lambda: self.now)
        warm_up, seconds, one_more = 0.0, [], False
        while len(seconds) < 3 and (warm_up < 10 or one_more):
            seconds.append(self.takes(self.step(size) + (0 if seconds else self.compiling)))
            warm_up += seconds[-1]
            one_more = pace.needs_another_step(seconds)
        limit = self.limit(size, pace)
        step = self.step(size) * math.exp(self.draw.gauss(0, self.noise))
        if pace.may_reach_end(SAMPLES / size * step):
            warm_up += self.takes(costs().warm_up(self.step(size)))
        options = pace.plan_epochs(options, size / step, size, SAMPLES, warm_up, limit)
        found, memory_gb = Measured(size, size / step, pace.overhead), 0.5 + size * self.gb_a_sample
        is_last = False
        while not is_last:
            whole = SAMPLES / min(size / self.step(size), self.loader)
            steps = math.ceil(SAMPLES / size * min(1, options.time_limit / whole))
            samples = min(steps * size, SAMPLES)
            measured = self.takes(whole * samples / SAMPLES)
            self.epochs.append((size, measured >= whole * 0.8 and steps >= SAMPLES / size))
            options, is_last, why = pace.plan_next(options, self.epochs[-1][1], samples / measured)
            found = found.with_epoch({"samples_per_second": samples / measured, "peak_memory_gb": memory_gb})
            self.said += [why] if why else []
        if pace.has_time_for_limit:
            self.limit(size, pace)
            late = self.now - options.share.end
            assert late < max(0.2 * self.step(size), 0.25)  # else the parent may end it in the middle
        return found, ""

    def sweep(self, monkeypatch):
        """Measure within the budget; return how many seconds that took."""
        monkeypatch.setattr(timetable, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.epochs, self.said, self.failed = [], [], []
        options = Options(batch_sizes=SIZES, has_chosen_sizes=False, budget=self.budget, runs=self.runs, epochs=5)
        began = self.now
        table = timetable.Timetable(options, began, resume.NOTHING, self.memory_gb)
        for run in range(1, self.runs + 1):
            for size, of_child in table.of_run(run):
                if why := table.why_skipped(size):
                    self.failed.append(why)
                    continue
                try:
                    found, status = self.child(size, of_child)
                except Skipped as reason:
                    found, status = None, "skipped"
                    self.failed.append(str(reason))
                if self.now > table.child_has_to_end:  # in the middle of a step
                    self.now = table.child_has_to_end
                    self.failed.append("killed")
                self.takes(self.tail)
                table.ended(size, found, self.tail, status)
        self.said += table.sentences()
        return self.now - began

    @property
    def has_measured_all(self):
        """Whether all epochs of the last batch size were measured: no other one was left to take the time."""
        return self.epochs[-5:] == 5 * [(self.epochs[-1][0], True)]


def test_a_thousand_machines(monkeypatch):
    ends = {"within": 0, "all measured": 0, "no other epoch fits": 0, "left out": 0, "too slow": 0}
    for seed in range(1000):
        world = World(seed)
        used = world.sweep(monkeypatch) / world.budget
        assert used < 1.1, (seed, used, vars(world))
        assert world.epochs or world.failed, (seed, vars(world))
        if used > 0.9:
            ends["within"] += 1
        elif world.epochs and world.has_measured_all:
            ends["all measured"] += 1
        elif any("another epoch" in why for why in world.said):
            ends["no other epoch fits"] += 1
        elif any("left out" in why for why in world.said):
            ends["left out"] += 1
        elif world.failed:
            ends["too slow"] += 1
        else:
            raise AssertionError((seed, used, vars(world)))
    # Most machines have enough to measure for all of the time.
    assert ends["within"] + ends["all measured"] > 830, ends


def test_sizes_that_are_done_stand_for_the_goals_that_they_reach():
    def still(done, runs=1):
        shares = Shares((16, 32, 64, 128, 256, 512, 1024), COSTS, are_chosen=False, runs=runs)
        first = [size for size, _ in shares.of_run(1, lambda: 1000.0, done)]
        return first, [size for size, _ in shares.of_run(2, lambda: 1000.0)] if runs > 1 else None

    assert still({512}) == ([16, 128], None)
    assert still({16, 64}) == ([1024], None)
    assert still({16, 32, 64, 128, 256, 512, 1024}, runs=2) == ([], [16, 128, 1024])
