"""Writes docs/columns.md, the page on the CSVs, from the descriptions of the columns in results.py.

python -m speed_test.columns_page
"""

from collections.abc import Mapping
from pathlib import Path

from speed_test.results import FIXED, FIXED_OF_GENERATION, GENERATION, MEASUREMENT_VERSION, TRAINING

PAGE = Path(__file__).resolve().parent.parent / "docs" / "columns.md"

TEXT = """\
<!-- made by: python -m speed_test.columns_page -->

# The CSVs and their columns

Each machine has one file for each speed test, and a file of its own for synthetic data. The name says which machine,
data set, model, input size and framework it is:

```text
Apple_M3_Max_36GB_Memory_30_GPU_Cores_CIFAR100_resnet50_32_pytorch_results.csv
AMD_EPYC_24GB_Memory_2_CPU_Cores_CIFAR100_resnet50_32_pytorch_synthetic_results.csv
Apple_M3_Max_36GB_Memory_30_GPU_Cores_llama-2-7b-chat.Q4_0_results.csv
```

The first is in `results/results_pytorch_cv/`, the last in `results/results_llama2/`.

- A row is written as soon as it is measured. It is written whole, under a file lock, and flushed to the disk. Two runs
  can write into one file.
- Rows are only appended. A file with other columns is left as it is, and a new one is made beside it (`..._2.csv`).
- Rows hold raw measurements. Medians, spreads and comparisons are made by whoever reads them.
- What is unknown is empty, never 0.
- A GB is 2^30 bytes.
- `measurement_version` is now {version}. It goes up when the way of measuring changes, and [CHANGES.md](../CHANGES.md)
  says why. Rows without this column are version 1.

## Training tests: a row for each epoch

Other programs may rely on the names and places of the first {fixed} columns. New columns are added at the end.

{training}

## llama2_test.py: a row for each answer

The first {fixed_of_generation} columns keep their names and places.

{generation}
"""


def table(columns: Mapping[str, str]) -> str:
    """A Markdown table of `columns`, which maps a column's name to what it says."""
    rows = [f"| `{column}` | {text} |" for column, text in columns.items()]
    return "\n".join(["| column | what it says |", "| --- | --- |", *rows])


def page() -> str:
    """The text of docs/columns.md."""
    return TEXT.format(
        version=MEASUREMENT_VERSION,
        fixed=FIXED,
        fixed_of_generation=FIXED_OF_GENERATION,
        training=table(TRAINING),
        generation=table(GENERATION),
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    print(f"Written: {PAGE}")
