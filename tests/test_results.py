"""The CSV: names, columns, and that rows are whole whatever happens."""

import contextlib
import csv
import multiprocessing
import os
import re
import threading
import time
from pathlib import Path

import portalocker
import pytest

from speed_test import Experiment, results, resume
from speed_test.machine import file_name, file_safe
from speed_test.results import COLUMNS, Results
from tests.conftest import rows

EXPERIMENT = Experiment("pytorch", "resnet50", "CIFAR100", 32, 50_000, "images", "results_pytorch_cv", 5, (16,))

FIXED = """batch_size, epoch, epoch_seconds, samples_per_second, status, data, estimated,
    measured_seconds, measured_samples, compute_samples_per_second, data_wait_seconds, warmup_seconds,
    peak_memory_gb, train_loss, experiment, framework, framework_version, model, dataset, input_size,
    precision, device, machine, chip, cpu_cores, gpu_cores, memory_gb, os, python_version,
    started_at, run_id, code_version, error""".replace("\n", " ")


def test_columns_others_depend_on():
    assert list(COLUMNS[:33]) == re.split(r",\s+", FIXED)
    assert len(set(COLUMNS)) == len(COLUMNS)


def test_file_name():
    machine = "Apple_M3_Max_36GB_Memory_30_GPU_Cores"
    assert file_name(EXPERIMENT, machine, "real") == f"{machine}_CIFAR100_resnet50_32_pytorch_results.csv"
    assert (
        file_name(EXPERIMENT, machine, "synthetic") == f"{machine}_CIFAR100_resnet50_32_pytorch_synthetic_results.csv"
    )


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ('Foo (R) 3/4: "x"', "Foo_3_4_x"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "Intel_Xeon_CPU_2.20GHz"),
        ("Tesla V100-SXM2-16GB", "Tesla_V100-SXM2-16GB"),
        ("../../etc/passwd", "etc_passwd"),
        ("速い", "unknown"),
        ("", "unknown"),
        ("x" * 300, "x" * 100),
    ],
)
def test_any_chip_makes_a_safe_file_name(name, safe):
    assert file_safe(name) == safe


def test_rows_are_appended_and_read_back(tmp_path):
    path = tmp_path / "below" / "a.csv"
    Results(path).append({"batch_size": 32, "epoch_seconds": 1 / 3, "estimated": False, "error": 'a, "b"'})
    first = path.read_bytes()
    Results(path).append({"batch_size": 64})
    assert path.read_bytes().startswith(first)
    with open(path, newline="") as file:
        assert next(csv.reader(file)) == list(COLUMNS)
    one, two = rows(path)
    assert (one["batch_size"], one["epoch_seconds"], one["estimated"]) == ("32", "0.333333", "False")
    assert one["error"] == 'a, "b"'
    assert one["gpu_cores"] == ""
    assert two["batch_size"] == "64"


def test_a_misspelt_column_is_an_error(tmp_path):
    with pytest.raises(KeyError, match="batchsize"):
        Results(tmp_path / "a.csv").append({"batchsize": 32})


def test_a_file_with_other_columns_is_never_touched(tmp_path):
    old = tmp_path / "a_results.csv"
    old.write_text("batch_size,avg_time_per_epoch\n16,437.6\n")
    beside = Results(old)
    beside.append({"batch_size": 16})
    assert beside.left_alone == [old]
    assert beside.path.name == "a_results_2.csv"
    assert old.read_text() == "batch_size,avg_time_per_epoch\n16,437.6\n"
    again = Results(old)
    again.append({"batch_size": 32})
    assert [row["batch_size"] for row in rows(beside.path)] == ["16", "32"]


def test_a_torn_row_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "a.csv"
    Results(path).append({"batch_size": 16})
    with open(path, "a") as file:
        file.write("32,1,18")
    Results(path).append({"batch_size": 64})
    assert [row["batch_size"] for row in rows(path)] == ["16", "32", "64"]


def test_what_a_full_disk_refuses_is_written_later_and_once(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    ours = Results(path)
    ours.append({"batch_size": 16})
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(results.os, "fsync", full)
        for size in (32, 64):
            with pytest.raises(OSError, match="No space"):
                ours.append({"batch_size": size})
    assert path.read_bytes() == before
    assert ours.unwritten.count("\n") == 2
    ours.append({"batch_size": 128})
    ours.flush()
    assert [row["batch_size"] for row in rows(path)] == ["16", "32", "64", "128"]
    assert ours.unwritten == ""


def write_many(path: Path, writer: int) -> None:
    ours = Results(path)
    for number in range(100):
        with contextlib.suppress(OSError):  # others have kept the file locked: the row waits
            ours.append({"batch_size": writer, "epoch": number, "error": "x" * 500})
    ours.flush(patience=60)


def test_eight_writers_leave_only_whole_rows(tmp_path):
    path = tmp_path / "a.csv"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(path, writer)) for writer in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = rows(path)
    assert len(found) == 800
    assert all(None not in row and None not in row.values() and row["error"] == "x" * 500 for row in found)
    for writer in range(8):
        assert [int(row["epoch"]) for row in found if row["batch_size"] == str(writer)] == list(range(100))


def test_a_torn_answer_does_not_swallow_the_next_row(tmp_path):
    """It ends inside a quoted cell, once in the middle of a line and once with a newline of the answer's own."""
    for answer in (b'16,1,2.0,"So, it', b'16,1,2.0,"So,\n'):
        path = tmp_path / "a.csv"
        path.unlink(missing_ok=True)
        Results(path).append({"batch_size": 8, "error": 'a "quoted" word,\nand a second line'})
        with open(path, "ab") as file:
            file.write(answer)
        Results(path).append({"batch_size": 64})
        assert [row["batch_size"] for row in rows(path)] == ["8", "16", "64"]


def test_other_columns_in_mid_run_are_left_alone(tmp_path):
    path = tmp_path / "a_results.csv"
    ours = Results(path)
    ours.append({"batch_size": 16})
    foreign = "batch_size,avg_time_per_epoch\n16,437.6\n"
    path.write_text(foreign)
    ours.append({"batch_size": 32})
    beside = tmp_path / "a_results_2.csv"
    assert path.read_text() == foreign
    assert (ours.left_alone, ours.path) == ([path], beside)
    assert [row["batch_size"] for row in rows(beside)] == ["32"]
    assert ours.restore() == 1  # the first row was in the file that somebody has replaced
    assert [row["batch_size"] for row in rows(beside)] == ["32", "16"]
    assert ours.written == {beside: 2}
    assert path.read_text() == foreign


def test_what_is_removed_in_mid_run_is_written_again(tmp_path):
    path = tmp_path / "below" / "a.csv"
    ours = Results(path)
    for size in (8, 16, 32):
        ours.append({"batch_size": size})
    path.unlink()
    path.parent.rmdir()
    ours.append({"batch_size": 64})
    assert ours.restore() == 3
    assert ours.restore() == 0
    assert sorted(int(row["batch_size"]) for row in rows(path)) == [8, 16, 32, 64]
    assert ours.written == {path: 4}


def test_a_file_that_is_saved_with_other_ends_of_lines_has_lost_nothing(tmp_path):
    path = tmp_path / "a.csv"
    ours = Results(path)
    ours.append({"batch_size": 8})
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    ours.append({"batch_size": 16})
    assert ours.restore() == 0
    assert [row["batch_size"] for row in rows(path)] == ["8", "16"]


RESUMED = {"experiment": "plain", "status": "ok", "run": "1", "batch_size": "8", "epoch": "1", "estimated": "False"}


def test_resume_passes_over_what_it_cannot_read(tmp_path):
    path = tmp_path / "a.csv"
    ours = Results(path)
    for changes in ({}, {"run": "9" * 5000}, {"batch_size": "9" * 5000}, {"batch_size": "x"}, {"status": "skipped"}):
        ours.append(RESUMED | changes)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "a_2.csv")
    found = resume.done(path, {"experiment": "plain"}, ("batch_size", "epoch"), estimates=False)
    assert found.rows == {1: {("8", "1")}}


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be renamed")
def test_a_file_that_is_replaced_while_it_is_locked(tmp_path):
    """The row goes into the file that has the name now, and not into the one that has lost it."""
    path = tmp_path / "a.csv"
    ours = Results(path)
    ours.append({"batch_size": 8})
    with portalocker.Lock(path, "ab"):
        appending = threading.Thread(target=ours.append, args=({"batch_size": 16},))
        appending.start()
        time.sleep(0.3)
        path.rename(tmp_path / "old.csv")
    appending.join()
    assert [row["batch_size"] for row in rows(path)] == ["16"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_pipe_in_place_of_the_file(tmp_path):
    path = tmp_path / "a.csv"
    ours = Results(path)
    os.mkfifo(path)
    with pytest.raises(OSError):  # noqa: PT011 - the system words it
        ours.append({"batch_size": 8})
    path.unlink()
    ours.flush()
    assert [row["batch_size"] for row in rows(path)] == ["8"]
