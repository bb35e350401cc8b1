"""How fast the memory is that a model's weights are read from, and how many of their bytes a token takes.

To write a token, a model reads nearly all of its weights once. So the memory's bandwidth is the ceiling of its speed.
"""

import ctypes
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from speed_test.frameworks.llamacpp_process import own_process

BYTES = 2**28  # of each of two buffers: far more than the caches of a processor or a GPU hold
TIMES = 6  # the best counts, because anything else on the machine only makes a copy slower
COPIES = 16  # by a GPU in one go, which takes it milliseconds
SECONDS = 60  # then it is given up

CPU, GPU, INTEGRATED_GPU = 0, 1, 2  # ggml_backend_dev_type of ggml-backend.h
F32 = 0  # GGML_TYPE_F32 of ggml.h

Function = Callable[..., Any]


def memory_gb_per_second(on_gpu: bool, threads: int) -> float | None:
    """Billions of bytes a second that a large copy reads and writes, or that a large read reads, if that is faster.

    On the CPU so many `threads` do it, on a GPU the GPU with its own memory. None where that cannot be measured.
    It is done in a process of its own: else its buffers would count in the peak memory of a small model.
    """
    with own_process(_measure, on_gpu, threads) as (_, pipe):
        try:
            return pipe.recv() if pipe.poll(SECONDS) else None
        except (EOFError, OSError):  # it crashed
            return None


def _measure(pipe: Connection, on_gpu: bool, threads: int) -> None:
    try:
        found = (by_device(GPU) or by_device(INTEGRATED_GPU)) if on_gpu else by_threads(threads)
    except (MemoryError, OSError, ImportError, AttributeError):  # no room, or functions that a library lacks
        found = None
    pipe.send(found)


# ---- The processor ----


def by_threads(threads: int, size: int = BYTES) -> float:
    """The rate of the processor with its memory, in billions of bytes a second. Raises MemoryError."""
    library = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    find = library.memchr
    find.argtypes, find.restype = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t), ctypes.c_void_p
    part = size // threads
    source, target = ((ctypes.c_char * size)() for _ in range(2))
    starts = [(ctypes.addressof(source) + n * part, ctypes.addressof(target) + n * part) for n in range(threads)]
    for start in (source, target):  # memory that was never written is one page of zeros, which lies in a cache
        ctypes.memset(start, 1, size)

    def copy(pair: tuple[int, int]) -> None:
        ctypes.memmove(pair[1], pair[0], part)

    def read(pair: tuple[int, int]) -> None:
        for start in pair:
            find(start, 0, part)  # there is none, so all is read

    # Both leave Python's lock free. Reading alone can be faster: a core of some processors (AMD's Zen) writes half as
    # many bytes at once as it reads.
    with ThreadPoolExecutor(threads) as pool:
        work = [lambda some=some: list(pool.map(some, starts)) for some in (copy, read)]  # type: ignore[misc]
        return max(_best_rate(one, 2 * part * threads) for one in work)


def _best_rate(work: Callable[[], object], size: int) -> float:
    rates = []
    for _ in range(TIMES):
        start = time.perf_counter()
        work()
        rates.append(size / (time.perf_counter() - start) / 1e9)
    return max(rates)


# ---- A GPU, by the functions of ggml, the library below llama.cpp ----


class _InitParams(ctypes.Structure):
    """ggml_init_params of ggml.h"""

    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


def by_device(kind: int, size: int = BYTES) -> float | None:
    """The rate of ggml's first device of a `kind` with its memory, in billions of bytes a second; None if there is no
    such device, or if it does not copy. Raises ImportError or AttributeError if a function is missing."""
    import llama_cpp

    pointer, count = ctypes.c_void_p, ctypes.c_size_t
    llama_cpp.llama_backend_init()
    device = _ggml("ggml_backend_dev_by_type", pointer, ctypes.c_int)(kind)
    backend = device and _ggml("ggml_backend_dev_init", pointer, pointer, pointer)(device, None)
    if not backend:
        return None
    context = _ggml("ggml_init", pointer, _InitParams)(_InitParams(2**20, None, True))
    tensor = _ggml("ggml_new_tensor_1d", pointer, pointer, ctypes.c_int, ctypes.c_int64)
    source, target = (tensor(context, F32, size // 4) for _ in range(2))
    graph = _ggml("ggml_new_graph", pointer, pointer)(context)
    copy = _ggml("ggml_cpy", pointer, pointer, pointer, pointer)
    add = _ggml("ggml_build_forward_expand", None, pointer, pointer)
    for _ in range(COPIES):
        add(graph, copy(context, source, target))
    buffer = _ggml("ggml_backend_alloc_ctx_tensors", pointer, pointer, pointer)(context, backend)
    if not buffer:
        raise MemoryError
    _ggml("ggml_backend_buffer_clear", None, pointer, ctypes.c_uint8)(buffer, 1)
    # The last bytes show whether the copy is one.
    told, seen = ctypes.c_float(13.0), ctypes.c_float()
    _ggml("ggml_backend_tensor_set", None, pointer, pointer, count, count)(source, ctypes.byref(told), size - 4, 4)
    compute = _ggml("ggml_backend_graph_compute", ctypes.c_int, pointer, pointer)  # waits for the device
    rate = _best_rate(lambda: compute(backend, graph), COPIES * 2 * size)
    _ggml("ggml_backend_tensor_get", None, pointer, pointer, count, count)(target, ctypes.byref(seen), size - 4, 4)
    return rate if seen.value == told.value else None


def _ggml(name: str, returns: Any, *takes: Any) -> Function:
    from llama_cpp._ctypes_extensions import load_shared_library
    from llama_cpp._ggml import libggml, libggml_base_path

    # Windows does not look into the libraries that a library needs. Elsewhere a second name would load a second one.
    more = [load_shared_library("ggml-base", libggml_base_path)] if sys.platform == "win32" else []
    function = next((one for one in (libggml, *more) if hasattr(one, name)), libggml)[name]
    function.restype, function.argtypes = returns, takes
    return function


# ---- The weights ----


class _GgufParams(ctypes.Structure):
    """gguf_init_params of gguf.h"""

    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


def bytes_only_looked_up(path: Path) -> int:
    """The bytes of a file's table of embeddings, of which a token takes one line only. 0 where the table is the output
    layer as well, because that is read whole. Raises ImportError or AttributeError if a function is missing."""
    pointer = ctypes.c_void_p
    file = _ggml("gguf_init_from_file", pointer, ctypes.c_char_p, _GgufParams)(
        os.fsencode(path), _GgufParams(True, None)
    )
    if not file:
        return 0
    find = _ggml("gguf_find_tensor", ctypes.c_int64, pointer, ctypes.c_char_p)
    table, output = find(file, b"token_embd.weight"), find(file, b"output.weight")
    size = _ggml("gguf_get_tensor_size", ctypes.c_size_t, pointer, ctypes.c_int64)
    found = size(file, table) if table >= 0 and output >= 0 else 0
    _ggml("gguf_free", None, pointer)(file)
    return found
