"""llama.cpp through the C functions of llama-cpp-python: a model, its context, and what it says about both.

Not through its class `Llama`, which copies all of a token's logits into Python after each step and knows no
automatic flash attention; https://github.com/abetlen/llama-cpp-python documents both ways.
"""

import ctypes
import os
import platform
import re
from pathlib import Path

from speed_test.machine import GIB, Device, nvidia_gpu

NAME = "llama.cpp"
OFFLOAD_ALL = 999  # more layers than any model has
ERROR = 4  # GGML_LOG_LEVEL_ERROR of ggml.h


def describe_device(gpu_layers: int) -> Device:
    """Describe what llama.cpp runs on: the GPU that it was built for, unless it gets no layers, else the CPU."""
    import llama_cpp

    mac = platform.system() == "Darwin"
    flag = "-DGGML_METAL=on" if mac else "-DGGML_CUDA=on"
    install = f'install it anew for the GPU: CMAKE_ARGS="{flag}" pip install --force-reinstall --no-cache-dir'
    if not (gpu_layers and llama_cpp.llama_supports_gpu_offload()):
        return Device("cpu", NAME, llama_cpp.__version__, needs=f"{install} llama-cpp-python")
    if mac:
        return Device("mps", NAME, llama_cpp.__version__)
    name, cores, memory_bytes = nvidia_gpu()
    return Device("cuda", NAME, llama_cpp.__version__, name, cores, memory_bytes)


class Model:
    """A .gguf file, loaded: one for each process.

    Raises ValueError for a file that llama.cpp cannot run and MemoryError for one that is too large, both with
    llama.cpp's own reason.
    """

    def __init__(self, path: Path, gpu_layers: int, only_look: bool = False) -> None:
        """With `only_look` it is not made ready for work, which can take as long as reading all of the file."""
        import llama_cpp

        self._log = Log()
        llama_cpp.llama_backend_init()
        how = llama_cpp.llama_model_default_params()
        how.n_gpu_layers = gpu_layers
        how.use_extra_bufts = not only_look  # a CPU wants many types of weights in another order than the file's
        self.model = llama_cpp.llama_model_load_from_file(os.fsencode(path), how)
        if not self.model:
            raise self._log.error()
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)

    def open(self, context: int, threads: int) -> None:
        """Make room for `context` tokens, to be worked on by `threads` threads where the CPU has to."""
        import llama_cpp

        how = llama_cpp.llama_context_default_params()
        how.n_ctx = how.n_batch = context  # a prompt goes in as one batch
        how.n_threads = how.n_threads_batch = threads
        how.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO
        how.no_perf = False
        self.context = llama_cpp.llama_init_from_model(self.model, how)
        if not self.context:
            raise self._log.error()

    def facts(self) -> dict[str, object]:
        """What the file says about the model: the columns of that name."""
        import llama_cpp

        text = ctypes.create_string_buffer(256)
        llama_cpp.llama_model_desc(self.model, text, len(text))
        described = text.value.decode()  # such as "llama 7B Q4_0"
        quantization = re.search(r"\b(I?Q\d\S*|F16|F32|BF16|TQ\d\S*|MXFP4\S*)", described)
        return {
            "model": self.metadata("general.name"),
            "architecture": self.metadata("general.architecture"),
            "quantization": quantization[1] if quantization else described,
            "model_size_gb": llama_cpp.llama_model_size(self.model) / GIB,
            "parameters": llama_cpp.llama_model_n_params(self.model),
            "layers": llama_cpp.llama_model_n_layer(self.model) + 1,  # and the output, which llama.cpp counts as one
        }

    def flash_attention(self) -> str | None:
        """ "enabled" or "disabled": what llama.cpp has made of its own "auto", once the model is open."""
        return self._log.flash_attention

    def metadata(self, key: str) -> str | None:
        """A value of the file's own description; None where it has none of that name."""
        import llama_cpp

        length = llama_cpp.llama_model_meta_val_str(self.model, key.encode(), None, 0)
        if length < 0:
            return None
        text = ctypes.create_string_buffer(length + 1)
        llama_cpp.llama_model_meta_val_str(self.model, key.encode(), text, len(text))
        return text.value.decode(errors="replace")

    def prompt(self, question: str) -> list[int]:
        """The tokens of a question, in the file's own chat template where it has one."""
        import llama_cpp
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        template = self.metadata("tokenizer.chat_template")
        if not template:
            return self.tokens(question, add_special=True)
        special = {"bos": llama_cpp.llama_vocab_bos, "eos": llama_cpp.llama_vocab_eos}
        texts = {name: self.text([of(self.vocabulary)], special=True) for name, of in special.items()}
        chat = Jinja2ChatFormatter(template, eos_token=texts["eos"], bos_token=texts["bos"])
        return self.tokens(chat(messages=[{"role": "user", "content": question}]).prompt, add_special=False)

    def tokens(self, text: str, add_special: bool) -> list[int]:
        import llama_cpp

        text = text.encode()
        found = (llama_cpp.llama_token * (len(text) + 8))()
        count = llama_cpp.llama_tokenize(self.vocabulary, text, len(text), found, len(found), add_special, True)
        return list(found[:count])

    def text(self, tokens: list[int], special: bool = False) -> str:
        return b"".join(self.piece(token, special) for token in tokens).decode(errors="replace")

    def piece(self, token: int, special: bool = False) -> bytes:
        """The bytes of one token, which may be a part of a letter only."""
        import llama_cpp

        text = ctypes.create_string_buffer(1024)
        length = llama_cpp.llama_token_to_piece(self.vocabulary, token, text, len(text), 0, special)
        return text.raw[: max(length, 0)]

    def sampler(self):
        """Takes the likeliest token, and never one that ends the answer: all answers are equally long."""
        import llama_cpp

        size = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        ends = [token for token in range(size) if llama_cpp.llama_vocab_is_eog(self.vocabulary, token)]
        banned = (llama_cpp.llama_logit_bias * len(ends))(*((token, float("-inf")) for token in ends))
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_logit_bias(size, len(ends), banned))
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_greedy())
        return chain

    def reset(self) -> None:
        """Empty the cache, so that a prompt is never found in it, and set the engine's own clock to 0."""
        import llama_cpp

        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        llama_cpp.llama_synchronize(self.context)
        llama_cpp.llama_perf_context_reset(self.context)

    def engine_rates(self) -> dict[str, float | None]:
        """Tokens per second since `reset` as llama.cpp itself counts them, Python and sampling left out."""
        import llama_cpp

        perf = llama_cpp.llama_perf_context(self.context)
        return {
            "engine_prompt_tokens_per_second": 1000 * perf.n_p_eval / perf.t_p_eval_ms if perf.t_p_eval_ms else None,
            "engine_generation_tokens_per_second": 1000 * perf.n_eval / perf.t_eval_ms if perf.t_eval_ms else None,
        }


class Log:
    """Takes what llama.cpp has to say, hundreds of lines, off the screen, and keeps what is needed of it."""

    _kept: list = []  # noqa: RUF012 - of all: C holds no references, and may log until the process ends

    def __init__(self) -> None:
        import llama_cpp

        self._errors: list[str] = []
        self.flash_attention: str | None = None

        @llama_cpp.llama_log_callback
        def keep(level: int, text: bytes, _) -> None:
            line = text.decode(errors="replace").strip()
            if level == ERROR:
                self._errors.append(line.split(": ", 1)[-1])  # without the name of the C function
            found = re.search(r"Flash Attention\b.*\b(enabled|disabled)$", line)
            if found:
                self.flash_attention = found[1]

        self._kept.append(keep)
        llama_cpp.llama_log_set(keep, ctypes.c_void_p(0))

    def error(self) -> Exception:
        """What went wrong first, in llama.cpp's words."""
        reason = self._errors[0] if self._errors else "llama.cpp does not say why"
        reason = reason.removeprefix("error loading model: ")
        return MemoryError(reason) if "alloc" in reason else ValueError(reason)
