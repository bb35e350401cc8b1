"""llama.cpp, through the C functions of llama-cpp-python.

Its class `Llama` is not used: it copies all logits of a token into Python after each step, and cannot let llama.cpp
decide about flash attention. https://github.com/abetlen/llama-cpp-python documents both ways.
"""

import argparse
import contextlib
import ctypes
import functools
import os
import platform
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speed_test.command_line import BadInput, whole_number
from speed_test.frameworks import llamacpp_amx as amx
from speed_test.frameworks.base import process_peak_memory_gb
from speed_test.frameworks.llamacpp_log import Log, clean
from speed_test.frameworks.llamacpp_memory import bytes_only_looked_up, memory_gb_per_second
from speed_test.frameworks.llamacpp_trial import Chat, try_model, write_prompts
from speed_test.machine import GIB, Device, nvidia_gpu, nvidia_uuid, performance_cores

if TYPE_CHECKING:
    from speed_test.command_line import Options, Parser
    from speed_test.experiment import Batch

NAME = "llama.cpp"
OFFLOAD_ALL = 999  # more layers than any model has


def start(device: str) -> None:
    """llama.cpp needs no preparation."""


def describe_device(wanted: str) -> Device:
    """Choose the device `wanted` ("auto": the GPU that llama.cpp was built for, else the CPU) and describe it.

    Raises BadInput if there is no such device.
    """
    import llama_cpp

    mac = platform.system() == "Darwin"
    gpu = "mps" if mac else "cuda"
    there = [gpu, "cpu"] if llama_cpp.llama_supports_gpu_offload() else ["cpu"]
    kind = there[0] if wanted == "auto" else wanted
    version = llama_cpp.__version__ + (" no AMX" if kind == "cpu" and amx.crashes() else "")
    flag = "-DGGML_METAL=on" if mac else "-DGGML_CUDA=on"
    install = f'CMAKE_ARGS="{flag}" pip install --force-reinstall --no-cache-dir llama-cpp-python'
    if kind not in there:
        raise BadInput(f"--device={kind}: llama.cpp {version} was not built for it here; there is {' or '.join(there)}")
    if kind != "cuda":
        return Device(kind, NAME, version, needs=f"install it anew for the GPU: {install}")
    name, cores, memory_bytes = nvidia_gpu()
    return Device(kind, NAME, version, name, cores, memory_bytes, uuid=nvidia_uuid())


def check_switches(options: "Options") -> list[str]:
    """It has none, but what llama.cpp cannot use of the processor is told here."""
    return [amx.WITHOUT] if options.device == "cpu" and amx.crashes() else []


def count_flop(step: Callable, batch: "Batch") -> float | None:
    """Nothing is trained."""
    return None


def matmul_tflops(options: "Options") -> float | None:
    """Nothing is trained."""
    return None


def wait(device: str) -> None:
    """llama.cpp has done all that it was given: `Model.read` waits for it, and so does choosing a token."""


def peak_memory_gb(device: str) -> float | None:
    """Peak memory so far of this process in GB of 2^30 bytes; None on a GPU, whose memory llama.cpp does not count."""
    return process_peak_memory_gb() if device == "cpu" else None


def cpu_fallback() -> None:
    """llama.cpp does not tell which operators ran on the CPU in place of the GPU."""


def add_options(parser: "Parser") -> None:
    """The options that say what a model runs on."""
    parser.add_argument(
        "--threads",
        type=whole_number(1),
        metavar="N",
        help="how many CPU threads to use (default: one for each performance core)",
    )
    parser.add_argument(
        "--gpu_layers",
        action=_GpuLayers,
        type=whole_number(0),
        default=OFFLOAD_ALL,
        metavar="N",
        help="how many of the model's layers run on the GPU; 0: none (default: all)",
    )


class _GpuLayers(argparse.Action):
    """--gpu_layers=0 is the same as --device=cpu."""

    def __call__(self, parser, options, layers, flag=None) -> None:
        options.gpu_layers = layers
        if layers == 0:
            options.device = "cpu"


def inspect_model(path: Path, questions: Sequence[str]) -> tuple["Model", dict[str, list[int]]]:
    """The model of a file, for a look at its description, and the tokens of each question in its chat template.

    Raises BadInput if llama.cpp cannot run it, or if its chat template does not work for `questions`.
    """
    try:
        texts = try_model(path, questions)
        model = Model(path, gpu_layers=0, only_inspect=True)
        return model, {question: model.prompt_tokens(text) for question, text in zip(questions, texts, strict=True)}
    except ValueError as error:
        file = clean(str(path), 1000)
        raise BadInput(f"--path_to_gguf_model: {file} is not a model that llama.cpp runs ({error})") from None


def require_room(prompts: Iterable[list[int]], max_tokens: int, context: int) -> None:
    """Raise BadInput unless each prompt and an answer of `max_tokens` tokens fit into `context` tokens."""
    longest = max(map(len, prompts))
    if longest + 2 > context:
        too_many = f"a question has {longest:,} tokens, and the context only {context:,}"
        raise BadInput(f"--path_to_gguf_model: with its chat template {too_many}; name another model")
    if longest + max_tokens > context:
        raise BadInput(
            f"--max_tokens={max_tokens}: with a prompt of {longest} tokens that is more than the {context:,} of "
            f"the context; the most is {context - longest:,}"
        )


def open_model(path: Path, context: int, options: "Options") -> "Model":
    """The model with room for `context` tokens, on the device and threads that the options name."""
    layers, threads = _gpu_layers(options), _threads(options)
    # Before the model is there, which would share the memory with the copy.
    bandwidth = memory_gb_per_second(layers > 0, threads)
    model = Model(path, layers)
    model.open(context, threads)
    if layers == 0 or layers >= model.layers:  # else the weights are in two memories
        model.bandwidth = bandwidth
    return model


def _gpu_layers(options: "Options") -> int:
    return 0 if options.device == "cpu" else options.gpu_layers


def _threads(options: "Options") -> int:
    return options.threads or performance_cores() or os.cpu_count() or 1


class Model:
    """A .gguf file, loaded; one for each process.

    Raises ValueError for a file that llama.cpp cannot run and MemoryError for one that is too large, both with
    llama.cpp's own reason.
    """

    def __init__(self, path: Path, gpu_layers: int, only_inspect: bool = False) -> None:
        """With `only_inspect` the weights are not prepared for work, which can take as long as reading the file."""
        os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # it would start a debugger to print one
        import llama_cpp

        self._log = Log()
        llama_cpp.llama_backend_init()
        options = llama_cpp.llama_model_default_params()
        options.n_gpu_layers = gpu_layers
        options.use_extra_bufts = not only_inspect  # buffers in which a CPU gets the weights in another order
        with contextlib.nullcontext() if only_inspect or not amx.crashes() else amx.refused():
            self.model = llama_cpp.llama_model_load_from_file(os.fsencode(path), options)
        if not self.model:
            raise self._log.error()
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.path = path
        self.name = clean(path.stem.removeprefix("synthetic_"))
        self.bandwidth: float | None = None  # of its memory, in billions of bytes a second, where that is known
        self.layers = llama_cpp.llama_model_n_layer(self.model) + 1  # llama.cpp counts the output as one
        self.size_gb = llama_cpp.llama_model_size(self.model) / GIB
        self.parameters: int = llama_cpp.llama_model_n_params(self.model)
        text = ctypes.create_string_buffer(256)
        llama_cpp.llama_model_desc(self.model, text, len(text))
        described = clean(text.value.decode(errors="replace"))  # such as "llama 7B Q4_0"
        quantization = re.search(r"\b(I?Q\d\S*|F16|F32|BF16|TQ\d\S*|MXFP4\S*)", described)
        self.quantization = quantization[1] if quantization else described

    def open(self, context: int, threads: int) -> None:
        """Make room for `context` tokens; `threads` CPU threads work on what is not on a GPU."""
        import llama_cpp

        options = llama_cpp.llama_context_default_params()
        options.n_ctx = options.n_batch = context  # a prompt is read as one batch
        options.n_threads = options.n_threads_batch = threads
        options.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO
        options.no_perf = False
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        if not self.context:
            raise self._log.error()
        self._sampler = self._without_end_tokens()

    def facts(self, options: "Options") -> dict[str, object]:
        """The columns that say which model this is and what it runs on."""
        return {
            "model": re.sub(rf"[._-]{re.escape(self.quantization)}$", "", self.name, flags=re.IGNORECASE),
            "architecture": clean(self.metadata("general.architecture") or "") or None,
            "quantization": self.quantization,
            "model_size_gb": self.size_gb,
            "parameters": self.parameters,
            "threads": _threads(options),
            "gpu_layers": min(_gpu_layers(options), self.layers),
        }

    def near_the_limit(self, tokens_per_second: float) -> dict[str, float | None]:
        """The columns that say how near generation comes to the bandwidth of the memory."""
        size = self.bytes_for_a_token()
        if not self.bandwidth or not size:
            return {"memory_gb_per_second": self.bandwidth, "memory_share": None}
        share = size * tokens_per_second / 1e9 / self.bandwidth
        # More than the ceiling cannot be: other programs took the memory while that was measured.
        return {"memory_gb_per_second": self.bandwidth, "memory_share": share if share <= 1 else None}

    @functools.cache  # noqa: B019 - there is one model in a process
    def bytes_for_a_token(self) -> float | None:
        """The bytes of the weights that are read to write one token; None where nothing tells: of a mixture of experts
        a token reads a part only, and of a model in several files only the first one is looked into."""
        experts = self.metadata(f"{self.metadata('general.architecture')}.expert_count") or "0"
        if experts != "0" or (self.metadata("split.count") or "0") not in ("0", "1"):
            return None
        try:
            return self.size_gb * GIB - bytes_only_looked_up(self.path)
        except (ImportError, AttributeError):  # another version of llama-cpp-python
            return None

    def summary(self, weights: str) -> str:
        """ "llama-2-7b-chat.Q4_0, real, Q4_0, 6.7 billion parameters, 3.6 GB"; `weights` says what they are."""
        size = f"{self.parameters / 1e9:.1f} billion parameters, {self.size_gb:.1f} GB"
        return f"{self.name}, {weights}, {self.quantization}, {size}"

    def flash_attention(self) -> str | None:
        """ "enabled" or "disabled": what llama.cpp has decided, once the model is open."""
        return self._log.flash_attention

    def metadata(self, key: str) -> str | None:
        """A value of the file's own description; None if it has none of that name."""
        import llama_cpp

        length = llama_cpp.llama_model_meta_val_str(self.model, key.encode(), None, 0)
        if length < 0:
            return None
        text = ctypes.create_string_buffer(length + 1)
        llama_cpp.llama_model_meta_val_str(self.model, key.encode(), text, len(text))
        return text.value.decode(errors="replace")

    def chat(self) -> Chat | None:
        """The file's own chat template, if it has one. It is a program, which only llamacpp_trial.py runs."""
        import llama_cpp

        template = self.metadata("tokenizer.chat_template")
        if not template:
            return None
        special = {"bos": llama_cpp.llama_vocab_bos, "eos": llama_cpp.llama_vocab_eos}
        return Chat(template, **{name: self.text([of(self.vocabulary)], special=True) for name, of in special.items()})

    def prompts(self, questions: Sequence[str]) -> dict[str, list[int]]:
        """The tokens of each question, in the file's own chat template if it has one.

        Raises ValueError if the template does not work, though it may have worked when the file was inspected.
        """
        chat = self.chat()
        texts = write_prompts(chat, questions) if chat else questions
        return {question: self.prompt_tokens(text) for question, text in zip(questions, texts, strict=True)}

    def prompt_tokens(self, text: str) -> list[int]:
        """The tokens of a question as the file's chat template has written it, which also begins the text; without a
        template, those of the question itself."""
        return self.tokens(text, add_special=not self.metadata("tokenizer.chat_template"))

    def tokens(self, text: str, add_special: bool) -> list[int]:
        """`text` as tokens, with the one that begins a text if `add_special`."""
        import llama_cpp

        content = text.encode(errors="replace")
        found = (llama_cpp.llama_token * (4 * len(content) + 16))()  # a space may take three tokens, one for each byte
        count = llama_cpp.llama_tokenize(self.vocabulary, content, len(content), found, len(found), add_special, True)
        return list(found[:count])

    def text(self, tokens: list[int], special: bool = False) -> str:
        """Tokens as text; those that are no words, such as the end, only if `special`."""
        text = b"".join(self.piece(token, special) for token in tokens).decode(errors="replace")
        return text if special else clean(text, len(text), lines=True)

    def piece(self, token: int, special: bool = False) -> bytes:
        """The bytes of one token, which may be only a part of a letter."""
        import llama_cpp

        text = ctypes.create_string_buffer(1024)
        length = llama_cpp.llama_token_to_piece(self.vocabulary, token, text, len(text), 0, special)
        return text.raw[: max(length, 0)]

    def read(self, tokens: list[int]) -> None:
        """Let the model read `tokens`, and return when it has. Raises MemoryError if the context has no room."""
        import llama_cpp

        self.decode(tokens)
        llama_cpp.llama_synchronize(self.context)

    def decode(self, tokens: list[int]) -> None:
        """The same without waiting: on a GPU, `sample` waits for it."""
        import llama_cpp

        content = (llama_cpp.llama_token * len(tokens))(*tokens)
        failed = llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(content, len(tokens)))
        if failed:
            raise MemoryError("llama.cpp found no room") if failed == 1 else RuntimeError(f"llama_decode says {failed}")

    def sample(self) -> int:
        """The likeliest next token that does not end the text."""
        import llama_cpp

        return llama_cpp.llama_sampler_sample(self._sampler, self.context, -1)

    def _without_end_tokens(self):
        """A sampler that takes the likeliest token, and never one that ends the text: all answers are equally long."""
        import llama_cpp

        size = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        ends = [token for token in range(size) if llama_cpp.llama_vocab_is_eog(self.vocabulary, token)]
        banned = (llama_cpp.llama_logit_bias * len(ends))(
            *(llama_cpp.llama_logit_bias(token, float("-inf")) for token in ends)
        )
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_logit_bias(size, len(ends), banned))
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_greedy())
        return chain

    def reset(self) -> None:
        """Empty the cache, so that no prompt is found in it, and set the engine's own clock to 0."""
        import llama_cpp

        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        llama_cpp.llama_synchronize(self.context)
        llama_cpp.llama_perf_context_reset(self.context)
        llama_cpp.llama_sampler_reset(self._sampler)

    def engine_rates(self) -> dict[str, float | None]:
        """Tokens per second since `reset` as llama.cpp counts them, without Python and without choosing tokens."""
        import llama_cpp

        perf = llama_cpp.llama_perf_context(self.context)
        return {
            "engine_prompt_tokens_per_second": 1000 * perf.n_p_eval / perf.t_p_eval_ms if perf.t_p_eval_ms else None,
            "engine_generation_tokens_per_second": 1000 * perf.n_eval / perf.t_eval_ms if perf.t_eval_ms else None,
        }
