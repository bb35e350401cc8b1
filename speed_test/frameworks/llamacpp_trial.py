"""A model's file, tried in a process of its own before it is trusted.

Its chat template is a program, which may never end or fill the memory, and need not do the same thing twice: so it
runs here only. And for some broken files llama.cpp ends the process that it runs in.
"""

import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from speed_test.frameworks.llamacpp_log import clean
from speed_test.frameworks.llamacpp_process import own_process

SECONDS = 15  # for the prompts of all questions, which take a few milliseconds
MEMORY = 2**30  # bytes that they may take beside the model; they take a few kilobytes
LONGEST = 100_000  # characters of a prompt: far more than fit into the context of any test


class Chat(NamedTuple):
    """A chat template, and the texts of the tokens that begin and end a text, which it may use."""

    template: str
    bos: str
    eos: str


def try_model(path: Path, questions: Sequence[str]) -> list[str]:
    """Load a model, and return `questions` as its chat template writes them; as they are if it has none.

    Raises ValueError if that fails in any way, or takes far too long or far too much memory, and MemoryError if the
    model is too large.
    """
    return _answer(_try, path, questions)


def write_prompts(chat: Chat, questions: Sequence[str]) -> list[str]:
    """`questions` as a chat template writes them, without a look at the model.

    Raises ValueError as `try_model` does.
    """
    return _answer(_write_only, chat, questions)


def _answer(work: Callable[..., None], *arguments: Any) -> list[str]:
    """What `work` sends in the end."""
    import psutil

    with own_process(work, *arguments) as (process, pipe):
        try:
            return _watch(process, pipe)
        except (EOFError, OSError, psutil.Error):  # the process is no more, and its end of the pipe is closed
            raise ValueError("llama.cpp crashes on it") from None


def _watch(process: BaseProcess, pipe: Connection) -> list[str]:
    """Wait until the process has said that it is ready, and then what the template has written."""
    import psutil

    _checked(pipe.recv())  # loaded: reading a large file from a slow disk may take minutes
    memory = psutil.Process(process.pid).memory_info
    before, deadline = memory().rss, time.monotonic() + SECONDS
    while not pipe.poll(0.05):
        if time.monotonic() > deadline:
            raise ValueError(f"its chat template takes longer than {SECONDS} seconds")
        if memory().rss - before > MEMORY:
            raise ValueError("its chat template fills the memory")
    return _checked(pipe.recv())


def _checked(answer: tuple[str, str] | list[str]) -> list[str]:
    """What the process has sent; raises it if it reports an error."""
    if isinstance(answer, tuple):
        kind, text = answer
        raise MemoryError(text) if kind == "memory" else ValueError(text)
    return answer


def _try(pipe: Connection, path: Path, questions: Sequence[str]) -> None:
    from speed_test.frameworks.llamacpp import Model

    try:
        model = Model(path, gpu_layers=0, only_inspect=True)
    except (MemoryError, ValueError) as error:
        return pipe.send(("memory" if isinstance(error, MemoryError) else "value", str(error)))
    pipe.send([])
    try:
        chat = model.chat()
        texts = _written(chat, questions) if chat else list(questions)
        if not all(model.prompt_tokens(text) for text in texts):
            raise ValueError("it leaves nothing of a question")
    except Exception as error:
        return pipe.send(_reason(error))
    pipe.send(texts)


def _write_only(pipe: Connection, chat: Chat, questions: Sequence[str]) -> None:
    import llama_cpp.llama_chat_format  # noqa: F401 - it takes longer than the template, whose time begins now

    pipe.send([])
    try:
        pipe.send(_written(chat, questions))
    except Exception as error:
        pipe.send(_reason(error))


def _written(chat: Chat, questions: Sequence[str]) -> list[str]:
    """The questions in the template. To be called in a process of its own only: nothing limits it.

    Raises ValueError if a text is far too long, Jinja's many errors, and whatever a template raises itself.
    """
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    write = Jinja2ChatFormatter(chat.template, eos_token=chat.eos, bos_token=chat.bos)
    texts = []
    for question in questions:
        text = write(messages=[{"role": "user", "content": question}]).prompt
        if len(text) > LONGEST:
            raise ValueError(f"it makes more than {LONGEST:,} characters of a question")
        texts.append(text)
    return texts


def _reason(error: Exception) -> tuple[str, str]:
    """The report of what went wrong in a template."""
    text = clean(str(error)) or type(error).__name__
    return "value", f"its chat template does not work: {text}"
