"""Made-up rows of a training test, as a running sweep has them: typed values, None for unknown."""

import random

from speed_test import verdict
from speed_test.results import cell_text
from tests.made_series import noise


def row(rates: list[float] | None = None, **columns: object) -> dict[str, object]:
    """A row whose blocks have these rates (None: a calm minute around 100), with other `columns`; all is well in it."""
    if rates is None:
        rates = noise(random.Random(str(columns.get("run_id"))), 60, 0, 0.005)
    seconds = len(rates)
    rate = sum(rates) / seconds
    return {
        **{
            "batch_size": 32,
            "status": "ok",
            "epoch": 1,
            "run": 1,
            "run_id": "now",
            "started_at": "2026-11-24T10:00:00",
        },
        **{"epoch_seconds": 50_000 / rate, "samples_per_second": rate, "measured_seconds": seconds},
        **{"compute_samples_per_second": 101.0, "compute_samples_per_second_after": None, "data_wait_seconds": 0.1},
        **{"peak_memory_gb": 2.0, "figure": "epoch_seconds", "unit": "seconds per epoch", "better": "lower"},
        **{"experiment": "pytorch_cifar100", "framework": "pytorch", "framework_version": "2.15", "data": "real"},
        **{"device": "cpu", "cpu_cores": 8, "estimated": False, "measurement_version": 1, "virtual": None},
        **{"power": "mains", "low_power_mode": False, "thermal_level": "nominal", "memory_pressure": "normal"},
        **{"throttle_reasons": None, "other_load_percent": 5.0, "busiest_other_process": None, "other_sweeps": 0},
        **{"swap_growth_gb": 0.0, "cpu_stolen_percent": 0.0, "suspended_seconds": 0.0, "emulated": False},
        "block_samples_per_second": " ".join(f"{rate:.5g}" for rate in rates),
        **columns,
    }


def three_runs(**columns: object) -> list[dict[str, object]]:
    """Rows of three calm runs."""
    return [row(run_id=f"run {number}", **columns) for number in (1, 2, 3)]


def as_text(some: dict[str, object]) -> dict[str, str]:
    """The row as it is read from a CSV."""
    return {column: cell_text(value) for column, value in some.items()}


def letters(rows: list[dict[str, object]]) -> tuple[str, str]:
    """The grade of rows and its reason, which are the same for text as for typed values."""
    found = verdict.grade(rows)
    assert verdict.grade([as_text(row) for row in rows])[:2] == found[:2]
    return found.letter, found.reason
