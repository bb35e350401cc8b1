"""A process of its own for what llama.cpp may crash in."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any


@contextlib.contextmanager
def own_process(work: Callable[..., None], *arguments: Any) -> Iterator[tuple[BaseProcess, Connection]]:
    """A fresh process that runs `work(pipe, *arguments)`, and the pipe that it sends on; killed at the end of `with`.

    What it prints as an error is not shown: llama.cpp prints a lot, and so does a crash.
    """
    context = multiprocessing.get_context("spawn")
    pipe, its_end = context.Pipe(duplex=False)
    process = context.Process(target=_silently, args=(work, its_end, *arguments), daemon=True)
    process.start()
    its_end.close()  # so that the pipe ends with the process
    try:
        yield process, pipe
    finally:
        process.kill()
        process.join()


def _silently(work: Callable[..., None], *arguments: Any) -> None:
    os.environ["GGML_NO_BACKTRACE"] = "1"  # to print one, llama.cpp would start a debugger
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    work(*arguments)
