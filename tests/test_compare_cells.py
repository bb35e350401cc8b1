"""What the cells of a stranger's CSV may say of blocks and state: reading it and --check follow the same rules."""

import json

import pytest

from speed_test.compare import check, read
from speed_test.results import GENERATION_COLUMNS
from tests.made_csvs import HOME, cells_of, compare, generation_row, runs, write

WRONG = {
    "block_samples_per_second": ("1 x", "1  2", "nan", "1,2", "0 1", "-1", " 1", "1e400", " ".join(["1"] * 101)),
    "compute_samples_per_second_after": ("0", "x", "-1", "inf", "1_0"),
    "run": ("0", "1.5", "x", "1000001"),
    "low_power_mode": ("yes", "1", "true"),
    "emulated": ("TRUE",),
    "other_load_percent": ("x", "-1", "nan", "1e9", "100001"),
    "swap_growth_gb": ("a lot", "1e300"),
    "cpu_stolen_percent": ("5%",),
    "gpu_temperature_c": ("5000",),
    "energy_joules": ("-5",),
    "suspended_seconds": ("1e12",),
    "compile_seconds": ("-1", "x", "1e300"),
    "matmul_share": ("-0.1", "nan", "1001"),
    "tflops": ("inf", "-5"),
    "gflop_per_sample": ("1,5",),
    "matmul_tflops": ("1e13",),
    "channels_last": ("yes", "1", "true"),
    "num_processes": ("0", "-1", "1e300", "two", "1000000000", "2.0", "9" * 100),
    "num_nodes": ("0", "two", "2"),
    "global_batch_size": ("0", "64.0", "1e9", "9" * 100),
}


@pytest.mark.parametrize(("column", "text"), [(column, text) for column, texts in WRONG.items() for text in texts])
def test_a_wrong_cell_costs_its_row_a_note_and_check_says_it(tmp_path, column, text):
    path = write(tmp_path / f"{HOME}_results.csv", [*runs([100], epochs=1), *runs([100], epochs=1, **{column: text})])
    measurements, notes = read.read(path)
    assert (len(measurements), len(notes)) == (1, 1)
    assert notes[0].startswith(f"line 3: {column} ")
    assert notes[0].replace("line 3", "row 2") in list(check.problems(path))


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("block_samples_per_second", "0.001 1e-05 12345678901.5"),
        ("block_samples_per_second", " ".join(["118.25"] * 100)),
        ("other_load_percent", "0"),
        ("swap_growth_gb", "0.0"),
        ("energy_joules", "1e-05"),
        ("suspended_seconds", "0.0"),
        ("low_power_mode", "False"),
        ("compile_seconds", "41.5"),
        ("matmul_share", "1.2"),
        ("channels_last", "True"),
        ("num_processes", "8"),
        ("global_batch_size", "32"),
        ("thermal_level", "heavy"),
        ("throttle_reasons", "sw_power_cap, unknown bit 0x400"),
    ],
)
def test_what_scripts_write_is_fit(tmp_path, column, text):
    path = write(tmp_path / f"{HOME}_results.csv", runs([100], **{column: text}))
    measurements, notes = read.read(path)
    assert (len(measurements), notes, list(check.problems(path))) == (2, [], [])


@pytest.mark.parametrize("column", ["memory_gb_per_second", "memory_share"])
@pytest.mark.parametrize("text", ["-1", "nan", "x", "1e300"])
def test_a_wrong_bandwidth_costs_its_row(tmp_path, column, text):
    path = write(tmp_path / "x.csv", [generation_row(), generation_row(**{column: text})], GENERATION_COLUMNS)
    measurements, notes = read.read(path)
    assert (len(measurements), len(notes)) == (1, 1)
    assert notes[0].split(": ")[1].startswith(f"{column} is ")


def test_the_global_batch_size_is_that_of_all_processes(tmp_path):
    rows = runs([100], epochs=1, num_processes=2, global_batch_size=64)
    rows += runs([100], epochs=1, num_processes=2, global_batch_size=32) + runs([100], epochs=1, global_batch_size=32)
    rows += runs([100], epochs=1, num_processes=2, num_nodes=3)
    path = write(tmp_path / f"{HOME}_results.csv", rows)
    wrong = ["global_batch_size is '32', not batch_size times num_processes"]
    wrong += ["num_nodes is '3', more than the processes"]
    assert read.read(path)[1] == [f"line {line}: {what}" for line, what in zip((3, 5), wrong, strict=True)]
    assert list(check.problems(path)) == [f"row {row}: {what}" for row, what in zip((2, 4), wrong, strict=True)]


def test_a_million_processes_neither_crash_nor_bloat_the_outputs(tmp_path):
    rows = runs([100], epochs=1) + runs([1e9], epochs=1, num_processes=1_000_000, num_nodes=1_000_000)
    write(tmp_path / "results" / "x.csv", rows)
    done = compare("--html=page.html", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "(1,000,000 processes on 1,000,000" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("column", ["power", "thermal_level", "memory_pressure"])
def test_a_word_of_a_newer_version_is_unknown_and_check_says_it(tmp_path, column):
    path = write(tmp_path / f"{HOME}_results.csv", runs([100], **{column: "<b>new</b>"}))
    cells, notes = cells_of(path)
    assert (list(cells["count"]), notes) == ([2], [])
    assert cells["grade"].iloc[0] == cells_of(write(tmp_path / "y.csv", runs([100])))[0]["grade"].iloc[0]
    assert f"row 1: {column} is '<b>new</b>', none of " in next(check.problems(path))


def test_a_process_that_is_called_as_nobody_should_be(tmp_path):
    name = "\x1b[31m\n<script>|=cmd" + "x" * 300
    rows = runs([100], device="cpu", other_load_percent=200, busiest_other_process=name)
    cells, _ = cells_of(write(tmp_path / "results" / "x.csv", rows))
    assert cells["grade"].iloc[0] == "C"
    assert cells["grade_reason"].iloc[0].isprintable()
    assert len(cells["grade_reason"].iloc[0]) < 400
    markdown = compare("--format=markdown", cwd=tmp_path).stdout
    assert "\x1b" not in markdown
    assert r"(most: \[31m \<script\>\|=cmd" in markdown


@pytest.mark.parametrize("tokens", ["five hundred", "inf", "1e999", "", "-5"])
def test_tokens_of_answers_that_are_no_number_give_no_energy_per_token(tmp_path, tokens):
    answers = generation_row(answer_token_len=tokens, energy_joules=12, power="mains")
    write(tmp_path / "answers.csv", [answers], GENERATION_COLUMNS)
    done = compare("answers.csv", "--format=json", "--html=page.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (record,) = [one for one in json.loads(done.stdout) if "Apple M4" in one["label"] and one["experiment"] == "llama2"]
    assert record["per_joule"] is None
