"""The sentences at the end of a run: each where its columns say so, and none where they do not."""

import random

import pytest

from speed_test.advice import half_width, sentences, shown
from speed_test.results import Results
from speed_test.rows import Rows
from tests.made_rows import as_text, row, three_runs
from tests.made_series import noise

OPTIONS = {"runs": 3, "until": 0.02, "time_limit": None, "max_steps": None, "epochs": 5}


def said(rows, earlier=(), **options):
    """The sentences, which are the same for text as for typed values."""
    found = sentences(rows, earlier, {**OPTIONS, **options})
    assert sentences([as_text(row) for row in rows], earlier, {**OPTIONS, **options}) == found
    return found


def test_a_calm_run_needs_no_words():
    assert said(three_runs()) == []
    assert said([]) == []
    assert said([row(status="failed")]) == []


def test_the_line_of_a_batch_size():
    width, letter, reason = shown([row(virtual="kvm")])
    assert (width[0], width[-1], letter) == ("±", "%", "B")
    assert reason.startswith("one run")
    assert shown([row(status="failed"), row(virtual="kvm")]) == (width, letter, reason)
    assert shown([]) == shown([row(status="failed")]) == ("", "", "")
    assert shown([row([100.0])]) == ("", "D", "1 block: too few to tell")
    assert [half_width(width) for width in (None, 0, 0.0041, 0.123)] == ["", "±0.0%", "±0.4%", "±12%"]


# ---- What took the rest of the compute limit ----


def test_waiting_for_data():
    slow = three_runs(data_wait_seconds=7.2, compute_samples_per_second=115.0)
    assert said(slow) == ["Waiting for data took 12% of the time at batch size 32."]
    two = [*slow, *three_runs(batch_size=64, data_wait_seconds=9.0, compute_samples_per_second=120.0)]
    assert "Waiting for data took 12% of the time at batch size 32 and 15% of the time at batch size 64." in said(two)
    assert said(three_runs(data_wait_seconds=1.7, compute_samples_per_second=115.0)) == []
    # The device was busy in the meantime.
    assert said(three_runs(data_wait_seconds=7.2, compute_samples_per_second=101.0)) == []
    assert said(three_runs(data_wait_seconds=None, compute_samples_per_second=115.0)) == []


def test_small_batches():
    def rows(limits):
        return [
            one
            for size, limit in limits.items()
            for one in three_runs(batch_size=size, compute_samples_per_second=limit, epoch_seconds=5e4 / limit)
        ]

    words = "Small batches: even the compute limit of 16 and 32 is 50% and 30% below that of 128."
    assert words in said(rows({16: 500.0, 32: 700.0, 64: 900.0, 128: 1000.0}))
    assert not any("Small" in one for one in said(rows({16: 900.0, 32: 950.0, 64: 1000.0})))
    assert not any("Small" in one for one in said(rows({64: 1000.0, 128: 100.0})))
    assert not any("Small" in one for one in said(rows({64: 1000.0})))


def test_heat_and_neighbours():
    columns = {"compute_samples_per_second": 120.0}
    assert said(three_runs(**columns)) == []
    hot = said(three_runs(**columns, throttle_reasons="SwThermal"))
    assert hot == ["Below the compute limit at batch size 32: held back by heat (SwThermal)."]
    level = said(three_runs(**columns, thermal_level="heavy"))
    assert level == ["Below the compute limit at batch size 32: thermal level heavy."]
    assert said(three_runs(thermal_level="heavy")) == ["Noted at batch size 32: thermal level heavy."]
    load = said(three_runs(**columns, other_load_percent=95.0, busiest_other_process="python3"))
    assert load == [
        "Below the compute limit at batch size 32: other programs used 95% of a core for a time (most: python3)."
    ]
    steal = said(three_runs(**columns, cpu_stolen_percent=7.0))
    assert steal == [
        "Below the compute limit at batch size 32: the host gave 7% of the CPU time to other machines for a time."
    ]
    assert said(three_runs(other_load_percent=95.0)) == []


# ---- How near the limit, and compiling ----


def test_how_near_the_fastest_batch_size_comes_to_the_ceiling():
    columns = {"tflops": 0.0803, "matmul_tflops": 0.11, "matmul_share": 0.73}
    assert said(three_runs(**columns)) == ["0.08 of 0.11 TFLOPS: 73% of what a large matrix product reaches."]
    slow = three_runs(batch_size=64, epoch_seconds=900.0, matmul_share=0.4, matmul_tflops=0.1)
    words = "At batch size 32, 0.08 of 0.11 TFLOPS: 73% of what a large matrix product reaches."
    assert said([*slow, *three_runs(**columns)])[0] == words
    # Nothing is said of a ceiling that was not measured, nor of another batch size's.
    assert said(three_runs(tflops=0.08, matmul_tflops=None, matmul_share=None)) == []
    assert not any("TFLOPS" in one for one in said([*slow, *three_runs()]))


def test_how_near_answers_come_to_the_memorys_bandwidth():
    columns = {"figure": "tokens_per_second", "better": "higher", "batch_size": None, "tokens_per_second": 9.0}
    rows = three_runs(**columns, memory_gb_per_second=12.04, memory_share=0.34)
    assert said(rows) == ["Reads weights at 4.1 of 12.0 GB/s: 34% of the memory's bandwidth."]
    assert said(three_runs(**columns, memory_gb_per_second=12.04, memory_share=None)) == []


def test_compiling():
    words = "Compiling took 41 s before the first epoch, which no figure contains."
    assert said(three_runs(compile_seconds=41.2, compiled=True)) == [words]
    two = [*three_runs(compile_seconds=20.0), *three_runs(compile_seconds=41.2, batch_size=64)]
    assert "Compiling took up to 41 s before the first epoch of a batch size, which no figure contains." in said(two)
    assert said(three_runs(compile_seconds=0.2)) == said(three_runs(compile_seconds=None)) == []


# ---- Batch sizes, memory, notes ----


def test_from_which_batch_size_on_more_gains_nothing():
    def gain(rates):
        rows = [one for size, rate in rates.items() for one in three_runs(batch_size=size, epoch_seconds=5e4 / rate)]
        return [one for one in said(rows) if one.startswith("Larger")]

    assert gain({16: 100, 32: 150, 64: 200, 128: 205}) == ["Larger batches than 64 gain less than 3%."]
    assert gain({16: 100, 32: 150, 64: 200, 128: 203, 256: 206.5}) == ["Larger batches than 128 gain less than 3%."]
    assert gain({16: 100, 32: 150, 64: 200}) == []
    assert gain({16: 200, 32: 150}) == ["Larger batches than 16 gain less than 3%."]
    assert gain({16: 100}) == []


def test_the_largest_size_that_ran_cleanly():
    rows = [one for size in (32, 64, 128) for one in three_runs(batch_size=size, peak_memory_gb=1 + size / 32)]
    failed = {
        **row(batch_size=256),
        "status": "out_of_memory",
        "block_samples_per_second": None,
        "peak_memory_gb": None,
    }
    skipped = {**failed, "batch_size": 512, "status": "skipped"}
    words = "The largest batch size that ran cleanly is 128; 256 would need about 9.0 GB (an estimate)."
    assert words in said([*rows, failed, skipped])
    swapped = three_runs(batch_size=256, swap_growth_gb=2.0, peak_memory_gb=8.0)
    assert words in said([*rows, *swapped])
    assert not any("cleanly" in one for one in said(rows))
    # No line through one point, and none downwards.
    assert "The largest batch size that ran cleanly is 32." in said([*rows[:3], failed])
    shrinking = [one for size in (32, 64) for one in three_runs(batch_size=size, peak_memory_gb=100 / size)]
    assert "The largest batch size that ran cleanly is 64." in said([*shrinking, failed])


def test_notes():
    assert said(three_runs(throttle_reasons="power cap, bit 0x1000")) == [
        "Noted at batch size 32: held back (power cap).",
        "Noted at batch size 32: held back (bit 0x1000).",
    ]


# ---- History ----


def past(**columns):
    """An earlier run, 8% faster than those of today."""
    return as_text(row(run_id="then", started_at="2026-10-02T12:00:00+00:00", epoch_seconds=460.0, **columns))


NOW = {"epoch_seconds": 500.0}


def test_slower_than_ever():
    assert said(three_runs(**NOW), [past()]) == [
        "At batch size 32: 8% slower than this machine's own best, of 2026-10-02."
    ]
    on_battery = said(three_runs(**NOW, power="battery"), [past()])
    assert on_battery == [
        "At batch size 32: 8% slower than this machine's own best, of 2026-10-02: on battery this time."
    ]
    both = three_runs(**NOW, power="battery", framework_version="2.16")
    assert said(both, [past(power="battery")])[0].endswith("of 2026-10-02: pytorch 2.16 in place of 2.15.")
    assert said(both, [past()])[0].endswith("of 2026-10-02: on battery this time and pytorch 2.16 in place of 2.15.")


def test_rows_from_before_a_column_are_the_past_of_usual_ones():
    usual = {"precision": "float32", "channels_last": False, "num_processes": 1, "num_nodes": 1}
    assert len(said(three_runs(**NOW, **usual), [past()])) == 1
    for column, unusual in (("precision", "bfloat16"), ("channels_last", True), ("num_processes", 2)):
        assert said(three_runs(**NOW, **usual | {column: unusual}), [past()]) == []


def test_the_past_is_also_in_a_file_that_was_left_alone_because_it_lacks_columns(tmp_path):
    path = tmp_path / "x_results.csv"
    path.write_text("batch_size,status,run_id\n32,ok,then\n")
    results = Results(path)
    results.append({"batch_size": 32, "status": "ok", "run_id": "now"})
    assert [file.name for file in results.written] == ["x_results_2.csv"]
    rows = Rows(None, None, results, {}, None, None)
    assert [row["run_id"] for row in rows._earlier()] == ["then", "now"]


def test_the_best_of_the_past_counts():
    slow = as_text(row(run_id="slow", started_at="2026-10-03", epoch_seconds=490.0))
    fast = as_text(row(run_id="fast", started_at="2026-10-01", epoch_seconds=400.0))
    assert "20% slower than this machine's own best, of 2026-10-01" in said(three_runs(**NOW), [slow, fast, past()])[0]
    sizes = [*three_runs(**NOW), *three_runs(**NOW, batch_size=64)]
    earlier = [past(), {**fast, "batch_size": "64"}]
    words = "At batch sizes 32 and 64: up to 20% slower than this machine's own best, of 2026-10-01."
    assert words in said(sizes, earlier)


@pytest.mark.parametrize(
    "columns",
    [
        {"epoch_seconds": "476"},
        {"data": "synthetic"},
        {"estimated": "True"},
        {"precision": "float16"},
        {"channels_last": "True"},
        {"num_processes": "2"},
        {"num_nodes": "2"},
        {"device": "mps"},
        {"batch_size": "64"},
        {"measurement_version": "2"},
        {"cpu_model": "another"},
        {"virtual": "kvm"},
        {"status": "failed"},
        {"run_id": "run 1"},
        {"epoch_seconds": ""},
    ],
    ids=str,
)
def test_another_past_does_not_count(columns):
    assert said(three_runs(**NOW), [{**past(), **columns}]) == []


def test_higher_may_be_better():
    columns = {"figure": "tokens_per_second", "better": "higher", "batch_size": None, "samples_per_second": None}
    now = three_runs(**columns, tokens_per_second=90.0)
    then = as_text(row(run_id="then", started_at="2026-10-02T12:00", **columns, tokens_per_second=100.0))
    assert said(now, [then]) == ["10% slower than this machine's own best, of 2026-10-02."]
    assert said(now, [{**then, "tokens_per_second": "80"}]) == []


# ---- What would make it surer ----

FEW = [row([100.0, 101.0, 99.0, 100.0])]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (
            {"until": None, "epochs": 3},
            "4 blocks are too few to tell: --until=2% --epochs=50 goes on until there are enough.",
        ),
        ({"time_limit": 5}, "4 blocks are too few to tell: --time_limit=60 gives more."),
        ({"budget": 60, "until": 0.01, "epochs": 5}, "4 blocks are too few to tell: a longer --budget gives more."),
        (
            {"budget": 60, "until": 0.01, "epochs": 1, "runs": 1},
            "4 blocks are too few to tell: --epochs=10 gives more.",
        ),
        ({"max_steps": 5}, "4 blocks are too few to tell: measure without --max_steps."),
        (
            {"time_limit": 60, "until": None, "epochs": 3},
            "4 blocks are too few to tell: --until=2% --epochs=50 goes on until there are enough.",
        ),
        ({}, "4 blocks are too few to tell: --epochs=10 gives more."),
        ({"epochs": 10}, None),
    ],
)
def test_more_blocks(options, hint):
    assert said(FEW, **options) == ([hint] if hint else [])


def test_options_that_there_are_not_are_not_proposed():
    assert sentences(FEW, [], {}) == []


def test_more_runs():
    one, two = "One run: --runs=3 would tell more.", "2 runs: --runs=3 would tell more."
    assert said([row()], runs=1) == [one]
    assert said(three_runs()[:2], runs=2) == [two]
    assert said([row()], runs=3) == []
    assert sentences([row()], [], {"epochs": 5}) == []
    assert said(three_runs(), runs=1) == []  # an A needs nothing
    assert one not in said(FEW, runs=1)


def test_until():
    loud = [row(noise(random.Random(1), 60, 0, 0.2))]
    assert said(loud, until=None, runs=1, epochs=3) == [
        "--until=2% --epochs=50 goes on until the figure is as sure as that.",
        "One run: --runs=3 would tell more.",
    ]
    # A test without epochs ends at its last question in any case.
    assert sentences(loud, [], {"until": None, "runs": 1}) == ["One run: --runs=3 would tell more."]
    assert said(loud) == []
    assert said(three_runs(), until=None) == []


def test_any_cells_are_taken():
    """Rows of strangers, as far as the checks of a CSV let them through, and empty ones."""
    generator = random.Random(1)
    cells = ["", None, "0", 0, "nan", "inf", "x", True, "-1", -1.5, "1e9", 1e-9, "3", "heavy", "a, b", "battery"]
    blocks = ["", "1", "1 1", "1e9 1e-9 " * 30, "5 " * 60, "x 1", "0 0", "100 101 99 " * 20]
    for _ in range(300):
        some = [
            {column: generator.choice(blocks if "block" in column else cells) for column in row()} | {"status": "ok"}
            for _ in range(generator.choice([1, 2, 7]))
        ]
        assert shown(some)[1] in ("", "A", "B", "C", "D")
        options = {option: generator.choice([None, 1, 0.5]) for option in OPTIONS}
        assert all(one.endswith(".") for one in sentences(some, some[:1], options))
