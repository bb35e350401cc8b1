"""Markdown of texts that may come from anybody's CSV."""

import re
from collections.abc import Iterator


def _at_a_start(found: re.Match) -> str:
    """What would begin a heading or a list, if it stood at the start of a line."""
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"


def escaped(text: str) -> str:
    """`text`, which may come from anybody's CSV, so that Markdown reads no markup or address in it."""
    text = re.sub(r"([\\`*\[\]<>&|~$@]|:(?=//)|(?<=www)\.)", r"\\\1", text)
    text = re.sub(r"^([#+=-]|[0-9]+(?=[.)]( |$)))", _at_a_start, text)
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # an "_" inside a word stands for itself
    # GitHub still writes to "\@name" and links "\#12" and "GH-12": it looks for them after Markdown has taken the
    # backslash away (github/markup#1168). An empty comment in between stops it.
    return re.sub(r"@(?=\w)|#(?=[0-9])|\bGH-(?=[0-9])", r"\g<0><!-- -->", text, flags=re.IGNORECASE)


def pipes(lines: list[list[str]], numbers: bool = True, is_escaped: bool = False) -> Iterator[str]:
    """The lines of a table, the first of `lines` being its heading. From the second column on they are flush right if
    they are `numbers`. A newline in a cell begins its second line. Cells are escaped unless they are already."""
    for number, line in enumerate(lines):
        cells = line if is_escaped else [escaped(cell).replace("\n", "<br>") for cell in line]
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield "| --- |" + (" ---: |" if numbers else " --- |") * (len(line) - 1)
