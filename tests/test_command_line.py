"""The command line: every bad input is one sentence that names it, exit status 2, and nothing started."""

import subprocess
import sys

import pytest

import pytorch_test_computer_vision_cifar100 as script
from speed_test.command_line import parse
from tests.conftest import CIFAR100, environment, run


def options(*arguments):
    return parse(script.EXPERIMENT, script.__doc__, list(arguments))


def test_defaults(scratch):
    found = options()
    assert (found.epochs, found.batch_sizes) == (5, (16, 32, 64, 128, 256, 512, 1024))
    assert (found.data, str(found.data_dir), str(found.results_dir)) == ("auto", "data", "results")
    assert (found.max_steps, found.time_limit, found.device) == (None, None, "auto")
    assert list(scratch.iterdir()) == []


def test_both_ways_to_write_an_option(scratch):
    equals = options("--epochs=1", "--batch_sizes=32, 64", "--time_limit=2.5", "--max_steps=3", "--device=cpu")
    assert equals == options(
        *["--epochs", "1", "--batch_sizes", "32,64", "--time_limit", "2.5", "--max_steps", "3", "--device", "cpu"]
    )
    assert equals.batch_sizes == (32, 64)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--batch_sizes=abc"], ["--batch_sizes", "'abc'"]),
        (["--batch_sizes="], ["--batch_sizes", "names no batch size"]),
        (["--batch_sizes", ""], ["--batch_sizes", "names no batch size"]),
        (["--batch_sizes=0"], ["--batch_sizes", "'0'", "from 1 up"]),
        (["--batch_sizes=-4"], ["--batch_sizes", "'-4'"]),
        (["--batch_sizes", "-4"], ["--batch_sizes", "'-4'"]),
        (["--batch_sizes=32,,64"], ["--batch_sizes", "''"]),
        (["--batch_sizes=1.5"], ["--batch_sizes", "'1.5'"]),
        (["--batch_sizes=50001"], ["--batch_sizes", "50001", "50,000"]),
        (["--batch_sizes=1"], ["--batch_sizes", "1 is too small", "2"]),
        (["--batch_sizes=49999"], ["--batch_sizes", "49999", "last batch of 1", "2"]),
        (["--batch_sizes=32,64,32"], ["--batch_sizes", "32", "twice"]),
        (["--data_dir=--"], ["--data_dir", "'--'", "--option=value"]),
        (["--epochs=--"], ["--epochs", "'--'"]),
        (["--stall_timeout=0"], ["--stall_timeout", "'0'", "above 0"]),
        (["--batch_sizes"], ["--batch_sizes", "expected one argument"]),
        (["--epochs=0"], ["--epochs", "'0'", "from 1 to 1,000,000"]),
        (["--epochs=x"], ["--epochs", "'x'"]),
        (["--max_steps=0"], ["--max_steps", "'0'"]),
        (["--time_limit=-1"], ["--time_limit", "'-1'", "above 0"]),
        (["--time_limit=nan"], ["--time_limit", "'nan'"]),
        (["--device=gpu"], ["--device", "'gpu'", "mps, cuda, cpu"]),
        (["--data=fake"], ["--data", "'fake'", "synthetic"]),
        (["--results_dir=file"], ["--results_dir", "file"]),
        (["--results_dir=file/below"], ["--results_dir", "file"]),
        (["--data_dir=file"], ["--data_dir", "file"]),
        (["--data_dir=file/below"], ["--data_dir", "file"]),
        (["--data_dir=" + "x" * 5000], ["--data_dir", "xxx...'"]),
        (["--results_dir=" + "x" * 5000], ["--results_dir", "xxx...'"]),
        (["--epochs=" + "x" * 5000], ["--epochs", "xxx...'"]),
        (["--batchsizes=32"], ["--batchsizes", "did you mean --batch_sizes?"]),
        (["--epoch=1"], ["'--epoch';", "did you mean --epochs?"]),
        (["--colour=red"], ["--colour", "--help"]),
        (["32"], ["'32'", "--option=value"]),
    ],
)
def test_bad_input(scratch, capsys, arguments, says):
    (scratch / "file").write_text("")
    with pytest.raises(SystemExit) as end:
        options(*arguments)
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert all(word in err for word in says), err
    assert [path.name for path in scratch.iterdir()] == ["file"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc takes no folders, not even root's")
def test_results_that_cannot_be_written(scratch, capsys):
    with pytest.raises(SystemExit) as end:
        options("--results_dir=/proc/results")
    assert end.value.code == 2
    assert "--results_dir" in capsys.readouterr().err


@pytest.mark.frameworks
@pytest.mark.parametrize("device", ["mps", "cuda"])
def test_a_device_that_is_not_there(scratch, device):
    import torch

    if {"mps": torch.backends.mps, "cuda": torch.cuda}[device].is_available():
        pytest.skip("it is there")
    done = run(CIFAR100, f"--device={device}", cwd=scratch)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"--device={device}" in done.stderr
    assert list(scratch.iterdir()) == []


def test_help_imports_no_framework(tmp_path):
    command = [sys.executable, "-X", "importtime", str(CIFAR100), "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "argparse" in imported
    assert not imported & {"torch", "torchvision", "numpy", "psutil", "tqdm", "portalocker", "cpuinfo"}
    for flag in ("epochs", "batch_sizes", "data", "data_dir", "max_steps", "time_limit", "results_dir", "device"):
        assert f"--{flag} " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
