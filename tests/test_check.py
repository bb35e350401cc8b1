"""compare_results.py --check: what is fit to be contributed."""

import re
import subprocess
import sys

import pytest

from speed_test.compare import check, read
from speed_test.results import COLUMNS
from tests.conftest import ROOT
from tests.made_csvs import HOME, compare, ours, training_row, write

COMPARE = ROOT / "compare_results.py"


def test_check(tmp_path):
    path = ours(tmp_path)
    done = compare("--check", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Nothing is wrong with the 1 CSV\n", "")

    good = path.read_text()
    broken = {
        "row 1: epoch_seconds is '-3'": good.replace(",1,60.0,", ",1,-3,"),
        "row 2: status is 'fine'": good.replace(",61.0,833.3,ok", ",61.0,833.3,fine"),
        "row 1: machine is Other": good.replace(HOME, "Other", 1),
        "row 1: data is 'made up'": good.replace(",real,", ",made up,", 1),
        "ends in the middle of a row": good[:-1],
        "row 4 has 3 cells": good + "1,2,3\n",
        "does not have the columns of these scripts": good.replace("epoch_seconds", "seconds", 1),
        "row 3: run_id is empty": "0123456789ab".join(good.split("0123456789ab")[:3]) + good.split("0123456789ab")[3],
    }
    for reason, text in broken.items():
        path.write_text(text)
        done = compare("--check", cwd=tmp_path)
        assert done.returncode == 1, reason
        assert f"{path.relative_to(tmp_path)} {reason}" in done.stderr


def test_check_knows_tests_that_are_not_in_this_repository(tmp_path):
    path = tmp_path / "results" / "Mine_results.csv"
    cells = {"experiment": "mine_shapes", "model": "MLP", "dataset": "shapes", "machine": "Mine"}
    write(path, [training_row(**cells), training_row(batch_size=64, **cells)])
    done = compare("--check", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for wrong, reason in (
        ({"better": "faster"}, "row 2: better is 'faster', neither lower nor higher"),
        ({"figure": "laps"}, "row 2: figure is 'laps', which is no column of the file"),
        ({"unit": ""}, "row 2: unit is empty"),
        ({"unit": "minutes"}, "has rows of mine_shapes with different figure, unit or better"),
        ({"experiment": ""}, "row 2: experiment is empty"),
        ({"measurement_version": ""}, "row 2: measurement_version is '', no whole number"),
        ({"batch_size": ""}, "row 2: batch_size is '', no number above 0"),
        (
            {"figure": "data_wait_seconds", "data_wait_seconds": "0"},
            "row 2: data_wait_seconds is '0', no number above 0",
        ),
    ):
        write(path, [training_row(**cells), training_row(**cells | wrong)])
        done = compare("--check", cwd=tmp_path)
        assert done.returncode == 1
        assert f"{path.relative_to(tmp_path)} {reason}\n" in done.stderr


def test_a_column_with_a_long_name_makes_no_long_sentence(tmp_path):
    name = "9" * 5000
    path = write(tmp_path / f"{HOME}_results.csv", [training_row() | {name: name}], [*COLUMNS, name])
    (problem,) = check.problems(path)
    assert len(problem) < 250


def test_check_and_reader_agree(tmp_path):
    """Whatever the reader leaves out, --check names."""
    for column in ("epoch_seconds", "batch_size", "experiment", "figure", "unit", "better", "status"):
        for value in ("", "x", "-1", "0", "inf", "1.5"):
            path = write(tmp_path / f"{HOME}_results.csv", [training_row(), training_row(**{column: value})])
            measurements, notes = read.read(path)
            if notes or len(measurements) < 2:
                assert list(check.problems(path)), (column, value)


def test_rows_of_the_older_schema_are_fit(tmp_path):
    columns = COLUMNS[:36]
    assert columns[-1] == "power"
    rows = [{column: cell for column, cell in training_row().items() if column in columns}]
    write(tmp_path / "results" / f"{HOME}_results.csv", rows, columns)
    assert compare("--check", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("option", ["--check", "--help"])
def test_check_and_help_do_without_pandas(tmp_path, option):
    ours(tmp_path)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(COMPARE), option], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert not re.search(r"\| +(pandas|numpy|matplotlib|plotly)\b", done.stderr)
