"""What NVIDIA's management library tells: a made-up `pynvml`."""

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from speed_test.sensors import base, nvidia, system
from speed_test.sensors.base import Moment

UUID = "4f2d7ab1-0c55-9d1e-8a6b-cc52b1de90a7"


class NVMLError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch):
    """A library with two GPUs. Its `known` says what each function returns; what is not in there is not supported."""
    module = ModuleType("pynvml")
    module.NVMLError = NVMLError
    module.NVML_TEMPERATURE_GPU, module.NVML_CLOCK_SM = 0, 1
    module.handles = {f"GPU-{UUID}": "gpu", "MIG-11111111-0c55-9d1e-8a6b-cc52b1de90a7": "part"}
    module.calls = []
    module.known = {
        "nvmlInit": None,
        "nvmlDeviceGetCount": 2,
        "nvmlDeviceIsMigDeviceHandle": 0,
        "nvmlDeviceGetTemperature": 71,
        "nvmlDeviceGetEnforcedPowerLimit": 350_000,
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=3, memory=1),
        "nvmlDeviceGetClockInfo": 1755,
        "nvmlDeviceGetTotalEnergyConsumption": 5_000_000,
        "nvmlDeviceGetCurrentClocksEventReasons": 0,
    }

    def function(name):
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def call(*arguments):
            module.calls.append((name, *arguments))
            if name == "nvmlDeviceGetHandleByUUID":
                if arguments[0] not in module.handles:
                    raise NVMLError("Not Found")
                return module.handles[arguments[0]]
            if name not in module.known:
                raise NVMLError("Not Supported")
            return module.known[name]

        return call

    module.__getattr__ = lambda name: (
        function(name) if name.startswith("nvml") else object.__getattribute__(module, name)
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setattr(base.IdleUse, "_lowest", lambda self: self._read())
    return module


def look(sensors, moment):
    return {column: value for sensor in sensors for column, value in sensor.read(moment).items()}


def test_columns_of_a_gpu(nvml):
    sensors = nvidia.sensors(UUID)
    assert look(sensors, Moment.BEGIN) == {
        "gpu_temperature_c": 71,
        "gpu_power_limit_w": 350,
        "gpu_other_load_percent": 3,
    }
    nvml.known["nvmlDeviceGetUtilizationRates"] = SimpleNamespace(gpu=98, memory=40)
    nvml.known["nvmlDeviceGetTotalEnergyConsumption"] = 5_400_000
    assert look(sensors, Moment.BETWEEN) == {
        "energy_joules": 400,
        "gpu_temperature_c": 71,
        "gpu_power_limit_w": 350,
        "gpu_clock_mhz": 1755,
        "throttle_reasons": None,
    }
    found = look(sensors, Moment.END)
    assert found["energy_joules"] == 400
    assert "gpu_clock_mhz" not in found  # it may be the clock of a GPU that rests


def test_the_clock_of_a_gpu_that_waits_for_data_says_nothing(nvml):
    assert "gpu_clock_mhz" not in look(nvidia.sensors(UUID), Moment.BETWEEN)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x0, None),
        (0x1, None),
        (0x2, None),
        (0x100, None),
        (0x4, "power cap"),
        (0x8, "HwSlowdown"),
        (0x10, "SyncBoost"),
        (0x20, "SwThermal"),
        (0x40, "HwThermal"),
        (0x80, "PowerBrake"),
        (0x48, "HwSlowdown, HwThermal"),
        (0x800, "bit 0x800"),
        (0x8000000000000005, "power cap, bit 0x8000000000000000"),
    ],
)
@pytest.mark.parametrize("is_old", [False, True])
def test_what_holds_the_clock_back(nvml, bits, expected, is_old):
    del nvml.known["nvmlDeviceGetCurrentClocksEventReasons"]
    name = "nvmlDeviceGetCurrentClocksThrottleReasons" if is_old else "nvmlDeviceGetCurrentClocksEventReasons"
    nvml.known[name] = bits
    sensors = nvidia.sensors(UUID)
    assert look(sensors, Moment.END)["throttle_reasons"] == expected
    assert "throttle_reasons" not in look(sensors, Moment.BEGIN)


@pytest.mark.parametrize("uuid", [UUID, f"GPU-{UUID}", UUID.encode()])
def test_the_gpu_is_found_by_its_uuid(nvml, uuid):
    nvidia.sensors(uuid)[1].read(Moment.END)
    assert ("nvmlDeviceGetTemperature", "gpu", 0) in nvml.calls


def test_a_part_of_a_gpu_has_the_heat_of_the_whole_and_no_energy(nvml):
    nvml.known |= {"nvmlDeviceIsMigDeviceHandle": 1, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": "whole"}
    found = look(nvidia.sensors("11111111-0c55-9d1e-8a6b-cc52b1de90a7"), Moment.END)
    assert ("nvmlDeviceGetTemperature", "whole", 0) in nvml.calls
    assert found["gpu_temperature_c"] == 71
    assert not {"energy_joules", "gpu_other_load_percent"} & found.keys()


def test_without_a_uuid_only_a_single_gpu_can_be_meant(nvml):
    with pytest.raises(LookupError):
        nvidia.sensors(None)
    nvml.known |= {"nvmlDeviceGetCount": 1, "nvmlDeviceGetHandleByIndex": "the only one"}
    nvidia.sensors(None)[1].read(Moment.END)
    assert ("nvmlDeviceGetTemperature", "the only one", 0) in nvml.calls


def test_what_a_gpu_does_not_tell_is_not_asked_again(nvml):
    for name in [name for name in nvml.known if name.startswith("nvmlDeviceGet") and "Count" not in name]:
        del nvml.known[name]
    sensors = nvidia.sensors(UUID)
    look(sensors, Moment.BEGIN)
    asked = len(nvml.calls)
    found = look(sensors, Moment.END)
    assert not any(found.values())
    assert len(nvml.calls) == asked + 2  # what holds the clock back, by both names: not asked at the begin


def test_memory_of_others_where_the_use_is_not_told(nvml):
    def process(pid, gib):
        return SimpleNamespace(pid=pid, usedGpuMemory=None if gib is None else gib * 2**30)

    del nvml.known["nvmlDeviceGetUtilizationRates"]
    nvml.known["nvmlDeviceGetMemoryInfo"] = SimpleNamespace(total=24 * 2**30)
    nvml.known["nvmlDeviceGetComputeRunningProcesses"] = [process(os.getpid(), 9), process(2**22 + 1, 6)]
    nvml.known["nvmlDeviceGetGraphicsRunningProcesses"] = [process(2**22 + 2, None)]
    assert look(nvidia.sensors(UUID), Moment.END)["gpu_other_load_percent"] == 25
    # The numbers of a container's host: none of them is ours.
    nvml.known["nvmlDeviceGetComputeRunningProcesses"] = [process(2**22 + 1, 6)]
    assert "gpu_other_load_percent" not in look(nvidia.sensors(UUID), Moment.END)


def test_no_driver_and_no_package(nvml, monkeypatch):
    del nvml.known["nvmlInit"]
    assert system.of_device("cuda", UUID) == []
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert system.of_device("cuda", UUID) == []
