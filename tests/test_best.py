"""--best: trials, what is wrong and not fast, and the row of what was chosen."""

import math

import pytest

from speed_test import best
from speed_test.best import Reference, Trial
from speed_test.switches import PRECISIONS, ROUNDOFF, Switches, combinations
from tests.conftest import ROOT, rows, run, the_csv

BEST = ROOT / "tests" / "best_speed_test.py"
FLOAT32 = Switches()
BFLOAT16 = Switches("bfloat16")
KNOWN = Reference([4.0, 3.0, 2.0], dict.fromkeys(PRECISIONS, 0.1), True)


def trained(steps, off=0.0, seed=0, rate=0.1, wobble=1.0):
    """The losses of one weight that is fitted to 3 by gradient descent; `wobble` is what becomes of being off."""
    weight = 1 + off * wobble * (1 if seed % 2 else -1)
    losses = []
    for _ in range(steps):
        losses.append((weight - 3) ** 2)
        weight -= rate * 2 * (weight - 3)
    return losses


def known(wobble=1.0, seconds=lambda: 0.0):
    return best.reference(lambda steps, off, seed: trained(steps, off, seed, wobble=wobble), seconds)


def test_rounding_is_allowed_by_as_much_as_twins_are_off():
    found = known()
    assert found.losses == trained(best.STEPS)
    assert found.is_telling
    assert found.tolerances["bfloat16"] > found.tolerances["float16"] == found.tolerances["tf32"]
    for precision in PRECISIONS:
        off = best.off_by(precision)
        for seed in (1, 2):
            trial = Trial(Switches(precision), 1.0, None, trained(best.STEPS, off, seed))
            assert best.wrong(trial, found) == ""


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2, -0.1])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_step_that_trains_otherwise_is_wrong(precision, rate):
    trial = Trial(Switches(precision), 1.0, None, trained(best.STEPS, rate=rate))
    assert "off, where" in best.wrong(trial, known())


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_wrong(loss):
    assert best.wrong(Trial(BFLOAT16, 1.0, None, [4.0, 3.0, loss]), KNOWN) == "its loss is no number"


def test_more_steps_are_taken_where_few_tell_nothing():
    assert not known(wobble=1e4).is_telling
    assert len(known(wobble=1e4).losses) == best.MOST_STEPS
    clock = iter(range(0, 10_000, 20))
    late = known(wobble=1e4, seconds=lambda: float(next(clock)))
    assert len(late.losses) == best.STEPS  # there was no time for more
    said = best.sentences([Trial(FLOAT32, 1.0, None, late.losses)], late)
    assert any("learns too little" in sentence for sentence in said)


def test_twins_of_float32_are_off_by_more_than_float32_can_hold():
    assert all(best.off_by(precision) >= ROUNDOFF[precision] for precision in PRECISIONS)
    assert 1 + best.off_by("float32") > 1 + 2**-20


def test_the_fastest_of_those_that_are_right():
    trials = [
        Trial(FLOAT32, 100.0, 1.0, KNOWN.losses),
        Trial(BFLOAT16, 150.0, 0.5, [4.05, 3.0, 2.05]),
        Trial(Switches("float16"), 300.0, 0.5, [4.0, 4.0, 4.0]),
        Trial(Switches("tf32"), failure="ValueError"),
        Trial(Switches("float16", True), 500.0, failure=best.TOO_SLOW),
    ]
    assert best.fastest(trials, KNOWN).switches == BFLOAT16
    assert best.fastest(trials[:1] + trials[2:], KNOWN).switches == FLOAT32
    noise = Trial(BFLOAT16, 101.0, 1.0, KNOWN.losses)
    assert best.fastest([trials[0], noise], KNOWN).switches == FLOAT32
    table = best.table(trials, KNOWN)
    assert table[1:] == [
        ("float32", "100", "1.00x", "1.0 GB", "", ""),
        ("bfloat16", "150", "1.50x", "0.5 GB", "0.033", ""),
        ("float16", "300", "3.00x", "0.5 GB", "1", "WRONG"),
        ("tf32", "", "", "", "", "FAILED"),
        ("float16, compiled", "500", "5.00x", "", "", "TOO SLOW"),
    ]
    said = best.sentences(trials, KNOWN)
    assert said[0] == "float16 is wrong, not fast: its losses are 1 off, where 0.1 is explained by rounding."
    assert said[1] == "tf32 failed: ValueError."
    assert said[2].startswith("float16, compiled is far too slow: a step takes over 4 times as long")


def test_a_default_that_does_not_work_is_not_compared_with():
    assert best.nothing_to_compare_with(Trial(FLOAT32, 1.0, losses=KNOWN.losses), KNOWN) == ""
    assert best.nothing_to_compare_with(Trial(FLOAT32, failure="out of memory"), None) == "out of memory"
    no_number = KNOWN._replace(losses=[4.0, math.nan, math.nan])
    trial = Trial(FLOAT32, 1.0, losses=no_number.losses)
    assert best.nothing_to_compare_with(trial, no_number) == "its loss is no number"


def test_only_what_is_not_far_behind_is_compiled():
    right, wrong = KNOWN.losses, [4.0, 4.0, 4.0]
    trials = [Trial(FLOAT32, 100.0, None, right), Trial(BFLOAT16, 49.0, None, right)]
    trials += [Trial(Switches("float16"), 50.0, None, right), Trial(Switches("tf32"), 500.0, None, wrong)]
    compiled = [Switches(precision, compile=True) for precision in ("float32", "bfloat16", "float16", "tf32")]
    assert [best.worth_compiling(one, trials, KNOWN) for one in compiled] == [True, False, True, False]
    assert best.worth_compiling(BFLOAT16, trials, KNOWN)


def test_all_combinations_of_what_a_test_offers():
    assert list(combinations(())) == [FLOAT32]
    assert list(combinations(("compile",))) == [FLOAT32, Switches(compile=True)]
    everything = list(combinations(("precision", "compile", "channels_last", "processes")))
    assert len(everything) == len(set(everything)) == 16
    assert everything[0] == FLOAT32


def test_the_fastest_combination_is_measured(tmp_path):
    done = run(BEST, "--best", "--runs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": trying ") == 2  # once for each batch size, not for each run
    assert "12 combinations" in done.stdout
    assert "tf32" not in done.stdout
    assert "bfloat16, compiled is wrong, not fast" in " ".join(done.stdout.split())
    assert "float16 is wrong, not fast: its loss is no number" in " ".join(done.stdout.split())
    assert "bfloat16, compiled, channels last failed: out of memory." in done.stdout
    assert "batch size 4 is measured with: bfloat16\n" in done.stdout
    found = [(row["batch_size"], row["status"], row["precision"], row["compiled"]) for row in rows(the_csv(tmp_path))]
    assert found == [(size, "ok", "bfloat16", "False") for size in ("4", "8")] * 2


def test_resume_knows_what_was_compiled(tmp_path):
    assert run(BEST, "--batch_sizes=4", "--compile", "--channels_last", cwd=tmp_path).returncode == 1  # out of memory
    for arguments in ((), ("--compile",), ("--compile",)):
        assert run(BEST, "--batch_sizes=4", "--resume", *arguments, cwd=tmp_path).returncode == 0
    found = [(row["status"], row["compiled"]) for row in rows(the_csv(tmp_path))]
    assert found == [("out_of_memory", "True"), ("ok", "False"), ("ok", "True")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--best", "--compile"), "--best: it tries --compile itself; leave one of the two out"),
        (("--best", "--precision=tf32"), "--best: it tries --precision itself; leave one of the two out"),
        (("--best", "--resume"), "--best: it chooses anew each time"),
        (("--precision=float64",), "'float64' is not one of float32, tf32, bfloat16, float16"),
        (("--precision=tf32",), "--precision=tf32: plain Python has none"),
        (("--processes=2",), "there is no option '--processes'"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_sentence(tmp_path, arguments, said):
    done = run(BEST, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.rglob("*.csv"))
