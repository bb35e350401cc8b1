"""Which machine this is: chip, cores and memory, for the rows, the file name and the screen.

The parent finds all of it out without a framework, except for the GPU of an NVIDIA machine: the framework describes
that one, in a `Device`.
"""

import ctypes
import math
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from speed_test.sensors import identity

if TYPE_CHECKING:
    from speed_test.experiment import Experiment

GIB = 2**30
PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Device:
    """What the training runs on, as the framework describes it: `type` is "mps", "cuda" or "cpu".

    `framework` is its name as it is written, such as "PyTorch". `name`, `gpu_cores` (NVIDIA: streaming
    multiprocessors) and `memory_bytes` are the GPU's own. They are None if there is no GPU, or if the framework does
    not know them (Apple; the operating system does). `needs` says what to install if the framework finds no GPU.
    `compiles` says that one process on it compiles also without --compile.
    """

    type: str
    framework: str
    framework_version: str
    name: str | None = None
    gpu_cores: int | None = None
    memory_bytes: int | None = None
    tf32: bool = False
    compiles: bool = False
    needs: str = ""
    uuid: str | None = None  # of an NVIDIA GPU


@dataclass(frozen=True)
class Machine:
    """The columns of a row that describe the machine. What is unknown is None."""

    machine: str
    chip: str | None
    cpu_cores: int | None
    gpu_cores: int | None
    memory_gb: int | None
    os: str
    python_version: str
    cpu_model: str | None
    virtual: str | None


def describe(device: Device) -> Machine:
    """Describe this machine as `device` sees it: by its GPU if it trains there, by its CPU if not."""
    apple = _apple() if platform.system() == "Darwin" else {}
    cores = apple.get("cpu_cores") or cpu_cores()
    gpu_cores = None
    if device.type == "cuda":
        chip, gpu_cores, memory = device.name, device.gpu_cores, device.memory_bytes
    else:
        chip, memory = apple.get("chip") or _cpu_name(), apple.get("memory_bytes") or memory_limit()
        if device.type == "mps":
            gpu_cores = apple.get("gpu_cores")
    memory_gb = as_sold(memory)
    parts = [chip or "unknown_chip"]
    if memory_gb:
        parts.append(f"{memory_gb}GB_Memory")
    if device.type == "mps" and gpu_cores:
        parts.append(f"{gpu_cores}_GPU_Cores")
    if device.type == "cpu" and cores:
        parts.append(f"{cores}_CPU_Cores")
    return Machine(
        machine="_".join(file_safe(part) for part in parts),
        chip=chip,
        cpu_cores=cores,
        gpu_cores=gpu_cores,
        memory_gb=memory_gb,
        os=_os_name(),
        python_version=platform.python_version(),
        cpu_model=identity.cpu_model(),
        virtual=identity.virtual(),
    )


def file_safe(text: str) -> str:
    """`text` with letters, digits, '.', '_' and '-' only: "Foo (R) 3/4" becomes "Foo_3_4"."""
    text = re.sub(r"\((R|TM|C)\)", " ", text, flags=re.IGNORECASE)
    text = re.sub(r"[^A-Za-z0-9.-]+", "_", text)[:100]
    return text.strip("._-") or "unknown"


def file_name(experiment: "Experiment", machine: str, data: str) -> str:
    """`{machine}_{DATASET}_{model}_{input size}_{framework}[_synthetic]_results.csv`

    A test without a data set has `{machine}_{model}[_synthetic]_results.csv`.
    """
    parts: list[object] = [file_safe(experiment.model)]
    if experiment.dataset:
        parts = [file_safe(experiment.dataset), *parts, experiment.input_size, experiment.framework]
    if data == "synthetic":
        parts.append("synthetic")
    return "_".join(str(part) for part in (machine, *parts) if part is not None) + "_results.csv"


def as_sold(memory_bytes: int | None) -> int | None:
    """The memory in GB (2^30 bytes) that the machine was sold with: 64 if Linux counts 62.7.

    Firmware, the kernel and a GPU's driver keep a few percent for themselves, and how many depends on their version.
    But a machine has to keep its name. So the size is rounded up to a multiple of an eighth of the power of two below
    it (from 32 to 64: of 4), which fits the sizes that are built, such as 18, 24, 36, 48, 80 and 96 GB.
    """
    if not memory_bytes:
        return None
    size = memory_bytes / GIB
    step = max(1, 2 ** (math.floor(math.log2(size)) - 3)) if size >= 1 else 1
    return math.ceil(size / step) * step


def _output(*command: str) -> str:
    """What `command` prints, or "" if it is missing, fails or hangs."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""


def _apple() -> dict:
    """Chip, memory and cores of a Mac. `sysctl` and `ioreg` take milliseconds, system_profiler 260 of them."""
    listing = _output("sysctl", "hw", "machdep.cpu.brand_string")
    known = dict(line.split(": ", 1) for line in listing.splitlines() if ": " in line)
    gpu = _output("ioreg", "-rc", "AGXAccelerator", "-d1")
    cores = re.search(r'"gpu-core-count" = (\d+)', gpu)
    model = re.search(r'"model" = "([^"]+)"', gpu)
    chip = known.get("machdep.cpu.brand_string", "").strip()
    if model and (not chip or chip.startswith("VirtualApple")):  # VirtualApple: an Intel Python under Rosetta
        chip = model[1]
    # Levels are counted rather than named: a chip may have "Super" cores beside "Performance" ones.
    levels = [int(known[key]) for key in known if re.fullmatch(r"hw\.perflevel\d+\.physicalcpu", key)]
    fast = [
        int(known[key])
        for key in known
        if re.fullmatch(r"hw\.perflevel\d+\.physicalcpu", key)
        and known.get(key.replace("physicalcpu", "name"), "Efficiency" if "level0" not in key else "") != "Efficiency"
    ]
    all_cores = sum(levels) or int(known.get("hw.physicalcpu", 0)) or int(known.get("hw.ncpu", 0))
    return {
        "chip": chip or None,
        "memory_bytes": int(known.get("hw.memsize", 0)) or None,
        "cpu_cores": all_cores or None,
        "performance_cores": sum(fast) or None,
        "gpu_cores": int(cores[1]) if cores else None,
    }


def _cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    try:
        name = re.search(r"^model name\s*: *(.*\S)", cpuinfo.read_text(errors="replace"), flags=re.MULTILINE)
    except OSError:
        name = None
    if name:
        return " ".join(name[1].split())
    try:  # last, since it takes over a second: on Windows, and on Arm machines without a "model name"
        from cpuinfo import get_cpu_info

        brand = get_cpu_info().get("brand_raw")
    except Exception:  # it tries many sources, and each may fail in its own way
        brand = None
    return brand or platform.processor() or platform.machine() or None


def _control_group(file: str) -> str:
    """A limit that a container sets, such as `cpu.max`; "" if there is none."""
    try:
        return (Path("/sys/fs/cgroup") / file).read_text()
    except OSError:
        return ""


def cpu_cores() -> int | None:
    """The physical cores that this process may use: a container given 2 of 64 has 2."""
    import psutil

    counts = [psutil.cpu_count(logical=False) or os.cpu_count() or 0]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    version_1 = f"{_control_group('cpu/cpu.cfs_quota_us').strip()} {_control_group('cpu/cpu.cfs_period_us').strip()}"
    for text in (_control_group("cpu.max").strip(), version_1):
        quota = re.fullmatch(r"(\d+) (\d+)", text)  # "max 100000" and "-1 100000" are no limit
        if quota:
            counts.append(math.ceil(int(quota[1]) / int(quota[2])))
    return min(counts) or None


def performance_cores() -> int | None:
    """The cores for heavy work: on a Mac all but the efficiency cores, elsewhere all physical ones."""
    apple = _apple() if platform.system() == "Darwin" else {}
    return apple.get("performance_cores") or cpu_cores()


def _cuda() -> tuple[Any, ctypes.c_int] | None:
    """CUDA's own library, and its first GPU; None without one. Its functions return 0 if they succeed:
    https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__DEVICE.html
    """
    gpu = ctypes.c_int()
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1")
    except OSError:
        return None
    return None if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(gpu), 0) else (cuda, gpu)


def nvidia_gpu() -> tuple[str | None, int | None, int | None]:
    """Name, multiprocessors and memory (bytes) of the first NVIDIA GPU, for frameworks that do not know them."""
    if not (found := _cuda()):
        return None, None, None
    cuda, gpu = found
    cores, memory, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(100)
    failed = (
        cuda.cuDeviceGetName(name, len(name), gpu)
        or cuda.cuDeviceGetAttribute(ctypes.byref(cores), 16, gpu)  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
        or cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), gpu)
    )
    return (None, None, None) if failed else (name.value.decode(), cores.value, memory.value)


def nvidia_uuid() -> str | None:
    """The uuid of that GPU, by which NVIDIA's management library finds it; None if unknown."""
    if not (found := _cuda()):
        return None
    (cuda, gpu), uuid = found, (ctypes.c_ubyte * 16)()
    # The second version knows of parts of a GPU (MIG); it came with CUDA 11.4.
    function = getattr(cuda, "cuDeviceGetUuid_v2", None) or cuda.cuDeviceGetUuid
    return None if function(ctypes.byref(uuid), gpu) else str(UUID(bytes=bytes(uuid)))


def names_of_this_machine() -> list[str]:
    """What the column `machine` of this machine's rows may be: for its GPU first, and last for its CPU."""
    devices = []
    if platform.system() == "Darwin":
        devices.append(Device("mps", "", ""))
    name, cores, memory_bytes = nvidia_gpu()
    if name:
        devices.append(Device("cuda", "", "", name, cores, memory_bytes))
    devices.append(Device("cpu", "", ""))
    return [describe(device).machine for device in devices]


def memory_limit() -> int:
    """The memory in bytes that this process may use: the machine's, or the limit of a container."""
    import psutil

    total = psutil.virtual_memory().total
    # Of control groups version 2 and 1; without a limit the latter says a number larger than any memory.
    limits = [_control_group(file).strip() for file in ("memory.max", "memory/memory.limit_in_bytes")]
    return min([total, *(int(limit) for limit in limits if limit.isdigit())])


def _os_name() -> str:
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    if platform.system() == "Linux":
        try:
            return platform.freedesktop_os_release()["PRETTY_NAME"]
        except (OSError, KeyError):
            pass
    return f"{platform.system()} {platform.release()}"


def idle_gpu(device: Device) -> str | None:
    """One sentence about a GPU that is not used although there is one; None if that is not so."""
    if device.type != "cpu":
        return None
    installed = f"{device.framework} {device.framework_version}"
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return f"{installed} cannot use this Mac's GPU, so the CPU is measured; {device.needs}"
    if "GPU 0" in _output("nvidia-smi", "-L"):
        return f"{installed} cannot use this machine's NVIDIA GPU, so the CPU is measured; {device.needs}"
    return None


def code_version(project: Path = PROJECT) -> str:
    """The commit of this checkout, with "-dirty" if a tracked file differs from it; "" outside a checkout.

    Files in results/ do not count: they change with every run.
    """
    git = ("git", "-C", str(project))
    top = _output(*git, "rev-parse", "--show-toplevel").strip()
    if not top or Path(top).resolve() != project.resolve():  # a copy that lies inside some other checkout
        return ""
    commit = _output(*git, "rev-parse", "--short=12", "HEAD").strip()
    changed = _output(*git, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)results")
    return f"{commit}-dirty" if commit and changed.strip() else commit
