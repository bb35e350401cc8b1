"""llama.cpp and AMX, the matrix unit of Intel's server processors: some builds crash in their code for it.

GCC 12.2, for one, takes it that loading a tile's shape reads 8 bytes of memory, where it reads 64, and leaves out the
writing of the others (ggml-org/llama.cpp#20824 and #26954). Where a build crashes it gets no AMX. It works then with
AVX-512, as fast as on a processor that has no AMX.
"""

import contextlib
import ctypes
import functools
import os
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from speed_test.frameworks.llamacpp_process import own_process

WITHOUT = "llama.cpp crashes in its code for AMX as it was built here, so it works without; a newer compiler may help"
SECONDS = 60  # for the trial, which takes two; then it is given up
PROMPT = 40  # tokens, more than a tile has rows
SIZE = 64  # of the model that is tried: two tiles
STACK_BYTES = 8192  # the contents of the tiles alone take as many


@functools.cache
def crashes() -> bool:
    """Whether this build of llama.cpp has code for AMX that crashes here. Tried in a process of its own, on Linux only:
    elsewhere nobody has seen it, and `refused` would not help."""
    if sys.platform != "linux":
        return False
    import llama_cpp

    if b"AMX_INT8 = 1" not in llama_cpp.llama_print_system_info():
        return False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "small.gguf")
        _make_model(path)
        with own_process(_try, path) as (process, pipe):
            try:
                if pipe.poll(SECONDS):
                    pipe.recv()
                return False
            except (EOFError, OSError):  # the process is no more; if no signal has ended it, it could not try
                process.join()
                return (process.exitcode or 0) < 0


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Let Linux refuse AMX to this process meanwhile. llama.cpp asks for it once, when it loads its first model, be it
    for a look only.

    A process that asks for AMX needs room for its registers on the stack of its signals, so Linux refuses it where
    that stack is too small: https://docs.kernel.org/arch/x86/xstate.html
    """
    sigaltstack = ctypes.CDLL(None).sigaltstack
    memory = ctypes.create_string_buffer(STACK_BYTES)
    before = _Stack()
    sigaltstack(ctypes.byref(_Stack(ctypes.addressof(memory), 0, STACK_BYTES)), ctypes.byref(before))
    try:
        with _silent_errors():  # llama.cpp prints "AMX is not ready to be used!", not as a line of its log
            yield
    finally:
        sigaltstack(ctypes.byref(before), None)


@contextlib.contextmanager
def _silent_errors() -> Iterator[None]:
    """Show nothing that C prints to standard error meanwhile."""
    shown = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(shown, 2)
        os.close(shown)


class _Stack(ctypes.Structure):
    """stack_t of signal.h, as Linux has it."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def _try(pipe: Connection, path: Path) -> None:
    """Let the model read a prompt, with all that llama.cpp has for this processor, and send whether it did: to have
    sent anything is not to have crashed."""
    import resource  # there is none on Windows

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is no surprise here
    import llama_cpp

    llama_cpp.llama_backend_init()
    options = llama_cpp.llama_model_default_params()
    options.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), options)
    if not model:
        return pipe.send(False)
    context = llama_cpp.llama_init_from_model(model, llama_cpp.llama_context_default_params())
    tokens = (llama_cpp.llama_token * PROMPT)()
    pipe.send(context and llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, PROMPT)) == 0)


def _make_model(path: Path) -> None:
    """Write a Llama of one layer, without words, whose weights are 0 in Q4_0."""
    import gguf
    import numpy

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("no_vocab")
    for add in (writer.add_vocab_size, writer.add_embedding_length, writer.add_feed_forward_length):
        add(SIZE)
    writer.add_context_length(512)
    writer.add_block_count(1)
    writer.add_head_count(2)
    writer.add_rope_dimension_count(SIZE // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    kind = gguf.GGMLQuantizationType.Q4_0
    weights = numpy.zeros(gguf.quant_shape_to_byte_shape((SIZE, SIZE), kind), dtype=numpy.uint8)
    layer = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    for name in ("token_embd", "output", *(f"blk.0.{name}" for name in layer)):
        writer.add_tensor(f"{name}.weight", weights, raw_dtype=kind)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", numpy.ones(SIZE, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
