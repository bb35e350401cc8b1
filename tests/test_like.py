"""compare_results.py --like: how long work takes and what it costs, by hand-computed numbers."""

import argparse
import csv
import importlib
import io
import json
import re

import pytest

from speed_test.arguments import prices
from speed_test.compare import like, like_text, read, shown, speeds, table
from speed_test.compare.known import KNOWN
from speed_test.scripts import speed_tests
from tests.made_csvs import HOME, compare, generation_row, runs, training_row, write

THE_ISSUES = ("--like=pytorch_imdb", "--samples=200000", "--epochs=3")
PRICE = "--price=Apple M3 Max=3199, NVIDIA TITAN RTX=3000"
RENT = "--rent=NVIDIA Tesla V100=0.90"
V100 = "published NVIDIA Tesla V100-SXM2-16GB"


def compared(measurements):
    return speeds.compare(table.cells(read.frame(measurements)), None, [])


@pytest.fixture(scope="module")
def published():
    """All published figures, compared."""
    return compared(list(read.published()))


def made(folder, rows, **columns):
    """These rows, compared."""
    measurements, notes = read.read(write(folder / "results" / "made.csv", rows, **columns))
    assert notes == []
    return compared(measurements)


def works(figures, test, price="", rent="", **asked):
    """The records of work like a test, by the machines' keys, in their order."""
    work = like.work(figures, test, **asked)
    _, records = like.records(like.with_money(work, figures, price and prices(price), rent and prices(rent)))
    return {one["machine_key"]: one for one in records}


# ---- Times ----


def test_published_machines_the_fastest_first(published):
    found = works(published, "pytorch_imdb", samples=200_000, epochs=3)
    # 200,000 samples 3 times are 24 epochs of 25,000.
    assert [(key.removeprefix("published "), one["seconds"]) for key, one in found.items()] == [
        ("NVIDIA Tesla V100-SXM2-16GB", pytest.approx(24 * 161.0)),
        ("NVIDIA TITAN RTX", pytest.approx(24 * 181.0)),
        ("Apple M3 Max", pytest.approx(24 * 510.4)),
        ("Apple M1 Pro", pytest.approx(24 * 799.6)),
        ("Apple M3 Pro", pytest.approx(24 * 867.7)),
        ("Apple M3", pytest.approx(24 * 2129.6)),
    ]
    titan = found["published NVIDIA TITAN RTX"]
    assert titan["per_second"] == pytest.approx(25_000 / 181.0)
    assert (titan["batch_size"], titan["samples"], titan["epochs"], titan["tokens"]) == (128, 200_000, 3, None)
    for column in ("half_width", "lowest_seconds", "highest_seconds", "price", "rent_per_hour", "rent_per_run"):
        assert titan[column] is None


def test_by_default_it_is_one_epoch_of_the_test_or_a_million_tokens(published):
    found = works(published, "TENSORFLOW_food101")[V100]
    assert (found["samples"], found["epochs"], found["seconds"]) == (75_750, 1, pytest.approx(257.3))
    found = works(published, "llama2")["published Apple M3"]
    assert (found["tokens"], found["samples"], found["seconds"]) == (1_000_000, None, pytest.approx(1e6 / 20.9))
    found = works(published, "llama2", tokens=209)["published Apple M3"]
    assert (found["seconds"], found["model"], found["batch_size"]) == (pytest.approx(10), "Llama 2 7B Q4_0", None)


def test_known_tests_have_as_many_samples_as_their_scripts():
    scripts = [importlib.import_module(path.stem) for path in speed_tests()]
    samples = {script.EXPERIMENT.name: script.EXPERIMENT.samples for script in scripts if script.EXPERIMENT.batch_sizes}
    assert len(samples) == 6
    assert samples == {name: known.samples for name, known in KNOWN.items() if name != "llama2"}


def test_the_interval_is_the_half_width_around_the_time(tmp_path):
    figures = made(tmp_path, [*runs([500, 505, 495], half_width=0.01), *runs([100], batch_size=64)])
    found = works(figures, "pytorch_cifar100", samples=5_000_000)[HOME]
    half = found["half_width"]
    assert 0.001 < half < 0.2
    assert found["seconds"] == pytest.approx(5_000_000 / 500)
    assert found["lowest_seconds"] == pytest.approx(10_000 * (1 - half))
    assert found["highest_seconds"] == pytest.approx(10_000 * (1 + half))


@pytest.mark.parametrize(
    ("half_width", "ends"),
    [(0.25, (7.5, 12.5)), (1.0, (None, 20.0)), (30.0, (None, 310.0)), (None, (None, None))],
)
def test_the_ends_of_the_interval(tmp_path, half_width, ends):
    pandas = pytest.importorskip("pandas")
    cells = pandas.DataFrame({"half_width": [half_width]}, dtype=float)
    found = like.times(cells, pandas.Series([10.0]), pandas.Series([1.0])).iloc[0]
    assert [None if end != end else end for end in found[["lowest_seconds", "highest_seconds"]]] == list(ends)


def test_a_figure_of_one_process_in_float32_stands_for_a_machine(tmp_path):
    """And what is special about one, where there is no such figure."""
    rows = [training_row(epoch_seconds=100.0), training_row(epoch_seconds=10.0, precision="bfloat16")]
    rows += [training_row(epoch_seconds=10.0, num_processes=2)]
    rows += [training_row(epoch_seconds=20.0, num_processes=2, data="synthetic", machine="B", chip="Chip B")]
    found = works(made(tmp_path, rows), "pytorch_cifar100")
    assert (found[HOME]["seconds"], found[HOME]["marks"]) == (pytest.approx(100), "")
    assert (found["B"]["seconds"], found["B"]["marks"]) == (pytest.approx(20), "synthetic 2 processes")


def other(seconds, samples, **cells):
    """A row of another test, whose epochs have a number of samples that only rows tell."""
    own = {"experiment": "mine", "model": "mlp", "power": "mains", "epoch_seconds": seconds}
    return training_row(**own | {"measured_seconds": seconds, "measured_samples": samples} | cells)


def test_rows_of_other_tests_tell_their_samples(tmp_path):
    rows = [other(10.0, 1000)]
    rows += [other(20.0, 100, measured_seconds=2.0, estimated="True", machine="B", chip="B")]
    rows += [other(40.0, "", machine="C", chip="C")]  # taken to have as many as the others
    rows += [other(40.0, 4000, machine="Z", chip="Z")]
    figures = made(tmp_path, rows)
    found = works(figures, "mine", samples=2000, epochs=2)
    seconds = {key[:1]: (one["seconds"], one["per_second"]) for key, one in found.items()}
    assert seconds == {"N": (40, 100), "B": (80, 50), "C": (160, 25), "Z": (40, 100)}
    assert {one["samples"] for one in works(figures, "mine").values()} == {1000}


def test_where_nothing_tells_the_samples_there_are_epochs_only(tmp_path):
    figures = made(tmp_path, [other(10.0, ""), other(10.0, "0.01"), other(10.0, "9" * 10, measured_seconds=1e-9)])
    (found,) = works(figures, "mine", epochs=3).values()
    assert (found["seconds"], found["samples"], found["per_second"]) == (30, None, None)
    assert like_text.heading(like.work(figures, "mine")) == "1 epoch: like mlp on CIFAR100, PyTorch"
    with pytest.raises(like.Impossible, match="--samples: nothing tells how many samples an epoch of mlp on CIFAR100"):
        like.work(figures, "mine", samples=5)


def test_a_test_with_several_models_is_asked_for_by_model(tmp_path):
    rows = [
        generation_row(machine=name, chip=name, tokens_per_second=rate)
        for name, rate in zip("ABC", (40, 50, 60), strict=True)
    ]
    rows += [{**row, "parameters": 1, "model": "Tiny", "tokens_per_second": 400} for row in rows[:2]]
    figures = made(tmp_path, rows, columns=list(rows[0]))
    assert list(works(figures, "llama2")) == ["C", "B", "A"]  # of the model that most machines have
    tiny = works(figures, "llama2: tiny Q4_0", tokens=800)
    assert [(key, one["seconds"], one["model"]) for key, one in tiny.items()] == [
        ("A", 2, "Tiny Q4_0"),
        ("B", 2, "Tiny Q4_0"),
    ]


def test_several_tests_of_one_experiment_have_names_of_their_own(tmp_path):
    figures = made(tmp_path, [training_row(epoch_seconds=9.0, model="MLP"), training_row(epoch_seconds=5.0)])
    assert works(figures, "pytorch_cifar100")[HOME]["seconds"] == pytest.approx(5)
    assert works(figures, "pytorch_mlp_cifar100_32")[HOME]["seconds"] == pytest.approx(9)
    figures = made(
        tmp_path, [other(1.0, 10), other(1.0, 10, model="gru"), other(1.0, 10, experiment="alone", model="cnn")]
    )
    assert sorted(like.names(figures)) == ["alone", "pytorch_gru_CIFAR100_32", "pytorch_mlp_CIFAR100_32"]


# ---- Money ----


def test_price_and_rent(published):
    given = {"price": PRICE.removeprefix("--price="), "rent": RENT.removeprefix("--rent=")}
    found = works(published, "pytorch_imdb", samples=200_000, epochs=3, **given)
    titan, m3_max, v100 = (found[key] for key in ("published NVIDIA TITAN RTX", "published Apple M3 Max", V100))
    assert titan["per_second_per_1000"] == pytest.approx(25_000 / 181.0 / 3)
    assert m3_max["per_second_per_1000"] == pytest.approx(25_000 / 510.4 / 3.199)
    assert v100["rent_per_run"] == pytest.approx(0.966)  # 3,864 seconds
    assert (v100["price"], titan["rent_per_run"]) == (None, None)
    # 3,000 / 0.966 is 3,105.6, and 3,199 / 0.966 is 3,311.6.
    column = f"runs_to_pay_off: {V100}"
    assert [one[column] for one in (titan, m3_max, v100)] == [3106, 3312, None]


@pytest.mark.parametrize(
    ("price", "rent", "runs"),
    [(3.0, 0.1, 30), (2.1, 0.3, 7), (3000.0, 0.3, 10_000), (3000.01, 0.3, 10_001), (1.0, 50.0, 1)],
)
def test_pays_off(price, rent, runs):
    assert like.pays_off(price, rent) == runs


def test_a_published_machine_and_ones_own_of_the_same_name_share_a_price(tmp_path):
    m3_max = {"chip": "Apple M3 Max", "gpu_cores": 30, "device": "mps"}
    rows = [training_row(machine="Own", memory_gb=36, **m3_max)]
    measurements, _ = read.read(write(tmp_path / "own.csv", rows))
    found = works(compared([*read.published(), *measurements]), "pytorch_cifar100", price="Apple M3 Max=2000")
    assert sorted(key for key, one in found.items() if one["price"] == 2000) == ["Own", "published Apple M3 Max"]
    rows += [training_row(machine="Own_2", memory_gb=128, **m3_max)]
    figures = made(tmp_path, rows)
    reason = "'Apple M3 Max' may be Apple M3 Max, 30 GPU cores, 128 GB or Apple M3 Max, 30 GPU cores, 36 GB; write"
    with pytest.raises(like.Impossible, match=reason):
        works(figures, "pytorch_cifar100", price="Apple M3 Max=2000")
    given = "Apple M3 Max, 30 GPU cores, 36 GB=2000, Apple M3 Max, 30 GPU cores, 128 GB=5000"
    found = works(figures, "pytorch_cifar100", price=given)
    assert {key: one["price"] for key, one in found.items()} == {"Own": 2000, "Own_2": 5000}


def test_a_whole_name_goes_before_a_part_of_another(tmp_path):
    rows = [training_row(machine=key, chip="Chip", memory_gb=memory) for key, memory in (("A", ""), ("B", 8))]
    found = works(made(tmp_path, rows), "pytorch_cifar100", price="chip=9")
    assert {key: one["price"] for key, one in found.items()} == {"A": 9, "B": None}


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("A=1", [("A", 1)]),
        (" A b = 3199 , C=.90, ", [("A b", 3199), ("C", 0.9)]),
        ("M3, 10 GPU cores, 8 GB=5.,B=1", [("M3, 10 GPU cores, 8 GB", 5), ("B", 1)]),
    ],
)
def test_prices_are_read(text, pairs):
    assert list(prices(text)) == pairs


@pytest.mark.parametrize("number", ["", "0", "0.00", "-1", "nan", "inf", "1e3", "$5", "1_000", "\u0661", "9" * 14, "."])
def test_what_is_no_price(number):
    with pytest.raises(argparse.ArgumentTypeError, match=r"of 'A' is not a number above 0"):
        prices(f"A={number}")


@pytest.mark.parametrize("text", ["", " ", "A", "=3", "A=1=2", "A=3,199", "A=1,,B=2", "A==1"])
def test_what_is_no_pair_of_machine_and_price(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not NAME=NUMBER"):
        prices(text)


# ---- What is wrong, in one sentence ----


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (
            {"test": "nope"},
            "--like: there is no test 'nope'; there are pytorch_cifar100; pytorch_food101; pytorch_imdb; ",
        ),
        ({"test": ""}, "--like: there is no test ''"),
        ({"test": "llama2", "samples": 3}, "--samples: llama2 counts tokens; write --tokens=N"),
        ({"test": "llama2", "epochs": 3}, "--epochs: llama2 counts tokens; write --tokens=N"),
        ({"tokens": 3}, "--tokens: pytorch_imdb counts samples; write --samples=N --epochs=N"),
        ({"price": "Cray=1"}, "--price: there is no machine 'Cray'; there are Apple M1 Pro, 16 GPU cores, 32 GB; "),
        ({"rent": "M3=1"}, "--rent: 'M3' may be Apple M3, 10 GPU cores, 8 GB or Apple M3 Max, 30 "),
        ({"rent": "Apple M3=1, apple m3, 10 gpu cores, 8 gb=2"}, "--rent: Apple M3, 10 GPU cores, 8 GB is named twice"),
        (
            {"test": "llama2", "price": "NVIDIA TITAN RTX=3000"},
            "--price: NVIDIA TITAN RTX, 24 GB has figures of other tests, but not of Text generation",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_work_and_prices_that_cannot_be_taken(published, asked, reason):
    with pytest.raises(like.Impossible, match=re.escape(reason)):
        works(published, **{"test": "pytorch_imdb", **asked})


def test_figures_that_tell_no_time_of_other_work(tmp_path):
    rows = [other(1.0, 10, figure="samples_per_second", unit="images each second", better="higher")]
    with pytest.raises(like.Impossible, match="the figures of mine are images each second, which tells no time"):
        like.work(made(tmp_path, rows), "mine")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--like=nope\x1b"], r"--like: there is no test 'nope\x1b'; there are"),
        (["--samples=3"], "--samples goes only with --like"),
        ([RENT], "--rent goes only with --like"),
        (["--like=llama2", "--html=x.html"], "--html does not go with --like"),
        (["--like=llama2", "--baseline=M3"], "--baseline does not go with --like"),
        (["--like=llama2", "--check"], "--check does not go with --like"),
        (["--like=pytorch_imdb", "--samples=0"], "'0' is not a whole number from 1 to 1,000,000,000,000"),
        (["--like=pytorch_imdb", "--epochs=1e3"], "'1e3' is not a whole number from 1 to 1,000,000"),
        (["--like=pytorch_imdb", "--price=Apple M3=0"], "argument --price: '0' of 'Apple M3' is not a number above 0"),
    ],
)
def test_bad_input_gets_one_sentence(tmp_path, arguments, reason):
    done = compare(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert reason in done.stderr


# ---- What is printed ----


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1e-9, "1e-06 ms"),
        (0.0123, "12.3 ms"),
        (9.51, "9.5 s"),
        (161, "2 min 41 s"),
        (3599.7, "1 h 00 min"),
        (3864, "1 h 04 min"),
        (300_000, "83 h 20 min"),
        (374_400, "4.3 days"),
        (86_400 * 500, "500 days"),
        (86_400 * 365 * 2.5, "2.5 years"),
        (86_400 * 365 * 12_345, "12,345 years"),
        (1e30, "over 1,000,000 years"),
    ],
)
def test_periods(seconds, said):
    assert shown.period(seconds) == said


@pytest.mark.parametrize(
    ("amount", "said"), [(3199.0, "3,199"), (3199.5, "3,199.50"), (0.966, "0.97"), (0.0042, "0.0042"), (2.0, "2")]
)
def test_money(amount, said):
    assert shown.money(amount) == said


NASTY = "=HYPERLINK(1)\x1b[31m\u202e | *b* <i>"


def test_text_at_80_and_60_columns(tmp_path, monkeypatch):
    """Of machines with grades, long names, and names that strangers have made up."""
    rows = runs([500, 505, 495], half_width=0.01, samples=25_000)
    rows += runs([9], chip=NASTY, memory_gb="", machine="B", data="synthetic")
    rows += runs([8], chip="A machine with quite a long name of sixty characters, or more", machine="C", memory_gb="")
    for row in rows:
        row |= {"experiment": "pytorch_imdb", "model": "distilbert-base-uncased", "dataset": "IMDB", "input_size": 512}
    write(tmp_path / "results" / "made.csv", rows)
    texts = {}
    for columns in (80, 60):
        monkeypatch.setenv("COLUMNS", str(columns))
        done = compare(*THE_ISSUES, PRICE, f"{RENT}, hyperlink=0.001", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert [line for line in done.stdout.splitlines() if len(line) > columns] == []
        assert not set(done.stdout) & set("\x1b\u202e")
        texts[columns] = done.stdout
    text = texts[80]
    assert text.startswith("200,000 samples, 3 epochs: like DistilBERT on IMDB, PyTorch\n")
    assert re.search(r"^NVIDIA GeForce RTX 4090 +20 min 00 s [AB] +32$\n +±\d", text, re.MULTILINE)
    assert re.search(r"^NVIDIA TITAN RTX \(p\) +1 h 12 min +128 +3,000 +46\.0$", text, re.MULTILINE)
    assert "  1  NVIDIA Tesla V100-SXM2-16GB (p): 0.97, at 0.90 an hour\n" in text
    assert ", at 0.001 an hour" in text
    assert re.search(r"^Apple M3 Max \(p\) +3,312 +\d", text, re.MULTILINE)
    for said in ("energy, resale", "(s) synthetic data or weights", "A to D: how sure a figure is"):
        assert said in text


def test_rent_without_a_price_is_what_a_run_costs(published, capsys):
    work = like.with_money(like.work(published, "pytorch_imdb"), published, (), prices("NVIDIA Tesla V100=0.90"))
    like_text.print_text(work)
    text = capsys.readouterr().out
    assert "(p): 0.04, at 0.90 an hour" in text
    assert not re.search("buying|per 1,000", text)


def test_markdown_and_csv_of_strangers(tmp_path):
    write(tmp_path / "results" / "made.csv", runs([100], chip=NASTY, machine="B;=cmd\x1b[0m", memory_gb=""))
    arguments = ("--like=pytorch_cifar100", "--price=HYPERLINK=9, Apple M3=900", "--rent=hyperlink=2")
    text = compare("--format=markdown", *arguments, cwd=tmp_path).stdout
    assert r"=HYPERLINK(1) \[31m \| \*b\* \<i\>" in text
    assert text.count("HYPERLINK") == text.count(r"\*b\* \<i\>") == 4  # two tables, the grade's reason and the rent
    lines = list(csv.reader(io.StringIO(compare("--format=csv", *arguments, cwd=tmp_path).stdout)))
    assert {len(line) for line in lines} == {len(lines[0])}
    assert [cell for line in lines for cell in line if cell.startswith(("=", "+", "-", "@"))] == []
    assert sum("'=HYPERLINK(1)" in cell for line in lines for cell in line) == 2
    assert lines[0][-1] == "runs_to_pay_off: B;'=cmd_[0m"


def test_markdown(published, capsys):
    work = like.work(published, "pytorch_imdb", 200_000, 3)
    given = (prices(one.split("=", 1)[1]) for one in (PRICE, RENT))
    like_text.print_markdown(like.with_money(work, published, *given))
    text = capsys.readouterr().out
    assert text.startswith("## 200,000 samples, 3 epochs: like DistilBERT on IMDB, PyTorch\n")
    assert "| NVIDIA TITAN RTX, 24 GB (published) | 1 h 12 min | 128 | 3,000 | 46.0 |\n" in text
    assert "\n1. NVIDIA Tesla V100-SXM2-16GB (published): 0.97, at 0.90 an hour\n" in text
    assert "| Apple M3 Max, 30 GPU cores, 36 GB (published) | 3,312 |\n" in text


def test_csv_has_what_json_has(tmp_path):
    csv_text, json_text = (
        compare(f"--format={form}", *THE_ISSUES, PRICE, RENT, cwd=tmp_path).stdout for form in ("csv", "json")
    )
    found = json.loads(json_text)
    assert len(found) == 6
    assert list(csv.DictReader(io.StringIO(csv_text))) == [
        {key: "" if value is None else str(value) for key, value in one.items()} for one in found
    ]
