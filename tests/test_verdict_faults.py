"""What was wrong with the machine: each fault and its sentence, and none where there should be none."""

import random

import pytest

from speed_test import verdict
from speed_test.faults import faults
from tests.made_rows import letters, row, three_runs
from tests.made_series import noise

FAULTS = [
    ({"power": "battery"}, "C", "on battery"),
    ({"low_power_mode": True}, "C", "in low power mode"),
    ({"thermal_level": "trapping"}, "C", "heat: thermal level trapping"),
    ({"thermal_level": "sleeping"}, "C", "heat: thermal level sleeping"),
    ({"throttle_reasons": "hardware thermal slowdown"}, "C", "held back by heat (hardware thermal slowdown)"),
    ({"throttle_reasons": "power brake"}, "C", "held back (power brake)"),
    ({"throttle_reasons": "HwSlowdown"}, "C", "held back (HwSlowdown)"),
    ({"throttle_reasons": "SwThermal"}, "C", "held back by heat (SwThermal)"),
    ({"throttle_reasons": "HwThermal"}, "C", "held back by heat (HwThermal)"),
    ({"throttle_reasons": "PowerBrake"}, "C", "held back (PowerBrake)"),
    ({"throttle_reasons": "cpu thermal"}, "C", "held back by heat (cpu thermal)"),
    ({"throttle_reasons": "cpu quota of the container"}, "C", "held back by the cpu quota of the container"),
    ({"other_load_percent": 30.0}, "C", "other programs used 30% of a core for a time"),
    (
        {"other_load_percent": 95.2, "busiest_other_process": "python3"},
        "C",
        "other programs used 95% of a core for a time (most: python3)",
    ),
    ({"other_load_percent": 240.0}, "C", "other programs used 2.4 cores for a time"),
    ({"device": "cuda", "other_load_percent": 200.0}, "C", "other programs used 2.0 cores for a time"),
    ({"gpu_other_load_percent": 10.0}, "C", "other programs used 10% of the GPU"),
    ({"memory_pressure": "warning"}, "C", "memory was short for a time (warning)"),
    ({"memory_pressure": "critical"}, "C", "memory was short for a time (critical)"),
    ({"cpu_stolen_percent": 2.0}, "C", "the host gave 2% of the CPU time to other machines for a time"),
    ({"other_sweeps": 1}, "C", "1 other speed test ran meanwhile"),
    ({"cpu_fallback": "aten::x"}, "C", "a part ran on the CPU: aten::x"),
    ({"swap_growth_gb": 1.2}, "D", "swapped 1.2 GB"),
    ({"emulated": True}, "D", "Python was emulated"),
    ({"suspended_seconds": 3.0}, "D", "stopped or asleep for 3 s"),
    ({"suspended_seconds": 1.0}, "D", "stopped or asleep for 1 s"),
]
HARMLESS = [
    {},
    {"power": None, "low_power_mode": None, "thermal_level": None, "memory_pressure": None, "emulated": None},
    {"other_load_percent": 29.9, "busiest_other_process": "python3"},
    {"device": "mps", "other_load_percent": 199.0},
    {"gpu_other_load_percent": 9.9},
    {"cpu_stolen_percent": 1.9},
    {"swap_growth_gb": 0.1},
    {"suspended_seconds": 0.9},
    {"cpu_pressure_percent": 100.0},
    {"cpu_governor": "powersave"},
    {"other_load_percent": "nan", "swap_growth_gb": "inf", "cpu_stolen_percent": "much"},
]
NOTES = [
    ({"throttle_reasons": "power cap"}, "held back (power cap)"),
    ({"throttle_reasons": "bit 0x1000"}, "held back (bit 0x1000)"),
    ({"thermal_level": "moderate"}, "thermal level moderate"),
    ({"thermal_level": "heavy"}, "thermal level heavy"),
]


@pytest.mark.parametrize(("columns", "letter", "reason"), FAULTS, ids=lambda value: str(value))
def test_a_fault(columns, letter, reason):
    assert letters(three_runs(**columns)) == (letter, reason)


@pytest.mark.parametrize("columns", HARMLESS, ids=str)
def test_no_fault(columns):
    assert letters(three_runs(**columns)) == ("A", "")
    assert faults(three_runs(**columns)) == []


@pytest.mark.parametrize(("columns", "note"), NOTES, ids=lambda value: str(value))
def test_a_note_is_no_fault(columns, note):
    assert letters(three_runs(**columns)) == ("A", "")
    assert [fault.text for fault in faults(three_runs(**columns))] == [note]


def test_the_worst_is_named_first():
    rows = three_runs(power="battery", swap_growth_gb=2.0)
    assert letters(rows) == ("D", "swapped 2.0 GB")
    rows = [row(noise(random.Random(1), 60, 0, 0.2), power="battery", low_power_mode=True, other_sweeps=2)]
    assert letters(rows) == ("C", "on battery; in low power mode; and 2 more reasons")


def test_one_bad_row_is_enough_but_a_rare_load_is_not():
    calm = [row(epoch=number, run_id="1") for number in range(20)]
    assert letters([*calm, row(epoch=20, run_id="1", power="battery")])[1] == "on battery"
    assert letters([*calm, row(epoch=20, run_id="1", other_load_percent=90.0)])[1] == "one run"
    assert letters([*calm[:9], row(epoch=9, run_id="1", other_load_percent=90.0)])[0] == "C"


def test_the_worst_of_the_rows_is_said():
    rows = [row(other_load_percent=40.0), row(other_load_percent=90.0, busiest_other_process="b"), row()]
    assert letters(rows)[1] == "other programs used 90% of a core for a time (most: b)"


def test_a_strangers_words_are_cut():
    rows = [row(busiest_other_process="x\n" * 100, other_load_percent=90.0)]
    reason = letters(rows)[1]
    assert "\n" not in reason
    assert len(reason) < 100


# ---- Before the start ----


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"power": "battery"}, "on battery: plug in"),
        ({"low_power_mode": True}, "low power mode is on: switch it off"),
        (
            {"other_load_percent": 95.0, "busiest_other_process": "python3", "busiest_other_pid": 4242},
            "other programs use 95% of a core, most of all python3 (PID 4242): end it, or this figure is a C",
        ),
        ({"other_load_percent": 50.0}, "other programs use 50% of a core: end them, or this figure is a C"),
        ({"gpu_other_load_percent": 40.0}, "other programs use 40% of the GPU: end them, or this figure is a C"),
        ({"memory_pressure": "critical"}, "memory is short (critical): close other programs"),
        ({"swap_growth_gb": 0.5}, "the machine is swapping: close other programs, or this figure is a D"),
        ({"thermal_level": "heavy"}, "the machine is hot (thermal level heavy): let it cool down"),
        ({"throttle_reasons": "power cap, SwThermal"}, "held back by heat (SwThermal): let it cool down"),
        ({"throttle_reasons": "PowerBrake"}, "held back (PowerBrake): look after its cooling and its power supply"),
        (
            {"throttle_reasons": "cpu quota of the container"},
            "held back by the cpu quota of the container: give it more CPUs",
        ),
        ({"cpu_stolen_percent": 5.0}, "the host gives 5% of the CPU time to other machines: measure at a quieter time"),
        ({"other_sweeps": 1}, "another speed test is running on this machine: wait until it has ended"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_spoils_a_result(state, sentence):
    assert verdict.spoils(state, 8) == [sentence]


def test_rosetta(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert verdict.spoils({"emulated": True}, 8) == ["this Python runs under Rosetta: install an arm64 Python"]
    monkeypatch.setattr("sys.platform", "win32")
    assert "Rosetta" not in verdict.spoils({"emulated": True}, 8)[0]


def test_nothing_spoils_a_clean_state():
    assert verdict.spoils({}, None) == []
    assert verdict.spoils(row(), 8) == []
    for columns in HARMLESS:
        assert verdict.spoils({**row(), **columns}, 8) == []
    assert verdict.spoils({"device": "mps", "other_load_percent": 95.0}, 8) == []
    assert verdict.spoils({"thermal_level": "moderate", "throttle_reasons": "power cap, bit 0x1000"}, 8) == []
