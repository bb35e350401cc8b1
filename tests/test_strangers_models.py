"""llama2_test.py with .gguf files that somebody else has made, and downloads of them that go wrong."""

import os
import string
import struct
import subprocess
import sys
import time

import pytest

import llama2_test
from speed_test.data import llama_weights
from speed_test.frameworks import llamacpp_trial
from tests.conftest import environment, rows, run, the_csv
from tests.hub import Hub
from tests.made_gguf import make_model
from tests.test_llama import LLAMA, assert_refused, posix

pytestmark = pytest.mark.frameworks

OUTER_LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"layers": 10**9}, "llama.cpp crashes on it"),
        ({"layers": 0}, "llama.cpp crashes on it"),
        ({"tokens": 0}, "cannot find tokenizer vocab"),
        ({"tokens": 3}, "llama.cpp crashes on it"),
        ({"architecture": "a\x1b[31m\nWARNING: b"}, "unknown model architecture: 'a\ufffd[31m\ufffdWARNING: b'"),
        ({"template": "{% if %}"}, "its chat template does not work: Expected an expression"),
        ({"template": "{{ raise_exception('a\x1b[31m\nWARNING: b') }}"}, "not work: a\ufffd[31m\ufffdWARNING: b"),
        ({"template": "{{ ''.__class__.__mro__ }}"}, "access to attribute '__class__' of 'str' object is unsafe"),
        ({"template": "{{ '' }}"}, "it leaves nothing of a question"),
        ({"template": "{{ 'word ' * 3000 }}"}, "a question has 21,003 tokens, and the context only 2,048"),
        ({"template": "{{ 'word ' * 30000 }}"}, "it makes more than 100,000 characters of a question"),
        ({"template": "{{ 'a' * 10**11 }}"}, "chat template"),
    ],
    ids=lambda value: None if isinstance(value, str) else f"{next(iter(value))}",
)
def test_a_strangers_file_gets_one_sentence(tmp_path, changes, reason):
    make_model(tmp_path / "model.gguf", **changes)
    done = run(LLAMA, "--path_to_gguf_model=model.gguf", cwd=tmp_path)
    assert_refused(done, reason, tmp_path)
    assert "--path_to_gguf_model: " in done.stderr


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (OUTER_LOOP, "its chat template takes longer than 0.5 seconds"),
        ("{{ 7 ** (7 ** 12) }}", "its chat template takes longer than 0.5 seconds"),  # one step, which nobody can stop
        # On a busy machine its time may be over before the memory is full.
        ("{{ 'a' * 20_000_000_000 }}", "its chat template (fills the memory|takes longer)|leaves nothing|MemoryError"),
    ],
    ids=["loop", "number", "text"],
)
def test_a_chat_template_without_an_end(tmp_path, monkeypatch, template, reason):
    monkeypatch.setattr(llamacpp_trial, "SECONDS", 0.5)
    monkeypatch.setattr(llamacpp_trial, "MEMORY", 2**28)
    make_model(tmp_path / "model.gguf", template)
    begun = time.monotonic()
    with pytest.raises(ValueError, match=reason):
        llamacpp_trial.try_model(tmp_path / "model.gguf", ["Why?"])
    assert time.monotonic() - begun < 60


# In a process of its own, in which Jinja does nothing; it still does in the processes that this one starts.
GUARDED = """
import sys
from pathlib import Path
import jinja2
import llama2_test
from speed_test import Options
from speed_test.command_line import BadInput
from speed_test.frameworks import llamacpp, llamacpp_trial

def refuse(*_):
    raise RuntimeError("a template is not run in the trial")

jinja2.Environment.from_string = jinja2.Template.render = refuse
llamacpp.memory_gb_per_second = lambda on_gpu, threads: 10.0
llamacpp_trial.SECONDS = 1
for path in sys.argv[1:]:
    options = Options(path_to_gguf_model=Path(path), data="real", device="cpu", num_questions=2, threads=1, budget=None)
    options = options.changed(num_times_per_question=1, max_tokens=4, stream_output=False, gpu_layers=0)
    try:
        llama2_test.describe(options)
        generation = llama2_test.generation(None, options)
        generation.rewind()
        print(len(list(generation.work(generation.items[0]))))
    except (BadInput, ValueError) as error:
        print("refused" if "its chat template takes longer than 1 seconds" in str(error) else error)
"""


def test_a_chat_template_never_runs_outside_of_its_trial(tmp_path):
    """One that ends now and then passes a trial, and would hang whoever runs it again."""
    make_model(tmp_path / "honest.gguf", "{{ messages[0]['content'] }}")
    make_model(tmp_path / "moody.gguf", "{% if range(4)|random == 0 %}" + OUTER_LOOP + "{% endif %}Why?")
    paths = [tmp_path / name for name in ("honest.gguf", *["moody.gguf"] * 6)]
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, *paths], env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    honest, *moody = done.stdout.splitlines()
    assert honest == "5"  # that the prompt is read, and four tokens
    assert len(moody) == 6
    assert set(moody) <= {"5", "refused"}


def test_a_chat_template_that_ends_no_more_once_it_is_measured(tmp_path, monkeypatch):
    """The measuring process has the questions written by a process of their own as well."""
    monkeypatch.setattr(llamacpp_trial, "SECONDS", 0.5)
    with pytest.raises(ValueError, match=r"its chat template takes longer than 0\.5 seconds"):
        llamacpp_trial.write_prompts(llamacpp_trial.Chat(OUTER_LOOP, "<s>", "</s>"), ["Why?"])
    chat = llamacpp_trial.Chat("{{ bos_token }}[{{ messages[0]['content'] }}]{{ eos_token }}", "<s>", "</s>")
    assert llamacpp_trial.write_prompts(chat, ["Why?", "How?"]) == ["<s>[Why?]</s>", "<s>[How?]</s>"]


def test_a_strangers_file_in_the_place_of_the_synthetic_model_is_not_parsed(tmp_path, monkeypatch):
    """It says that it has an array of 3,000,000,000 numbers, and takes hardly any room on the disk itself."""
    import gguf

    reads = []
    monkeypatch.setattr(llama_weights, "LAYERS", 0)
    monkeypatch.setattr(gguf, "GGUFReader", reads.append)
    monkeypatch.setattr(llama_weights, "_write", lambda path, *_: path.write_bytes(b"anew"))
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 291, 1, 1, b"a", 9, 0, 3_000_000_000))
    os.truncate(path, 2**32)
    llama_weights.synthetic_llama2(path, ["a question"])
    assert (reads, path.read_bytes()) == ([], b"anew")


def test_the_synthetic_model_is_kept_only_if_it_is_the_one_that_would_be_made(tmp_path, monkeypatch):
    import gguf

    kind = gguf.GGMLQuantizationType.Q4_0
    tensors = {"token_embd.weight": ((3200, 32), kind), "output.weight": ((3, 32), kind)}  # the last one is padded
    monkeypatch.setattr(llama_weights, "llama2_tensors", lambda: tensors)
    path = tmp_path / "model.gguf"

    def made_anew():
        if path.exists():
            os.utime(path, (1, 1))
        llama_weights.synthetic_llama2(path, ["a question"])
        return path.stat().st_mtime != 1

    assert made_anew()
    content = path.read_bytes()
    assert {tensor.name: tensor.n_bytes for tensor in gguf.GGUFReader(path).tensors} == {
        "token_embd.weight": 57_600,
        "output.weight": 54,
    }
    assert not made_anew()
    for bad in (b"XXXX" + content[4:], content[:-1], content + b"x", content.replace(b"llama", b"lamas", 1)):
        path.write_bytes(bad)
        assert made_anew()
        assert path.read_bytes() == content


@posix
def test_a_file_name_with_escape_sequences(tmp_path):
    """And with a dash in front of it."""
    name = "-a\x1b[31m\nb.gguf"
    make_model(tmp_path / name)
    arguments = ("--num_questions=1", "--num_times_per_question=1", "--max_tokens=4", "--threads=1")
    done = run(LLAMA, f"--path_to_gguf_model={name}", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    (row,) = rows(the_csv(tmp_path))
    assert row["model"] == "-a\ufffd[31m\ufffdb"
    assert all(letter.isprintable() or letter in "\n\t" for letter in row["answer"])
    assert set(the_csv(tmp_path).name) <= set(string.ascii_letters + string.digits + "._-")


@pytest.mark.parametrize("content", [b"<!DOCTYPE html>", b""])
def test_another_file_from_the_hub_is_not_kept(tmp_path, content):
    repository = tmp_path / "hub" / "models" / "TheBloke" / "Llama-2-7B-Chat-GGUF"
    repository.mkdir(parents=True)
    (repository / llama2_test.FILE).write_bytes(content)
    with Hub(tmp_path / "hub") as hub:
        done = run(LLAMA, "--data=real", cwd=tmp_path, HF_ENDPOINT=hub.url, no_proxy="127.0.0.1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert "(what came is another file); try again later" in done.stderr
    assert not list(tmp_path.glob("data/*.gguf"))


def test_a_download_that_is_cut_off_is_not_kept(tmp_path):
    repository = tmp_path / "hub" / "models" / "TheBloke" / "Llama-2-7B-Chat-GGUF"
    repository.mkdir(parents=True)
    (repository / llama2_test.FILE).write_bytes(b"GGUF" * 100_000)
    with Hub(tmp_path / "hub", cut_after=1000) as hub:
        done = run(LLAMA, "--data=real", cwd=tmp_path, HF_ENDPOINT=hub.url, no_proxy="127.0.0.1")
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert f"{llama2_test.FILE} of {llama2_test.REPOSITORY} can be neither read nor downloaded" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("data/*.gguf"))
