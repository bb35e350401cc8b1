"""llama2_test.py with .gguf files that somebody else has made, and downloads of them that go wrong."""

import string
import time

import pytest

import llama2_test
from speed_test.frameworks import llamacpp_trial
from tests.conftest import rows, run, the_csv
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
