"""A model's file, tried in a process of its own before it is trusted.

Its chat template is a program, which may never end or fill the memory. And for some broken files llama.cpp ends the
process that it runs in.
"""

import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from speed_test.frameworks.llamacpp_log import clean
from speed_test.frameworks.llamacpp_process import own_process

SECONDS = 15  # for the prompts of all questions, which take a few milliseconds
MEMORY = 2**30  # bytes that they may take beside the model; they take a few kilobytes


def try_model(path: Path, questions: Sequence[str]) -> None:
    """Load a model, and write `questions` in its chat template.

    Raises ValueError if that fails in any way, or takes far too long or far too much memory, and MemoryError if the
    model is too large.
    """
    import psutil

    with own_process(_try, path, questions) as (process, pipe):
        try:
            _watch(process, pipe)
        except (EOFError, OSError, psutil.Error):  # the process is no more, and its end of the pipe is closed
            raise ValueError("llama.cpp crashes on it") from None


def _watch(process: BaseProcess, pipe: Connection) -> None:
    """Wait until the process has said twice that all is well."""
    import psutil

    _check(pipe.recv())  # loaded: reading a large file from a slow disk may take minutes
    memory = psutil.Process(process.pid).memory_info
    before, deadline = memory().rss, time.monotonic() + SECONDS
    while not pipe.poll(0.05):
        if time.monotonic() > deadline:
            raise ValueError(f"its chat template takes longer than {SECONDS} seconds")
        if memory().rss - before > MEMORY:
            raise ValueError("its chat template fills the memory")
    _check(pipe.recv())


def _check(answer: tuple[str, str] | None) -> None:
    """Raise what the process has reported; None is that all is well."""
    if answer:
        kind, text = answer
        raise MemoryError(text) if kind == "memory" else ValueError(text)


def _try(pipe: Connection, path: Path, questions: Sequence[str]) -> None:
    from speed_test.frameworks.llamacpp import Model

    try:
        model = Model(path, gpu_layers=0, only_inspect=True)
    except (MemoryError, ValueError) as error:
        return pipe.send(("memory" if isinstance(error, MemoryError) else "value", str(error)))
    pipe.send(None)
    try:
        for question in questions:
            if not model.prompt(question):
                raise ValueError("it leaves nothing of a question")
    except Exception as error:  # Jinja's many, and whatever a template raises itself
        text = clean(str(error)) or type(error).__name__
        return pipe.send(("value", f"its chat template does not work: {text}"))
    pipe.send(None)
