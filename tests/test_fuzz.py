"""Command lines and CSVs that nobody has thought of: no traceback, one sentence. benchmarks/fuzz.py tries many more."""

import contextlib
import csv
import io
import json
import sys
import tempfile
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import compare_results
import llama2_test
import pytorch_test_computer_vision_cifar100 as cifar100
from speed_test import command_line
from speed_test.compare import speeds, table, text
from speed_test.compare.read import frame, published
from speed_test.results import COLUMNS, GENERATION_COLUMNS
from tests import nasty_csvs
from tests.conftest import ROOT
from tests.made_csvs import generation_row, training_row

CASES = 500
TOGETHER = 50  # CSVs in a comparison
FEW = settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,  # the same cases every time: a test that fails now and then helps nobody
    database=None,
    suppress_health_check=list(HealthCheck),
)

# ---- Command lines ----

FLAGS = (
    "--epochs",
    "--batch_sizes",
    "--max_steps",
    "--time_limit",
    "--data",
    "--data_dir",
    "--results_dir",
    "--device",
)
FLAGS += ("--resume", "--stall_timeout", "--path_to_gguf_model", "--num_questions", "--num_times_per_question")
FLAGS += (
    "--max_tokens",
    "--stream_output",
    "--baseline",
    "--format",
    "--charts",
    "--html",
    "--check",
    "--unknown",
    "-x",
)
VALUES = (
    "",
    "--",
    "1",
    "0",
    "-1",
    "32, 64",
    "1,,2",
    "1e999",
    "nan",
    "inf",
    "1_0",
    "\u0661",
    "auto",
    "cpu",
    "all",
    "text",
)
VALUES += (
    "/dev/null",
    "/dev/null/x",
    "results",
    "x" * 300,
    "9" * 5000,
    "a\nb",
    "\x1b[31m",
    "=",
    "%s",
    "%(prog)s",
    "{}",
)
# What an operating system can hand over: no NUL, and bytes that are no UTF-8 as lone surrogates.
LETTERS = st.characters(exclude_characters="\0", exclude_categories=("Cs",)) | st.sampled_from("\udc80\udcff")
VALUE = st.sampled_from(VALUES) | st.text(LETTERS, max_size=20)
ARGUMENT = VALUE | st.sampled_from(FLAGS) | st.builds("{}={}".format, st.sampled_from(FLAGS), VALUE)
ARGUMENTS = st.lists(ARGUMENT, max_size=5)


def parse_speed_test(script, arguments):
    add = getattr(script, "add_options", None)
    return command_line.parse(script.EXPERIMENT, script.__doc__, arguments, add)


def parse_compare(arguments):
    with mock.patch.object(sys, "argv", ["compare_results.py", *arguments]):
        return compare_results.parse()


PARSERS = {
    "cifar100": lambda arguments: parse_speed_test(cifar100, arguments),
    "llama2": lambda arguments: parse_speed_test(llama2_test, arguments),
    "compare_results": parse_compare,
}


def try_arguments(parse, arguments):
    """Parse, and require options or one sentence and exit status 2."""
    streams = io.StringIO(), io.StringIO()
    try:
        # No folder is made by trying whether it could be written.
        with (
            contextlib.redirect_stdout(streams[0]),
            contextlib.redirect_stderr(streams[1]),
            mock.patch.object(command_line, "check_writable", return_value=None),
        ):
            assert isinstance(parse(arguments), command_line.Options)
        return
    except SystemExit as end:
        status = end.code
    said = streams[1].getvalue()
    assert status == 2 or "--help" in arguments or "-h" in arguments
    assert (status, said) == (0, "") or (status == 2 and said.count("\n") == 1 and said.endswith("\n")), (status, said)


@pytest.mark.parametrize("name", PARSERS)
@FEW
@given(arguments=ARGUMENTS)
def test_any_command_line_gives_options_or_one_sentence(name, arguments):
    try_arguments(PARSERS[name], arguments)


# ---- CSVs ----

CELL = st.sampled_from((*nasty_csvs.TEXTS, *nasty_csvs.NUMBERS)) | st.text(max_size=12)
NAMES = (
    "AMD_EPYC_CIFAR100_resnet50_32_pytorch_results.csv",
    "Apple_M3_IMDB_distilbert-base-uncased_512_pytorch_synthetic_results.csv",
    "Apple_M3_llama-2-7b-chat.Q4_0.gguf_results.csv",
    "x.csv",
)


@cache
def real_files():
    """The CSVs of results/, and rows as the scripts write them now, as lists of cells."""
    found = []
    for path in sorted((ROOT / "results").rglob("*.csv")):
        with open(path, encoding="utf-8", newline="") as file:
            found.append([[cell[:40] for cell in row] for row in list(csv.reader(file))[:6]])
    for columns, row in ((COLUMNS, training_row()), (GENERATION_COLUMNS, generation_row())):
        found.append([list(columns), *([str(row[name]) for name in columns] for _ in range(3))])
    return found


@st.composite
def mutated_files(draw):
    """A real file with cells, rows, columns or bytes of it changed."""
    rows = [list(row) for row in draw(st.sampled_from(real_files()))]
    for _ in range(draw(st.integers(0, 4))):
        row = draw(st.sampled_from(rows)) if draw(st.booleans()) else rows[-1]
        what = draw(st.sampled_from(["cell", "cell", "cell", "cell", "drop", "add", "copy", "column"]))
        place = draw(st.integers(0, max(0, len(row) - 1)))
        if what == "cell" and row:
            row[place] = draw(CELL)
        elif what == "drop" and row:
            del row[place]
        elif what == "add":
            row.insert(place, draw(CELL))
        elif what == "copy":
            rows.append(list(row))
        elif what == "column":
            for one in rows:
                del one[place : place + 1]
    text = io.StringIO()
    csv.writer(text, lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"]))).writerows(rows)
    content = bytearray(text.getvalue().encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(content)))
        content[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(content)


CONTENTS = st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))


FOLDER = tempfile.TemporaryDirectory(prefix="speed_test_fuzz_")  # removed with the process


def try_content(name, content):
    """Read a CSV and check it; return its measurements."""
    path = Path(FOLDER.name, name)
    path.write_bytes(content)
    return nasty_csvs.look_at(path)[0]


def try_comparison(files):
    """Make all tables and records of some CSVs, beside a few published figures."""
    measured = [one for one in published() if one[0][0] == "pytorch_imdb"][:4]
    for name, content in files:
        measured += try_content(name, content)
    compared = speeds.compare(table.cells(frame(measured)), None, [])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        text.print_text(compared)
        text.print_markdown(compared)
    assert not {letter for letter in printed.getvalue() if not letter.isprintable()} - {"\n"}
    assert json.loads(json.dumps(speeds.records(compared), allow_nan=False))


@FEW
@given(name=st.sampled_from(NAMES), content=CONTENTS)
def test_any_bytes_are_read_or_named(name, content):
    try_content(name, content)


@FEW
@given(name=st.sampled_from(NAMES), content=mutated_files())
def test_any_changed_file_is_read_or_named(name, content):
    try_content(name, content)


@settings(FEW, max_examples=CASES // TOGETHER)
@given(files=st.lists(st.tuples(st.sampled_from(NAMES), mutated_files()), min_size=TOGETHER, max_size=TOGETHER))
def test_any_changed_files_can_be_compared(files):
    try_comparison(files)
