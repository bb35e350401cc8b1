"""More than 100 CSVs and things called .csv as careless or hostile people may send them, made by a function."""

import contextlib
import os
import socket
import sys
from pathlib import Path

from speed_test.compare import check, read
from speed_test.results import COLUMNS, GENERATION_COLUMNS
from tests.made_csvs import generation_row, training_row, write

# Texts that mean something to a browser, a terminal, a spreadsheet, Markdown, matplotlib, Plotly or a file system.
TEXTS = (
    *("<script>alert(1)</script>", "</script><script>alert(2)</script>", "<!--<script>", "]]><!--"),
    *("<img src=x onerror=alert(3)>", '" onmouseover="alert(4)', "<svg/onload=alert(5)>", "javascript:alert(6)"),
    *("<a href='javascript:alert(7)'>x</a>", "<iframe src=//x>", "&lt;b&gt;&#60;", "%{customdata[0]}", "${alert(8)}"),
    *("RTX $\\foo$", "$x_{$", "$$", "\\frac{", "_hidden", "__proto__", "constructor", "{0}", "%s%n"),
    *("\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467", "\u202egnp.exe", "\u05e9\u05dc\u05d5\u05dd", "\u2028x"),
    *("x" * 10_000, "Z" + "\u0335" * 500, "\u200b", "\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "a\x00b", "a\tb"),
    *("a\nWARNING: all is lost", "a\rb", "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "x;=1+1"),
    *("\uff1d1+1", "| a | b |", "# heading", "[a](http://b)", "![a](b)", "`code`", "1. one", "NUL", "overview"),
    *("../../x", "A (published)", "'", '"', "a,b", "nan", "None", "all", "\ufeffx", "\u3164", "\U000e0041"),
)
NUMBERS = (
    *("1e308", "5e-324", "1e400", "1_000", "\u0661\u0662", " 12 ", "0x10", "nan", "inf", "-1", "0", "0.0", "1e30"),
    *("0.000001", "86400001", "9" * 5000, "\u00b2", "1.5.2", "1,5", "+5", "1e-400", "True", "10000001", "1e5"),
)
TEXT_COLUMNS = (
    *("experiment", "framework", "model", "dataset", "input_size", "precision", "tf32", "compiled", "device"),
    *("chip", "cpu_cores", "gpu_cores", "memory_gb", "unit", "status", "estimated", "machine", "data", "os", "error"),
    *("cpu_model", "virtual", "power", "thermal_level", "throttle_reasons", "busiest_other_process", "cpu_fallback"),
    *("block_samples_per_second", "run_id"),
)
NUMBER_COLUMNS = ("epoch_seconds", "batch_size", "measurement_version", "epoch", "memory_gb", "warmup_seconds")
NUMBER_COLUMNS += ("run", "other_load_percent", "swap_growth_gb", "energy_joules", "measured_seconds", "other_sweeps")
BLOCKS = (
    *("1e12 1e-8 " * 30, "1e-8 " * 60, "1000000000000 " * 60, "1 " * 100, "1 2 " * 12, "5", "1 1e12", "0.5 " * 30),
    *("1 " * 101, "1,2", "1\t2", "nan", "1  2", "0", "1 0", "-5", "5 " * 5_000),
)
LONG_NAME = "Apple_M3_CIFAR100_resnet50_32_pytorch_results.csv"
OLDER = "batch_size,avg_time_per_epoch\n"


def make(folder: Path) -> list[Path]:
    """Make all of them below `folder` and return their paths."""
    folder.mkdir(parents=True)
    for number, text in enumerate(TEXTS):
        _of_text(folder, number, text)
    for number, text in enumerate(NUMBERS):
        rows = [training_row(machine="N"), *(training_row(machine="N", **{one: text}) for one in NUMBER_COLUMNS)]
        write(folder / f"N_number_{number}.csv", rows)
    for number, text in enumerate(BLOCKS):
        _of_blocks(folder, number, text.strip(" "))
    _of_bytes(folder)
    _of_columns(folder)
    _of_many(folder)
    _alike(folder)
    _older(folder)
    if os.name != "nt":
        _no_files(folder)
    return sorted(path for path in folder.rglob("*") if path.name.endswith(".csv"))


def look_at(path: Path) -> tuple[list, list[str]]:
    """What the reader makes of a CSV, and what --check says of it, which has to fit together."""
    try:
        measurements, left_out = read.read(path)
    except read.Unreadable as error:
        measurements, left_out = [], [str(error)]
    problems = list(check.problems(path))
    assert problems or not left_out, left_out
    for said in (*left_out, *problems):
        assert said.isprintable(), repr(said)
        assert len(said) < 500
    for facts, value, _ in measurements:
        assert all(text.isprintable() and len(text) <= 400 for text in facts if isinstance(text, str)), facts
        assert value is None or 1e-8 <= value <= 1e12
    return measurements, problems


def _of_text(folder: Path, number: int, text: str) -> None:
    """A file with a text in one column of each row, one with it in all columns, and one of answers."""
    name = f"T{number}"
    rows = [training_row(**{"machine": name, column: text}) for column in TEXT_COLUMNS]
    cells = dict.fromkeys(TEXT_COLUMNS, text) | {"status": "ok", "data": "real", "machine": name}
    write(folder / f"{name}_results.csv", [*rows, training_row(**cells), training_row(**cells | {"batch_size": 64})])
    # Fit to be contributed, where the text is.
    fit = {"chip": text, "model": text, "dataset": text, "experiment": text, "machine": name}
    write(folder / f"{name}_fit_results.csv", [training_row(**fit)])
    rows = [generation_row(**{"machine": name, column: text}) for column in ("model", "quantization", "chip", "answer")]
    write(folder / f"{name}_answers.csv", rows, GENERATION_COLUMNS)


def _of_blocks(folder: Path, number: int, text: str) -> None:
    """Two machines with such blocks, and every state as bad as it can be."""
    worst = {"other_load_percent": "100000", "swap_growth_gb": "1000000", "suspended_seconds": "86400000"}
    worst |= {"energy_joules": "1e-300", "compute_samples_per_second_after": "1e-8", "other_sweeps": "9999999999"}
    worst |= {
        "measured_seconds": "0.0",
        "emulated": "True",
        "thermal_level": "sleeping",
        "gpu_other_load_percent": "100000",
    }
    rows = [training_row(machine=f"W{number}", run=run, block_samples_per_second=text) for run in (1, 1, 2)]
    rows += [training_row(machine="W", run=1, epoch_seconds=1e-5, block_samples_per_second=text, **worst)]
    write(folder / f"W{number}_results.csv", rows)


def _of_bytes(folder: Path) -> None:
    good = write(folder / "B_good.csv", [training_row(machine="B"), training_row(machine="B", epoch_seconds=61.0)])
    text = good.read_text(encoding="utf-8")
    contents = {
        "empty": b"",
        "newline": b"\n",
        "bom_only": b"\xef\xbb\xbf",
        "bom": b"\xef\xbb\xbf" + text.encode(),
        "utf16": text.encode("utf-16"),
        "utf16_le": text.encode("utf-16-le"),
        "utf16_be": text.encode("utf-16-be"),
        "latin1": text.replace("resnet50", "r\u00e9snet").encode("latin-1"),
        "cr": text.replace("\n", "\r").encode(),
        "crlf": text.replace("\n", "\r\n").encode(),
        "form_feed": text.replace("\n", "\n\x0c", 1).encode(),
        "nul": text.replace("cuda", "cu\0da").encode(),
        "nuls": bytes(1000),
        "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        "json": b'[{"machine": "a", "status": "ok"}]',
        "html": b"<!DOCTYPE html><script>alert(9)</script>",
        "quote": text.replace("cuda", '"cuda', 1).encode(),
        "quote_at_the_end": (text + '32,1,"').encode(),
        "torn": text.encode()[:-20],
        "short": (text + "1,2,3\n").encode(),
        "wide": (text.replace("\n", ",,,,\n").replace(",,,,\n", "\n", 1)).encode(),
        "blank_lines": text.replace("\n", "\n\n\n").encode(),
        "many_blank_lines": (text + "\n" * 300_000).encode(),
        "many_short_lines": (text + "1\n" * 5_000).encode(),
        "surrogate": text.encode().replace(b"cuda", b"\xed\xa0\x80"),
        "semicolons": text.replace(",", ";").encode(),
        "spaces": text.replace(",", ", ").encode(),
        "large_cell": text.replace("cuda", "x" * 200_000).encode(),
        "conflict": f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n".encode(),
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    }
    for name, content in contents.items():
        (folder / f"B_{name}.csv").write_bytes(content)
    with open(folder / "B_60_mb.csv", "wb") as file:  # a hole: it takes no room on the disk
        file.truncate(60 * 2**20)


def _of_columns(folder: Path) -> None:
    rows = [training_row(machine="C"), training_row(machine="C", batch_size=64)]
    write(folder / "C_no_rows.csv", [])
    for column in ("precision", "status", "machine", "device", "data", "batch_size", "epoch_seconds", "experiment"):
        kept = [one for one in COLUMNS if one != column]
        write(folder / f"C_no_{column}.csv", [{name: row[name] for name in kept} for row in rows], kept)
    kept = [one for one in GENERATION_COLUMNS if one != "quantization"]
    write(folder / "C_no_quantization.csv", [{name: generation_row()[name] for name in kept}], kept)
    line = ",".join(str(rows[0][name]) for name in COLUMNS)
    (folder / "C_twice.csv").write_text(f"{','.join(COLUMNS)},machine\n{line},D\n")
    (folder / "C_100000.csv").write_text(",".join(f"c{n}" for n in range(100_000)) + "\n" + "," * 99_999 + "\n")
    (folder / "C_nasty_names.csv").write_text(f"{','.join(COLUMNS)},\x1b[31m,<b>\n{line},1,2\n", newline="\n")
    own = {"experiment": "e", "figure": "\x1b[31m", "unit": "u", "better": "lower", "machine": "C", "status": "ok"}
    write(folder / "C_nasty_figure.csv", [own | {"\x1b[31m": 5}, own | {"\x1b[31m": "x"}], [*own, "\x1b[31m"])
    write(folder / "C_source.csv", [row | {"source": "published"} for row in rows], [*COLUMNS, "source"])
    write(folder / "C_value.csv", [row | {"value": "x", "kind": "1"} for row in rows], [*COLUMNS, "value", "kind"])


def _of_many(folder: Path) -> None:
    """More of something than anybody has."""
    write(folder / "M_batches.csv", [training_row(machine="M", batch_size=n, epoch_seconds=n) for n in range(1, 2001)])
    for column in ("experiment", "model", "precision", "machine", "status", "unit"):
        rows = [training_row(**{"machine": "M", column: f"{column}{n}"}) for n in range(300)]
        write(folder / f"M_{column}.csv", rows)
    rows = [generation_row(machine="M", model=f"model {n}", parameters=1) for n in range(300)]
    write(folder / "M_models.csv", rows, GENERATION_COLUMNS)


def _alike(folder: Path) -> None:
    """Names that become the same when they are put together."""
    pairs = {
        "series": ({"data": "synthetic"}, {"machine": "A_synthetic"}),
        "marks": ({"device": "cpu"}, {"device": "cuda"}, {"precision": "cpu"}, {"device": "mps", "precision": "cpu"}),
        "unknown": ({"device": ""}, {"device": "unknown"}, {"tf32": ""}, {"tf32": "unknown"}),
        "hosts": ({"cpu_model": "a"}, {"cpu_model": "b"}, {"virtual": "a"}, {"cpu_model": "processor unknown"}),
        "charts": ({"model": "a"}, {"model": "A"}, {"model": "a_CIFAR100_32_2", "dataset": "", "input_size": ""}),
        "titles": ({"model": "a", "unit": "x"}, {"model": "a", "unit": "y"}, {"model": "a on CIFAR100, PyTorch, x"}),
        "tests": ({"model": "cifar100", "dataset": "", "input_size": ""}, {"model": "pytorch_imdb", "framework": ""}),
        "known": ({"model": "pytorch_imdb", "framework": "", "dataset": "", "input_size": ""},),
        "page": ({"model": "overview", "framework": "", "dataset": "", "input_size": ""},),
        "published": ({"machine": "published Apple M3"}, {"machine": "older Apple M3"}, {"machine": "Apple M3"}),
    }
    for name, variants in pairs.items():
        rows = [
            training_row(machine="A", chip=""),
            *(training_row(**{"machine": "A", "chip": ""} | one) for one in variants),
        ]
        write(folder / f"A_{name}.csv", [*rows, *(row | {"batch_size": 64} for row in rows)])


def _older(folder: Path) -> None:
    folder = folder / "older"
    folder.mkdir()
    for number, size in enumerate(("1e400", "1e300", "-5", "16.7", "16.0", "\u0661", "nan", "9" * 5000)):
        (folder / f"M{number}_{LONG_NAME}").write_text(f"{OLDER}{size},300.0\n32,1e-320\n64,1e308\n", encoding="utf-8")
    names = [LONG_NAME.replace("CIFAR100", "\u0131mdb"), LONG_NAME.replace("32", "\u0663\u0662")]
    names += [LONG_NAME.replace("pytorch", "ten\u017forflow"), LONG_NAME.replace("Apple_M3", "  "), "x_CIFAR100.csv"]
    if os.name != "nt":
        names += [
            LONG_NAME.replace("resnet50", text) for text in ("\x1b[31m", "a\nWARNING: b", "<img src=x>", "\u202e")
        ]
    for name in names:
        (folder / name).write_text(f"{OLDER}16,300.0\n", encoding="utf-8")
    trainer = "batch_size,train_runtime,epoch\n16,1e-5,1e12\n32,600.0,0\n64,600.0,3.0\n"
    (folder / "Apple_M3_IMDB_distilbert-base-uncased_512_pytorch_results.csv").write_text(trainer)
    answers = "question,tokens_per_second\nWhy?,1e308\nWhy?,12\nWhy?,x\n"
    (folder / "Apple_M3_\u202ellama-2-7b-chat.Q4_0.gguf_results.csv").write_text(answers)


def _no_files(folder: Path) -> None:
    """What is no regular file, or cannot be read, or has a name that does something to a terminal."""
    (folder / "S_folder.csv").mkdir()
    os.mkfifo(folder / "S_pipe.csv")
    (folder / "S_dangling.csv").symlink_to("nowhere")
    (folder / "S_loop.csv").symlink_to("S_loop.csv")
    (folder / "S_zero.csv").symlink_to("/dev/zero")
    (folder / "S_null.csv").symlink_to("/dev/null")
    (folder / "S_pipe_behind_a_link.csv").symlink_to("S_pipe.csv")
    (folder / "S_unreadable.csv").write_text("a,b\n1,2\n")
    (folder / "S_unreadable.csv").chmod(0)
    with contextlib.suppress(OSError), contextlib.chdir(folder), socket.socket(socket.AF_UNIX) as one:
        one.bind("S_socket.csv")  # relative, as the names of sockets are short
    good = [training_row(machine="S")]
    for number, name in enumerate(("\x1b[31mred", "a\nWARNING: forged", "\u202egnp", "-x", "%s", "$(id)", "\x9b2J")):
        write(folder / f"S{number}{name}.csv", good)
        (folder / f"S{number}{name}_bad.csv").write_bytes(b"")
    if sys.platform == "linux":  # a Mac has names in UTF-8 only
        with open(os.fsencode(folder) + b"/S_\xff\xfe.csv", "wb") as file:
            file.write(b"a,b\n")
