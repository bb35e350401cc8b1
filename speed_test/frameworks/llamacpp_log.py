"""What llama.cpp and the files of models say, made fit for a screen and a CSV."""

import ctypes
import re

ERROR = 4  # GGML_LOG_LEVEL_ERROR of ggml.h


def clean(text: str, longest: int = 200, lines: bool = False) -> str:
    """A stranger's text without the characters that control a terminal or turn the direction of writing round.

    Each of them becomes a replacement character; with `lines`, line breaks and tabs stay.
    """
    kept = "\n\t" if lines else ""
    shown = (letter if letter.isprintable() or letter in kept else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return "".join(shown)[:longest]


class Log:
    """Keeps llama.cpp's hundreds of log lines off the screen, and remembers the few that are needed."""

    _kept: list = []  # noqa: RUF012 - of all logs: C holds no references, and may log until the process ends

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
        reason = clean(reason.removeprefix("error loading model: "))
        return MemoryError(reason) if "alloc" in reason else ValueError(reason)
