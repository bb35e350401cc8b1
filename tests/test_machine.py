"""Machines and their names. Macs and GPUs are fakes here: programs in the PATH that print what theirs print."""

import os
import platform
import subprocess
import sys

import pytest

from speed_test import machine
from speed_test.frameworks.pytorch import describe_device
from speed_test.machine import GIB, Device, as_sold, code_version, describe

MPS = Device("mps", "PyTorch", "2.15.0")
CPU = Device("cpu", "PyTorch", "2.15.0")

M1_PRO = """hw.nperflevels: 2
hw.perflevel0.physicalcpu: 8
hw.perflevel0.name: Performance
hw.perflevel1.physicalcpu: 2
hw.perflevel1.name: Efficiency
hw.memsize: 34359738368
machdep.cpu.brand_string: Apple M1 Pro
"""
M3_MAX = """hw.memsize: 137438953472
hw.ncpu: 16
hw.perflevel0.physicalcpu: 12
hw.perflevel1.physicalcpu: 4
machdep.cpu.brand_string: Apple M3 Max
"""
M4 = """hw.memsize: 17179869184
hw.perflevel0.physicalcpu: 4
hw.perflevel1.physicalcpu: 6
machdep.cpu.brand_string: VirtualApple @ 2.50GHz processor
"""
M5_MAX = """hw.perflevel0.name: Super
hw.perflevel0.physicalcpu: 6
hw.perflevel1.name: Performance
hw.perflevel1.physicalcpu: 12
machdep.cpu.brand_string: Apple M5 Max
"""


def gpu(cores, model="Apple M"):
    return (
        f'+-o AGXAcceleratorG13X  <class AGXAcceleratorG13X>\n    "model" = "{model}"\n    "gpu-core-count" = {cores}\n'
    )


@pytest.fixture
def mac(tmp_path, monkeypatch):
    def make(sysctl, ioreg):
        for name, text in (("sysctl", sysctl), ("ioreg", ioreg)):
            (tmp_path / f"{name}.txt").write_text(text)
            program = tmp_path / name
            program.write_text(f'#!/bin/sh\nexec cat "{tmp_path}/{name}.txt"\n')
            program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setattr(platform, "system", lambda: "Darwin")
        monkeypatch.setattr(platform, "mac_ver", lambda: ("15.1", ("", "", ""), "arm64"))

    return make


@pytest.mark.skipif(sys.platform == "win32", reason="the fakes are shell scripts")
@pytest.mark.parametrize(
    ("sysctl", "ioreg", "name", "cpu_cores", "gpu_cores"),
    [
        (M1_PRO, gpu(16), "Apple_M1_Pro_32GB_Memory_16_GPU_Cores", 10, 16),
        (M3_MAX, gpu(40), "Apple_M3_Max_128GB_Memory_40_GPU_Cores", 16, 40),
        (M4, gpu(10, "Apple M4"), "Apple_M4_16GB_Memory_10_GPU_Cores", 10, 10),
        (M5_MAX + "hw.memsize: 38654705664\n", gpu(40), "Apple_M5_Max_36GB_Memory_40_GPU_Cores", 18, 40),
        (M3_MAX.replace("137438953472", "38654705664"), gpu(30), "Apple_M3_Max_36GB_Memory_30_GPU_Cores", 16, 30),
        (M3_MAX, "", "Apple_M3_Max_128GB_Memory", 16, None),
    ],
)
def test_macs(mac, sysctl, ioreg, name, cpu_cores, gpu_cores):
    mac(sysctl, ioreg)
    found = describe(MPS)
    assert (found.machine, found.cpu_cores, found.gpu_cores) == (name, cpu_cores, gpu_cores)
    assert found.os == "macOS 15.1"
    assert found.chip.startswith("Apple M")


@pytest.mark.skipif(sys.platform == "win32", reason="the fakes are shell scripts")
def test_a_mac_on_its_cpu_is_another_machine(mac):
    mac(M3_MAX, gpu(40))
    assert describe(CPU).machine == "Apple_M3_Max_128GB_Memory_16_CPU_Cores"


@pytest.mark.skipif(sys.platform == "win32", reason="the fakes are shell scripts")
def test_a_mac_that_tells_nothing_still_has_a_name(mac, monkeypatch):
    mac("", "")
    monkeypatch.setattr(machine, "_cpu_name", lambda: None)
    assert describe(MPS).machine.startswith("unknown_chip_")


@pytest.mark.skipif(sys.platform == "win32", reason="the fakes are shell scripts")
@pytest.mark.parametrize(("sysctl", "expected"), [(M1_PRO, 8), (M3_MAX, 12), (M4, 4), (M5_MAX, 18)])
def test_performance_cores_are_all_but_the_efficiency_cores(mac, sysctl, expected):
    mac(sysctl, "")
    assert machine.performance_cores() == expected


def test_performance_cores_elsewhere(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert machine.performance_cores() == machine.cpu_cores()


@pytest.mark.parametrize(
    ("name", "memory_bytes", "expected"),
    [
        ("NVIDIA TITAN RTX", 25_396_838_400, "NVIDIA_TITAN_RTX_24GB_Memory"),
        ("Tesla V100-SXM2-16GB", 16_945_512_448, "Tesla_V100-SXM2-16GB_16GB_Memory"),
        ("NVIDIA H100 80GB HBM3", 85_017_493_504, "NVIDIA_H100_80GB_HBM3_80GB_Memory"),
    ],
)
def test_nvidia(name, memory_bytes, expected):
    found = describe(Device("cuda", "PyTorch", "2.15.0", name=name, gpu_cores=72, memory_bytes=memory_bytes))
    assert (found.machine, found.chip, found.gpu_cores) == (expected, name, 72)


@pytest.fixture
def linux(tmp_path, monkeypatch):
    import psutil

    original = machine._cpu_name

    def make(cpuinfo, groups=None, physical=2, memory=24684092 * 1024):
        (tmp_path / "cpuinfo").write_text(cpuinfo)
        monkeypatch.setattr(machine, "_cpu_name", lambda: original(tmp_path / "cpuinfo"))
        monkeypatch.setattr(machine, "_control_group", lambda file: (groups or {}).get(file, ""))
        monkeypatch.setattr(platform, "system", lambda: "Linux")
        monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: physical)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"total": memory}))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)

    return make


def test_a_linux_cpu(linux):
    linux("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n")
    found = describe(CPU)
    assert found.machine == "AMD_EPYC_24GB_Memory_2_CPU_Cores"
    assert (found.chip, found.cpu_cores, found.gpu_cores, found.memory_gb) == ("AMD EPYC", 2, None, 24)


def test_a_container_has_what_it_was_given(linux):
    limits = {"cpu.max": "250000 100000\n", "memory.max": f"{8 * GIB}\n"}
    linux("model name\t: AMD EPYC\n", limits, physical=64, memory=500 * GIB)
    assert describe(CPU).machine == "AMD_EPYC_8GB_Memory_3_CPU_Cores"
    linux("model name\t: AMD EPYC\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, physical=64)
    assert describe(CPU).machine == "AMD_EPYC_24GB_Memory_64_CPU_Cores"


def test_control_groups_version_1(linux):
    limits = {"memory/memory.limit_in_bytes": f"{8 * GIB}\n"}
    limits |= {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}
    linux("model name\t: AMD EPYC\n", limits, physical=64, memory=500 * GIB)
    assert describe(CPU).machine == "AMD_EPYC_8GB_Memory_3_CPU_Cores"
    unlimited = {"memory/memory.limit_in_bytes": "9223372036854771712\n", "cpu/cpu.cfs_quota_us": "-1\n"}
    linux("model name\t: AMD EPYC\n", unlimited, physical=64)
    assert describe(CPU).machine == "AMD_EPYC_24GB_Memory_64_CPU_Cores"


def test_an_arm_machine_without_model_name(linux, monkeypatch):
    import cpuinfo

    linux("processor\t: 0\nBogoMIPS\t: 243.75\nCPU part\t: 0xd0c\n", physical=4, memory=8 * GIB)
    monkeypatch.setattr(cpuinfo, "get_cpu_info", lambda: {"brand_raw": "Neoverse-N1"})
    assert describe(CPU).machine == "Neoverse-N1_8GB_Memory_4_CPU_Cores"
    monkeypatch.setattr(cpuinfo, "get_cpu_info", lambda: {})
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert describe(CPU).machine == "aarch64_8GB_Memory_4_CPU_Cores"


@pytest.mark.parametrize(
    ("gib", "sold"),
    [
        *[(7.7, 8), (8, 8), (11, 11), (15.6, 16), (18, 18), (22.5, 24), (23.5, 24), (31.2, 32), (36, 36)],
        *[(48, 48), (62.7, 64), (79.2, 80), (96, 96), (125.6, 128), (192, 192), (503.7, 512), (0.9, 1)],
    ],
)
def test_memory_as_sold(gib, sold):
    assert as_sold(int(gib * GIB)) == sold


def test_unknown_memory_stays_unknown():
    assert as_sold(None) is None


@pytest.mark.frameworks
def test_this_machine():
    found = describe(describe_device("cpu"))
    assert found.machine == machine.file_safe(found.machine)
    assert found.cpu_cores >= 1
    assert found.memory_gb >= 1
    assert found.python_version == platform.python_version()


@pytest.mark.skipif(sys.platform == "win32", reason="the fake is a shell script")
def test_a_gpu_that_is_left_idle_is_mentioned(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA TITAN RTX (UUID: GPU-0)'\n")
    program.chmod(0o755)
    assert "NVIDIA" in machine.idle_gpu(CPU)
    assert machine.idle_gpu(Device("cuda", "PyTorch", "2.15.0")) is None
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert machine.idle_gpu(CPU) is None
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert "Mac" in machine.idle_gpu(CPU)
    assert machine.idle_gpu(MPS) is None


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_code_version(tmp_path):
    assert code_version(tmp_path) == ""
    git(tmp_path, "init")
    (tmp_path / "results").mkdir()
    for file in ("script.py", "results/a.csv"):
        (tmp_path / file).write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    commit = code_version(tmp_path)
    assert len(commit) == 12
    (tmp_path / "results" / "a.csv").write_text("1\n2\n")
    (tmp_path / "new.csv").write_text("")
    assert code_version(tmp_path) == commit
    assert code_version(tmp_path / "results") == ""
    (tmp_path / "script.py").write_text("2\n")
    assert code_version(tmp_path) == f"{commit}-dirty"


class Cuda:
    """Stands for libcuda, on a machine with one GPU of 24 GB and 72 multiprocessors."""

    def cuInit(self, flags):
        return 0

    def cuDeviceGet(self, device, number):
        device._obj.value = 5
        return 0

    def cuDeviceGetName(self, name, length, device):
        name.value = b"NVIDIA TITAN RTX"
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):
        assert (attribute, device.value) == (16, 5)
        value._obj.value = 72
        return 0

    def cuDeviceTotalMem_v2(self, value, device):
        value._obj.value = 25_386_352_640
        return 0

    def cuDeviceGetUuid(self, uuid, device):
        uuid._obj[:] = bytes(range(16))
        return 0


def test_what_cuda_says_of_a_gpu(monkeypatch):
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: Cuda())
    assert machine.nvidia_gpu() == ("NVIDIA TITAN RTX", 72, 25_386_352_640)
    assert machine.nvidia_uuid() == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    monkeypatch.setattr(Cuda, "cuDeviceGetUuid_v2", lambda self, uuid, device: 1, raising=False)
    assert machine.nvidia_uuid() is None
    monkeypatch.setattr(Cuda, "cuInit", lambda self, flags: 100)  # CUDA_ERROR_NO_DEVICE
    assert machine.nvidia_gpu() == (None, None, None)
    assert machine.nvidia_uuid() is None

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(machine.ctypes, "CDLL", missing)
    assert machine.nvidia_gpu() == (None, None, None)
    assert machine.nvidia_uuid() is None
