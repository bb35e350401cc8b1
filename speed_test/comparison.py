"""CSVs into figures that can be compared: our own rows, the published ones, and those of the older scripts.

The older scripts are https://github.com/mrdbourke/mac-ml-speed-test, which this project continues; their files
lie on many a machine. They hold one mean for each batch size (`batch_size,avg_time_per_epoch`), the metrics of
Hugging Face's Trainer for all epochs together, or a row for each answer of Llama 2.
"""

import csv
import io
import re
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from speed_test.results import COLUMNS, FIXED, FIXED_OF_GENERATION, GENERATION_COLUMNS

PUBLISHED = Path(__file__).resolve().parent.parent / "published" / "december_2023.csv"
LLAMA_2_7B = "Llama 2 7B Q4_0"
LLAMA_2_7B_PARAMETERS = "6738415616"

# Why a row is no whole epoch of the real data in float32 by these scripts; it is then never pooled with such ones.
MARKS = {
    "synthetic": "synthetic data or weights",
    "estimated": "estimated from a part of the epoch",
    "older": "measured with the older scripts that this project continues",
}


@dataclass(frozen=True)
class Title:
    """What an experiment is called, and what its figures are."""

    framework: str
    work: str
    chart: str
    unit: str = "seconds per epoch"
    across: str = "batch size"

    @property
    def lower_is_better(self) -> bool:
        return self.unit == "seconds per epoch"

    @property
    def better(self) -> str:
        return "lower is better" if self.lower_is_better else "higher is better"

    def __str__(self) -> str:
        return f"{self.work}, {self.framework}"


EXPERIMENTS = {
    "pytorch_cifar100": Title("PyTorch", "ResNet50 on CIFAR100", "pytorch_cv_resnet50_cifar100"),
    "pytorch_food101": Title("PyTorch", "ResNet50 on Food101", "pytorch_cv_resnet50_food101"),
    "pytorch_imdb": Title("PyTorch", "DistilBERT on IMDB", "pytorch_nlp_distilbert_imdb"),
    "tensorflow_cifar100": Title("TensorFlow", "ResNet50 on CIFAR100", "tensorflow_cv_resnet50_cifar100"),
    "tensorflow_food101": Title("TensorFlow", "ResNet50 on Food101", "tensorflow_cv_resnet50_food101"),
    "tensorflow_imdb": Title("TensorFlow", "Small transformer on IMDB", "tensorflow_nlp_imdb"),
    "llama2": Title(
        "llama.cpp",
        "Text generation",
        "llamacpp_tokens_per_second",
        "tokens per second (answer by total time)",
        "model",
    ),
}


class Unreadable(Exception):
    """A file that holds no figures. Its text completes "it ..."."""


@dataclass(frozen=True)
class Machine:
    """`key` tells it from every other; `name` is short, `label` says cores and memory as well."""

    key: str
    name: str
    label: str
    published: bool = False

    @property
    def order(self) -> tuple[bool, str, str]:
        """What machines are sorted by: measured before published ones, then by name."""
        return self.published, self.name, self.label


@dataclass
class Cell:
    """The figures of a machine at one batch size (or of one model): `values` of what worked, else a status."""

    values: list[float] = field(default_factory=list)
    status: str = "ok"

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    def ties_with(self, other: "Cell") -> bool:
        """Whether the spreads, from the lowest to the highest value, have a point in common."""
        return max(min(self.values), min(other.values)) <= min(max(self.values), max(other.values))


@dataclass
class Series:
    """All figures of a machine in one experiment that are of one kind; `marks` are keys of MARKS, or a precision."""

    machine: Machine
    marks: tuple[str, ...]
    cells: dict[int | str, Cell] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return " ".join([self.machine.key, *self.marks])

    def best(self, lower_is_better: bool) -> Cell | None:
        """The cell with the best median."""
        done = [cell for cell in self.cells.values() if cell.values]
        choose = min if lower_is_better else max
        return choose(done, key=lambda cell: cell.median) if done else None


@dataclass(frozen=True)
class Figure:
    """One row: a value of `experiment` at `group`, a batch size or the name of a model; None where it failed."""

    experiment: str
    machine: Machine
    marks: tuple[str, ...]
    group: int | str
    value: float | None
    status: str


def find(paths: Iterable[Path]) -> list[Path]:
    """The CSVs that `paths` are or hold, each once. Raises FileNotFoundError for one that is not there."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found |= dict.fromkeys(sorted(path.rglob("*.csv")))
        elif path.exists():
            found[path] = None
        else:
            raise FileNotFoundError(path)
    return list(found)


def collect(figures: Iterable[Figure]) -> dict[str, list[Series]]:
    """experiment -> its series, in the order of EXPERIMENTS: measured machines first, then published ones."""
    series: dict[tuple, Series] = {}
    for figure in figures:
        key = figure.experiment, figure.machine.key, figure.marks, figure.machine.published
        if key not in series:
            series[key] = Series(figure.machine, figure.marks)
        cell = series[key].cells.setdefault(figure.group, Cell(status=figure.status))
        if figure.value is not None:
            cell.values.append(figure.value)
            cell.status = "ok"
    together: dict[str, list[Series]] = {}
    for experiment in EXPERIMENTS:
        some = [one for key, one in series.items() if key[0] == experiment]
        if some:
            together[experiment] = sorted(some, key=lambda one: (one.machine.order, one.marks))
    return together


def groups(series: Iterable[Series]) -> list[int | str]:
    """All batch sizes, or models, that any of the series has, in order."""
    return sorted({group for one in series for group in one.cells}, key=lambda group: (isinstance(group, str), group))


def speed(cell: Cell, baseline: Cell, lower_is_better: bool) -> float:
    """How many times as fast as the baseline's; both need values."""
    ratio = baseline.median / cell.median
    return ratio if lower_is_better else 1 / ratio


# ---- Reading ----


def published() -> Iterator[Figure]:
    """The figures of published/december_2023.csv; published/README.md says where they are from."""
    with open(PUBLISHED, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name = row["machine"]
            facts = [name]
            if row["gpu_cores"]:
                facts.append(f"{row['gpu_cores']} GPU cores")
            if not name.endswith("GB"):
                facts.append(f"{row['memory_gb']} GB")
            machine = Machine(f"published {name}", name, ", ".join(facts), published=True)
            for column, cell in row.items():
                group = LLAMA_2_7B if column == "tokens_per_second" else int(column) if column.isdigit() else None
                if group is not None and cell:
                    failed = cell == "failed"
                    value = None if failed else float(cell)
                    yield Figure(row["experiment"], machine, (), group, value, "failed" if failed else "ok")


def read(path: Path) -> tuple[list[Figure], list[str]]:
    """The figures of a CSV, and what of it is left out, a sentence for each. Raises Unreadable for a file without."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise Unreadable("is not text") from None
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        header = next(rows)
        body = [(rows.line_num, row) for row in rows if row]
    except StopIteration:
        raise Unreadable("is empty") from None
    except csv.Error as error:
        raise Unreadable(f"is no CSV ({error})") from None
    # Ours end every row with a newline, so a last row without one may have lost the end of its last cell.
    torn = not text.endswith("\n") and "code_version" in header and body and len(body[-1][1]) == len(header)
    last = [f"line {body.pop()[0]} is cut short"] if torn else []
    notes: list[str] = []
    figures = list(_figures(path, header, _whole(body, len(header), notes), notes))
    notes += last
    if not figures and not notes:
        raise Unreadable("has no rows")
    return figures, notes


def _whole(body: list[tuple[int, list[str]]], width: int, notes: list[str]) -> Iterator[tuple[int, list[str]]]:
    for number, row in body:
        if len(row) == width:
            yield number, row
        else:
            notes.append(f"line {number} is cut short" if len(row) < width else f"line {number} has too many cells")


def _figures(path: Path, header: list[str], rows, notes: list[str]) -> Iterator[Figure]:
    columns = {name: place for place, name in enumerate(header)}
    if {"batch_size", "epoch_seconds", "experiment", "machine"} <= columns.keys():
        reader = _training
    elif {"question", "tokens_per_second", "machine", "model", "status"} <= columns.keys():
        reader = _generation
    elif {"batch_size", "avg_time_per_epoch"} <= columns.keys():
        reader = _older_means
    elif {"batch_size", "train_runtime", "epoch"} <= columns.keys():
        reader = _older_trainer
    elif {"question", "tokens_per_second"} <= columns.keys():
        reader = _older_answers
    else:
        raise Unreadable("has columns of neither these nor the older scripts")
    return reader(path, columns, rows, notes)


def _number(text: str) -> float:
    """Raises ValueError for what is no finite number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def _training(path, columns, rows, notes) -> Iterator[Figure]:
    of = columns.__getitem__
    names = ("batch_size", "epoch_seconds", "status", "data", "estimated", "experiment", "precision", "machine")
    batch, seconds, status, data, estimated, experiment, precision, key = map(of, names)
    # A failed row says nothing about being estimated: it goes where the rows are that worked at other batch sizes.
    machines: dict[str, Machine] = {}
    failures, worked = [], {}
    for number, row in rows:
        if row[experiment] not in EXPERIMENTS:
            notes.append(f"line {number}: {row[experiment]!r} is no experiment of these scripts")
            continue
        if row[key] not in machines:
            machines[row[key]] = _machine(row, columns)
        machine = machines[row[key]]
        marks = ("synthetic",) if row[data] == "synthetic" else ()
        other = () if row[precision] == "float32" else (row[precision],)
        try:
            if row[status] != "ok":
                failures.append((row[experiment], machine, marks, other, int(row[batch]), row[status]))
                continue
            part = row[estimated] == "True"
            worked.setdefault((row[experiment], machine.key, marks, other), part)
            whole = (*marks, *(("estimated",) if part else ()), *other)
            yield Figure(row[experiment], machine, whole, int(row[batch]), _number(row[seconds]), "ok")
        except ValueError:
            notes.append(f"line {number}: batch_size or epoch_seconds is no number above 0")
    for name, machine, marks, other, group, why in failures:
        part = worked.get((name, machine.key, marks, other), False)
        yield Figure(name, machine, (*marks, *(("estimated",) if part else ()), *other), group, None, why)


def _generation(path, columns, rows, notes) -> Iterator[Figure]:
    machines: dict[str, Machine] = {}
    for number, row in rows:
        cell = {name: row[place] for name, place in columns.items()}
        if cell["machine"] not in machines:
            machines[cell["machine"]] = _machine(row, columns)
        model = f"{cell['model']} {cell['quantization']}".strip()
        if (cell.get("parameters"), cell["quantization"]) == (LLAMA_2_7B_PARAMETERS, "Q4_0"):
            model = LLAMA_2_7B
        marks = ("synthetic",) if cell["data"] == "synthetic" else ()
        try:
            value = _number(cell["tokens_per_second"]) if cell["status"] == "ok" else None
        except ValueError:
            notes.append(f"line {number}: tokens_per_second is no number above 0")
            continue
        yield Figure("llama2", machines[cell["machine"]], marks, model, value, cell["status"])


def _machine(row: list[str], columns: dict[str, int]) -> Machine:
    cell = {name: row[columns[name]] if name in columns else "" for name in ("machine", "chip", "device", "memory_gb")}
    kind = "CPU" if cell["device"] == "cpu" else "GPU"
    cores = row[columns[f"{kind.lower()}_cores"]] if f"{kind.lower()}_cores" in columns else ""
    name = cell["chip"] or cell["machine"].replace("_", " ")
    facts = [name]
    if cores and cell["device"] != "cuda":  # of NVIDIA's, multiprocessors are counted, which nobody buys by
        facts.append(f"{cores} {kind} cores")
    if cell["memory_gb"]:
        facts.append(f"{cell['memory_gb']} GB")
    return Machine(cell["machine"], name, ", ".join(facts))


OLDER_NAME = re.compile(
    r"(?P<machine>.+?)_(?P<dataset>CIFAR100?|FOOD101|IMDB)_(?P<model>[^_]+)_\d+(_(?P<framework>pytorch|tensorflow))?",
    re.IGNORECASE,
)
# Both may have "_" in them, the model in the name of its type only: "Apple_M3_llama-2-7b-chat.Q4_0.gguf_results".
OLDER_MODEL = re.compile(
    r"(?P<machine>.+)_(?P<model>[^_]+[.-](I?Q\d(_[A-Z0-9]+)*|B?F16|F32))(\.gguf)?(_results)?$", re.IGNORECASE
)


def _older(path: Path) -> tuple[str, Machine]:
    """Experiment and machine from a file's name, which is all that says them there."""
    found = OLDER_NAME.match(path.stem)
    if not found:
        raise Unreadable("is of the older scripts, and its name says neither machine nor experiment")
    framework = found["framework"] or ("tensorflow" if found["model"] == "SmallTransformer" else "pytorch")
    dataset = "cifar100" if found["dataset"].upper().startswith("CIFAR") else found["dataset"].lower()
    return f"{framework.lower()}_{dataset}", _older_machine(found["machine"])


def _older_machine(name: str) -> Machine:
    name = " ".join(name.replace("_", " ").split())
    return Machine(f"older {name}", name, name)


def _older_means(path, columns, rows, notes) -> Iterator[Figure]:
    experiment, machine = _older(path)
    for number, row in rows:
        yield from _older_row(
            experiment, machine, number, row, columns, lambda row: _number(row[columns["avg_time_per_epoch"]]), notes
        )


def _older_trainer(path, columns, rows, notes) -> Iterator[Figure]:
    experiment, machine = _older(path)

    def seconds(row: list[str]) -> float:
        return _number(row[columns["train_runtime"]]) / _number(row[columns["epoch"]])

    for number, row in rows:
        yield from _older_row(experiment, machine, number, row, columns, seconds, notes)


def _older_row(experiment, machine, number, row, columns, seconds, notes) -> Iterator[Figure]:
    try:
        group = int(float(row[columns["batch_size"]]))
        value = None if "FAILED" in row else seconds(row)
    except ValueError:
        notes.append(f"line {number} has no numbers where they belong")
        return
    yield Figure(experiment, machine, ("older",), group, value, "ok" if value else "failed")


def _older_answers(path, columns, rows, notes) -> Iterator[Figure]:
    found = OLDER_MODEL.match(path.stem)
    if not found:
        raise Unreadable("is of the older scripts, and its name says neither machine nor model")
    machine, model = _older_machine(found["machine"]), found["model"]
    model = LLAMA_2_7B if model.lower() == "llama-2-7b-chat.q4_0" else model
    for number, row in rows:
        try:
            value = None if "FAILED" in row else _number(row[columns["tokens_per_second"]])
        except ValueError:
            notes.append(f"line {number} has no numbers where they belong")
            continue
        yield Figure("llama2", machine, ("older",), model, value, "ok" if value else "failed")


# ---- What a contributor's file has to be ----


def problems(path: Path) -> Iterator[str]:
    """What is wrong with a CSV as an addition to results/, a sentence for each: it has to be as a script wrote it."""
    text = path.read_bytes()
    try:
        rows = list(csv.reader(io.StringIO(text.decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        yield f"is no CSV ({error})"
        return
    columns = tuple(rows[0]) if rows else ()
    if not any(columns[: len(fixed)] == fixed for fixed in (COLUMNS[:FIXED], GENERATION_COLUMNS[:FIXED_OF_GENERATION])):
        yield "does not have the columns of these scripts"
        return
    if len(rows) == 1:
        yield "has no rows"
    if not text.endswith(b"\n"):
        yield "ends in the middle of a row"
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(columns):
            yield f"row {number} has {len(row)} cells in place of {len(columns)}"
            continue
        yield from (f"row {number}: {what}" for what in _wrong(dict(zip(columns, row, strict=True)), path))


ABOVE_ZERO = (
    *("batch_size", "epoch", "epoch_seconds", "samples_per_second", "measured_seconds", "measured_samples"),
    *("compute_samples_per_second", "total_time", "answer_token_len", "tokens_per_second", "prompt_tokens"),
    *("prompt_seconds", "generation_seconds", "generation_tokens_per_second"),
)


def _wrong(row: dict[str, str], path: Path) -> Iterator[str]:
    if row["status"] not in ("ok", "out_of_memory", "failed", "skipped"):
        yield f"status is {row['status']!r}"
    if row["status"] != "ok" and not row["error"]:
        yield "did not work, and error does not say why"
    if row["data"] not in ("real", "synthetic"):
        yield f"data is {row['data']!r}"
    for column in ("machine", "framework_version", "os", "python_version", "started_at", "run_id"):
        if not row[column]:
            yield f"{column} is empty"
    if not path.name.startswith(f"{row['machine']}_"):
        yield f"machine is {row['machine']}, and the file is another one's"
    if (row["data"] == "synthetic") != ("_synthetic_results" in path.name):
        yield f"data is {row['data']}, and the file's name says otherwise"
    if "experiment" in row and row["experiment"] not in EXPERIMENTS:
        yield f"experiment is {row['experiment']!r}"
    if row["status"] == "ok":
        for column in row.keys() & set(ABOVE_ZERO):
            try:
                _number(row[column])
            except ValueError:
                yield f"{column} is {row[column]!r}, no number above 0"
