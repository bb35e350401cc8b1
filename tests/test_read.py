"""What compare_results.py reads (our rows, published figures, files of older scripts), and what it never pools."""

import pytest

from speed_test.compare import check, known, read, speeds, table
from speed_test.compare import ours as ours_rows
from speed_test.results import COLUMNS, GENERATION_COLUMNS
from tests.made_csvs import HOME, cells_of, generation_row, older, ours, training_row, write


def medians(path):
    """(test, machine, marks) -> group -> median, or the status of what did not work."""
    cells, notes = cells_of(path)
    found = {}
    for cell in cells.to_dict("records"):
        series = found.setdefault((cell["test"], cell["machine_name"], cell["marks"]), {})
        group = int(cell["batch_size"]) if cell["batch_size"] > 0 else cell["group"]
        series[group] = cell["median"] if cell["count"] else cell["status"]
    return found, notes


def test_our_rows(tmp_path):
    path = ours(tmp_path, seconds=(60.0, 61.0, 59.5, 64.0))
    assert medians(path) == ({("pytorch_cifar100", "NVIDIA GeForce RTX 4090", ()): {32: 60.5}}, [])


def test_kinds_of_rows_are_not_pooled(tmp_path):
    rows = [
        training_row(epoch_seconds=60.0),
        training_row(epoch_seconds=10.0, estimated="True"),
        training_row(epoch_seconds=20.0, data="synthetic"),
        training_row(epoch_seconds=30.0, precision="bfloat16"),
        training_row(epoch_seconds=40.0, data="synthetic", estimated="True"),
    ]
    found, _ = medians(write(tmp_path / "mixed.csv", rows))
    assert {marks: cells for (_, _, marks), cells in found.items()} == {
        (): {32: 60.0},
        ("estimated",): {32: 10.0},
        ("synthetic",): {32: 20.0},
        ("bfloat16",): {32: 30.0},
        ("synthetic", "estimated"): {32: 40.0},
    }


def test_a_failure_stands_beside_what_worked_and_gives_way_to_a_later_success(tmp_path):
    failed = {"epoch_seconds": "", "estimated": "", "error": "CUDA out of memory"}
    rows = [
        training_row(estimated="True"),
        training_row(batch_size=512, status="out_of_memory", **failed),
        training_row(batch_size=1024, status="skipped", **failed),
        training_row(batch_size=64, status="failed", **failed),
        training_row(batch_size=64, estimated="True", epoch_seconds=50.0),
    ]
    found, _ = medians(write(tmp_path / "failed.csv", rows))
    assert found == {
        ("pytorch_cifar100", "NVIDIA GeForce RTX 4090", ("estimated",)): {
            32: 60.0,
            512: "out_of_memory",
            1024: "skipped",
            64: 50.0,
        }
    }


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "Apple_M3_Max_CIFAR100_resnet50_32_pytorch_results.csv",
            "batch_size,avg_time_per_epoch\n16,330.25\n32,211.0\n",
            ("pytorch_cifar100", "Apple M3 Max", {16: 330.25, 32: 211.0}),
        ),
        (
            "Tesla V100-SXM2-16GB_CIFAR100_ResNet50_32_tensorflow_results.csv",
            "\ufeffbatch_size,avg_time_per_epoch\r\n16,33.5\r\n16,34.5\r\n32,FAILED\r\n",
            ("tensorflow_cifar100", "Tesla V100-SXM2-16GB", {16: 34.0, 32: "failed"}),
        ),
        (
            "Apple_M1_Pro_16GB_IMDB_SmallTransformer_200_results.csv",
            "batch_size,avg_time_per_epoch\n16,211.0",
            ("tensorflow_imdb", "Apple M1 Pro 16GB", {16: 211.0}),
        ),
        (
            "Apple_M3_Pro_FOOD101_resnet50_224_pytorch_results.csv",
            "batch_size,avg_time_per_epoch\n32,1154.5\n",
            ("pytorch_food101", "Apple M3 Pro", {32: 1154.5}),
        ),
        (
            "NVIDIA_TITAN_RTX_IMDB_distilbert-base-uncased_512_pytorch_results.csv",
            "train_runtime,train_samples_per_second,train_steps_per_second,train_loss,epoch,batch_size,total_flos\n"
            "600.0,125.0,7.8,0.25,3.0,16,\n90.0,1,1,0.2,2.0,32,\nFAILED,FAILED,FAILED,FAILED,FAILED,64,FAILED\n",
            ("pytorch_imdb", "NVIDIA TITAN RTX", {16: 200.0, 32: 45.0, 64: "failed"}),
        ),
        (
            "Apple_M3_llama-2-7b-chat.Q4_0.gguf_results.csv",
            "question,question_iter,total_time,answer,answer_char_len,chars_per_second,answer_token_len,"
            'tokens_per_second\nWhy?,0,7.5,"Because,\n\nof that",1144,146.8,286.0,36.0\nWhy?,1,7.5,So,2,1,1,40.0\n'
            "Why?,2,7.5,So,2,1,1,41.0\n",
            ("llama2", "Apple M3", {known.LLAMA_2_7B: 40.0}),
        ),
    ],
    ids=lambda value: value.split("_results")[0] if isinstance(value, str) and value.endswith(".csv") else None,
)
def test_files_of_the_older_scripts(tmp_path, name, text, expected):
    experiment, machine, cells = expected
    assert medians(older(tmp_path, name, text)) == ({(experiment, machine, ("older",)): cells}, [])


def test_a_torn_last_line_is_left_out_and_said(tmp_path):
    path = ours(tmp_path, seconds=(60.0, 61.0, 62.0, 99.0))
    whole = path.read_bytes()
    for end in (whole.rindex(b"0123456789ab"), len(whole) - 1):
        path.write_bytes(whole[:end])
        found, notes = medians(path)
        assert list(found.values()) == [{32: 61.0}]
        assert notes == ["line 5 is cut short"]
    path = older(
        tmp_path,
        "Apple_M3_CIFAR100_resnet50_32_pytorch_results.csv",
        "batch_size,avg_time_per_epoch\n16,303.0\n32",
    )
    found, notes = medians(path)
    assert list(found.values()) == [{16: 303.0}]
    assert notes == ["line 3 is cut short"]


def test_answers_are_compared_by_model(tmp_path):
    rows = [
        generation_row(),
        generation_row(tokens_per_second=52.0),
        generation_row(tokens_per_second=200.0, model="SmolLM2", quantization="Q4_1", parameters=134515008),
        generation_row(tokens_per_second="", status="failed", data="synthetic"),
    ]
    found, notes = medians(write(tmp_path / "llama.csv", rows, GENERATION_COLUMNS))
    assert notes == []
    assert found == {
        ("llama2", "Apple M4", ()): {"Llama 2 7B Q4_0": 51.0, "SmolLM2 Q4_1": 200.0},
        ("llama2", "Apple M4", ("synthetic",)): {"Llama 2 7B Q4_0": "failed"},
    }


def test_the_published_figures_are_all_there():
    measurements = list(read.published())
    assert len(measurements) == 175
    cells = table.cells(read.frame(measurements))
    assert cells["machine_name"].nunique() == 6
    assert (cells["count"] == 0).sum() == 6
    assert list(cells["test"].unique()) == list(known.KNOWN)
    m3_max = cells[(cells["test"] == "pytorch_cifar100") & (cells["machine_name"] == "Apple M3 Max")]
    assert m3_max.set_index("group").loc["64", "median"] == 152.7
    assert set(m3_max["machine_label"]) == {"Apple M3 Max, 30 GPU cores, 36 GB"}


def test_unit_and_direction_stand_in_the_rows(tmp_path):
    rows = [
        training_row(unit="Seconds per Epoch!", machine=f"m{seconds}", chip=f"m{seconds}", epoch_seconds=seconds)
        for seconds in (10.0, 20.0)
    ]
    found, _ = cells_of(write(tmp_path / "unit.csv", rows))
    assert list(found["unit"].unique()) == ["Seconds per Epoch!"]
    compared = speeds.compare(found, "m10.0", []).set_index("machine")
    assert compared.loc["m20.0", "speed"] == 0.5
    assert compared.loc["m20.0", "slowest_series"] == "m20.0"


def test_rows_without_direction_or_figure_are_named_and_left_out(tmp_path):
    rows = [
        training_row(),
        training_row(better="faster"),
        training_row(figure="laps"),
        training_row(unit=""),
        training_row(experiment=""),
        training_row(batch_size="32.5"),
        training_row(epoch_seconds="nan"),
    ]
    found, notes = cells_of(write(tmp_path / "wrong.csv", rows))
    assert list(found["count"]) == [1]
    assert notes == [
        "line 3: better is 'faster', neither lower nor higher",
        "line 4: figure is 'laps', which is no column of the file",
        "line 5: unit is empty",
        "line 6: experiment is empty",
        "line 7: batch_size is '32.5', no whole number above 0",
        "line 8: epoch_seconds is 'nan', no number above 0",
    ]


def test_rows_of_before_the_newest_columns(tmp_path):
    older_columns = [column for column in COLUMNS if column not in ("measurement_version", "figure", "unit", "better")]
    rows = [{column: cell for column, cell in training_row().items() if column in older_columns}]
    new = write(tmp_path / "new.csv", [training_row(epoch_seconds=62.0)])
    before = write(tmp_path / "before.csv", rows, older_columns)
    measurements = [measurement for path in (new, before) for measurement in read.read(path)[0]]
    cells = table.cells(read.frame(measurements))
    assert list(cells["median"]) == [61.0]
    assert list(cells["better"]) == ["lower"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Apple_M4_SmolLM2-135M-Instruct.Q4_1_results.csv", "SmolLM2-135M-Instruct Q4_1"),
        ("Apple_M4_SmolLM2-135M-Instruct.Q4_1_synthetic_results_2.csv", "SmolLM2-135M-Instruct Q4_1"),
        ("Apple_M4_smollm2-instruct-q4_1_results.csv", "smollm2-instruct Q4_1"),
        ("Apple_M4_tiny_results_3.csv", "tiny Q4_1"),
        ("copy_of_mine.csv", "Smollm2 135M 8k Q4_1"),
    ],
)
def test_a_model_is_called_by_the_name_of_its_file(tmp_path, name, label):
    columns = GENERATION_COLUMNS[: GENERATION_COLUMNS.index("experiment")]
    row = generation_row(model="Smollm2 135M 8k", quantization="Q4_1", parameters=134515008)
    row = {column: row[column] for column in columns}
    found, _ = cells_of(write(tmp_path / name, [row], columns))
    assert list(found["group"]) == [label]
    assert list(found["test"]) == ["llama2"]


def test_a_test_with_columns_of_its_own_and_without_batch_sizes(tmp_path):
    cells = {"experiment": "sorting", "framework": "mylib", "model": "quicksort", "figure": "items_per_second"}
    cells |= {"unit": "items per second", "better": "higher", "machine": "m", "status": "ok", "items_per_second": 5}
    found, notes = cells_of(write(tmp_path / "sorting.csv", [cells, cells | {"items_per_second": 7}], list(cells)))
    assert notes == []
    (cell,) = found.to_dict("records")
    assert (cell["title"], cell["median"], cell["group"]) == ("quicksort, mylib", 6.0, "all")
    rows = [training_row(batch_size="", epoch_seconds=9.0, model="forest", dataset="HIGGS", input_size="")]
    found, notes = cells_of(write(tmp_path / "forest.csv", rows))
    assert notes == []
    (cell,) = found.to_dict("records")
    assert (cell["title"], cell["chart"]) == ("forest on HIGGS, PyTorch", "pytorch_forest_HIGGS")
    assert (cell["median"], cell["group"], cell["across"], cell["is_best"]) == (9.0, "all", "", True)


@pytest.mark.parametrize("column", ["precision", "status", "machine", "device", "data", "input_size"])
def test_a_missing_column_is_named(tmp_path, column):
    kept = [name for name in COLUMNS if name != column]
    path = write(tmp_path / f"{HOME}_results.csv", [{name: training_row()[name] for name in kept}], kept)
    with pytest.raises(read.Unreadable, match=f"lacks the column {column}"):
        read.read(path)
    assert list(check.problems(path)) == [f"does not have the columns of these scripts: {column}"]


def test_the_columns_that_are_read_are_those_that_a_file_has_from_the_beginning():
    for schema in check.SCHEMAS:
        assert ours_rows.is_ours(set(schema))
        assert ours_rows.missing(set(schema)) == []
