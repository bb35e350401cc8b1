"""A model of random weights that costs as much to run as Llama 2 7B chat, written as a .gguf file."""

import io
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from speed_test.data.files import DataUnavailable, open_regular
from speed_test.machine import GIB
from speed_test.screen import progress_bar, reason

if TYPE_CHECKING:
    from io import BufferedWriter

    import gguf
    import numpy

LAYERS = 32  # of Llama 2 7B
SEED = 42

Tensors = dict[str, tuple[tuple[int, ...], Any]]  # name -> shape and gguf.GGMLQuantizationType


def synthetic_llama2(path: Path, texts: Sequence[str]) -> Path:
    """Make sure that a model of random weights is at `path`, with the shapes and the types of Llama 2 7B chat Q4_0.

    How fast it generates depends on those alone. The words of `texts` are in its vocabulary. A complete file that is
    there already is kept. Raises DataUnavailable if there is no room for it.
    """
    tensors = llama2_tensors()
    sizes = {name: size_in_bytes(shape, kind) for name, (shape, kind) in tensors.items()}
    if _is_complete(path, tensors, sizes, texts):
        return path

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    except OSError as error:
        what = f"the synthetic model cannot be written to {path} ({reason(error)})"
        raise DataUnavailable(f"{what}; name another folder with --data_dir") from None
    needed, free = sum(sizes.values()) + 2**24, shutil.disk_usage(path.parent).free
    if free < needed:
        raise DataUnavailable(
            f"the synthetic model takes {needed / GIB:.1f} GB and {path.parent} has {free / GIB:.1f} GB left; "
            "make room, or name another --data_dir or a smaller --path_to_gguf_model"
        )
    try:
        # Written elsewhere and renamed, so that a file of this name is complete.
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            _write(Path(scratch, path.name), tensors, sizes, texts)
            os.replace(Path(scratch, path.name), path)
    except OSError as error:
        raise DataUnavailable(f"the synthetic model cannot be written to {path} ({reason(error)})") from None
    return path


def _is_complete(path: Path, tensors: Tensors, sizes: dict[str, int], texts: Sequence[str]) -> bool:
    """Whether a file begins as the one that would be written, and is as long.

    It may be a stranger's, and gguf.GGUFReader takes any memory that a file asks for. So nobody reads it here: its
    beginning, which is the same whenever it is made, is compared.
    """
    from gguf import GGUF_DEFAULT_ALIGNMENT, GGUFWriter

    if not path.is_file() or path.stat().st_size <= sum(sizes.values()):
        return False
    expected = io.BytesIO()
    _write_beginning(expected, tensors, sizes, texts)
    parts = (len(expected.getvalue()), *sizes.values())
    whole = sum(GGUFWriter.ggml_pad(part, GGUF_DEFAULT_ALIGNMENT) for part in parts)
    try:
        with open_regular(path) as file:
            return file.read(parts[0]) == expected.getvalue() and os.fstat(file.fileno()).st_size == whole
    except (OSError, ValueError):
        return False


def _write_beginning(
    file: IO[bytes], tensors: Tensors, sizes: dict[str, int], texts: Sequence[str]
) -> "gguf.GGUFWriter":
    """Write all that comes before the weights; the writer that is returned goes on with those."""
    import gguf
    import numpy
    from gguf.gguf_writer import WriterState

    writer = gguf.GGUFWriter(None, "llama")
    write_description(writer, texts)
    for name, (shape, kind) in tensors.items():
        writer.add_tensor_info(name, shape, numpy.dtype("float32"), sizes[name], raw_dtype=kind)
    # As the writer does when it opens a file itself.
    writer.fout, writer.state = [cast("BufferedWriter", file)], WriterState.EMPTY
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    return writer


def _write(path: Path, tensors: Tensors, sizes: dict[str, int], texts: Sequence[str]) -> None:
    import numpy

    random = numpy.random.default_rng(SEED)
    with open(path, "wb") as file, progress_bar(f"Making {path.name}", sum(sizes.values()), "bytes") as bar:
        writer = _write_beginning(file, tensors, sizes, texts)
        for name, (shape, kind) in tensors.items():
            writer.write_tensor_data(_random_weights(random, shape, kind))
            bar.update(sizes[name])


def llama2_tensors() -> Tensors:
    """name -> (shape, type) of Llama 2 7B as it is published in Q4_0: 32 layers of 4,096, 32 heads, 32,000 words."""
    from gguf import GGMLQuantizationType as Kind

    width, feed_forward, words = 4096, 11008, 32000
    tensors: Tensors = {"token_embd.weight": ((words, width), Kind.Q4_0)}
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"blk.{layer}.{name}.weight"] = (width, width), Kind.Q4_0
        for name in ("ffn_gate", "ffn_up"):
            tensors[f"blk.{layer}.{name}.weight"] = (feed_forward, width), Kind.Q4_0
        tensors[f"blk.{layer}.ffn_down.weight"] = (width, feed_forward), Kind.Q4_0
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = (width,), Kind.F32
    tensors["output_norm.weight"] = (width,), Kind.F32
    tensors["output.weight"] = (words, width), Kind.Q6_K
    return tensors


def size_in_bytes(shape: tuple[int, ...], kind: Any) -> int:
    """How many bytes a tensor of this shape and type takes."""
    import gguf
    import numpy

    weights, size = gguf.GGML_QUANT_SIZES[kind]
    return int(numpy.prod(shape)) // weights * size


def _random_weights(random: "numpy.random.Generator", shape: tuple[int, ...], kind: Any) -> "numpy.ndarray":
    """Random weights with a standard deviation of about 0.02, as trained ones have, in llama.cpp's blocks; 1 for norms.

    The blocks are described in https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
    """
    import gguf
    import numpy

    if kind == gguf.GGMLQuantizationType.F32:
        return numpy.ones(shape, dtype=numpy.float32)
    _, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    content = bytearray(random.bytes(size_in_bytes(shape, kind)))
    blocks = numpy.frombuffer(content, dtype=numpy.uint8).reshape(-1, block_bytes)
    if kind == gguf.GGMLQuantizationType.Q4_0:  # float16 scale, then 32 numbers of 4 bits, from -8 to 7
        blocks[:, :2] = numpy.array([0.02 / 4.6], dtype=numpy.float16).view(numpy.uint8)
    else:  # Q6_K: 256 numbers of 6 bits, from -32 to 31, then 16 scales of 8 bits, then a float16 for all of them
        blocks[:, -18:-2] = 16
        blocks[:, -2:] = numpy.array([0.02 / 18.5 / 16], dtype=numpy.float16).view(numpy.uint8)
    return blocks


def write_description(writer: "gguf.GGUFWriter", texts: Sequence[str]) -> None:
    """Write the model's sizes and its vocabulary.

    The words of `texts` are in the vocabulary, so that a prompt has about one token for each word, as with the real
    model. The rest of the 32,000 words are made up.
    """
    import gguf

    writer.add_name("Llama 2 7B chat, random weights")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_context_length(4096)
    writer.add_embedding_length(4096)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(11008)
    writer.add_rope_dimension_count(128)
    writer.add_head_count(32)
    writer.add_head_count_kv(32)
    writer.add_layer_norm_rms_eps(1e-5)

    kinds = gguf.TokenType
    tokens = [("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)]
    tokens += [(f"<0x{byte:02X}>", kinds.BYTE) for byte in range(256)]
    # The tokenizer builds words from the left, so all of their beginnings have to be there, and each letter.
    words = [f"\u2581{word}" for text in texts for word in text.split()]
    beginnings = {word[:length] for word in words for length in range(1, len(word) + 1)}
    known = sorted(beginnings | {letter for word in words for letter in word}, key=lambda word: (len(word), word))
    known += [f"\u2581word{number}" for number in range(32000 - len(tokens) - len(known))]
    tokens += [(word, kinds.NORMAL) for word in known]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([float(len(text)) if kind == kinds.NORMAL else 0.0 for text, kind in tokens])
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
