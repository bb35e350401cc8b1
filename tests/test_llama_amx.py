"""llama.cpp's code for AMX: where it crashes it is found out beforehand, and not used."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from speed_test.command_line import Options
from speed_test.frameworks import llamacpp
from speed_test.frameworks import llamacpp_amx as amx
from tests.made_gguf import make_model

llama_cpp = pytest.importorskip("llama_cpp")

FLAGS = Path("/proc/cpuinfo")
ON_CPU = Options(device="cpu")

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody has seen it"),
]


@pytest.fixture(autouse=True)
def not_tried_yet():
    amx.crashes.cache_clear()
    yield
    amx.crashes.cache_clear()


@pytest.fixture
def has_amx(monkeypatch):
    """As llama.cpp says it of a build for such a processor."""
    monkeypatch.setattr(llama_cpp, "llama_print_system_info", lambda: b"CPU : AVX512 = 1 | AMX_INT8 = 1 | ")


def work(pipe, path):
    assert path.stat().st_size > 1000
    pipe.send(True)


def crash(pipe, path):
    os.abort()


def fail(pipe, path):
    raise ImportError("of another version")


def test_a_build_without_amx_is_not_tried(monkeypatch):
    monkeypatch.setattr(llama_cpp, "llama_print_system_info", lambda: b"CPU : AVX512 = 1 | ")
    monkeypatch.setattr(amx, "_try", crash)
    assert not amx.crashes()
    assert llamacpp.check_switches(ON_CPU) == []
    assert llamacpp.describe_device("cpu").framework_version == llama_cpp.__version__


def test_a_build_that_works_is_left_alone(monkeypatch, has_amx):
    monkeypatch.setattr(amx, "_try", work)
    assert not amx.crashes()


def test_a_trial_that_fails_in_another_way_says_nothing_of_amx(monkeypatch, has_amx):
    monkeypatch.setattr(amx, "_try", fail)
    assert not amx.crashes()


def test_a_build_that_crashes_is_told_of(monkeypatch, has_amx):
    monkeypatch.setattr(amx, "_try", crash)
    assert amx.crashes()
    assert llamacpp.check_switches(ON_CPU) == [amx.WITHOUT]
    assert llamacpp.describe_device("cpu").framework_version == f"{llama_cpp.__version__} no AMX"


TRY = """
import sys
from pathlib import Path
from speed_test.frameworks import llamacpp_amx as amx
class Pipe:
    send = print
with amx.refused():
    amx._try(Pipe, Path(sys.argv[1]))
"""


def test_the_small_model_is_one_that_llama_cpp_runs(tmp_path):
    amx._make_model(tmp_path / "small.gguf")
    done = subprocess.run([sys.executable, "-c", TRY, tmp_path / "small.gguf"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


LOAD = """
import contextlib, sys
from pathlib import Path
from speed_test.frameworks import llamacpp
llamacpp.amx.crashes = lambda: sys.argv[2] == "crashes"
@contextlib.contextmanager
def refused():
    print("refused")
    yield
    print("loaded")
llamacpp.amx.refused = refused
llamacpp.Model(Path(sys.argv[1]), gpu_layers=0, only_inspect=sys.argv[2] == "look")
"""


@pytest.mark.parametrize(("how", "said"), [("crashes", "refused\nloaded\n"), ("works", ""), ("look", "")])
def test_a_model_is_loaded_while_amx_is_refused(tmp_path, how, said):
    make_model(tmp_path / "small.gguf")
    done = subprocess.run([sys.executable, "-c", LOAD, tmp_path / "small.gguf", how], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, said), done.stderr


ASK_LINUX = """
import ctypes
from speed_test.frameworks import llamacpp_amx as amx
def ask():
    request, tiles = 0x1023, 18  # ARCH_REQ_XCOMP_PERM and XFEATURE_XTILEDATA
    failed = ctypes.CDLL(None, use_errno=True).syscall(158, request, tiles)  # arch_prctl
    return ctypes.get_errno() if failed else 0
with amx.refused():
    print(ask())
print(ask())
"""


@pytest.mark.skipif("amx_tile" not in FLAGS.read_text() if FLAGS.exists() else True, reason="no AMX")
def test_linux_refuses_amx_meanwhile():
    done = subprocess.run([sys.executable, "-c", ASK_LINUX], capture_output=True, text=True, check=True)
    assert list(map(int, done.stdout.split())) == [errno.ENOSPC, 0]


LOOK_AT_STACK = """
import ctypes, os
from speed_test.frameworks import llamacpp_amx as amx
def stack():
    now = amx._Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(now))
    return now.address, now.flags, now.size
before = stack()
with amx.refused():
    assert stack() != before
    os.write(2, b"AMX is not ready to be used!")
assert stack() == before
os.write(2, b"an error")
"""


def test_signals_have_their_stack_again_and_errors_are_shown():
    """In a process of its own: in this one PyTorch may have asked for AMX, and then no stack may be small."""
    done = subprocess.run([sys.executable, "-c", LOOK_AT_STACK], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "an error")
