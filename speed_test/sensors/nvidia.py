"""NVIDIA GPUs, through NVML: https://docs.nvidia.com/deploy/nvml-api/. It needs no root, and sees every GPU."""

from collections.abc import Iterator
from typing import Any

from speed_test.sensors.base import Columns, Growth, IdleUse, Moment, Sensor

# nvmlClocksEventReasons of nvml.h. A GPU that is idle, or whose clocks somebody has set, is not held back.
REASONS = {
    0x4: "power cap",
    0x8: "HwSlowdown",
    0x10: "SyncBoost",
    0x20: "SwThermal",
    0x40: "HwThermal",
    0x80: "PowerBrake",
}
NO_REASONS = 0x1 | 0x2 | 0x100
AT_WORK = 50  # percent of the time; below it, the clock is that of a GPU that waits


def sensors(uuid: str | None) -> list[Sensor]:
    """The sensors of the GPU with this uuid (None: of the only one).

    Raises ImportError without nvidia-ml-py, pynvml.NVMLError without a driver, LookupError if there is no such GPU.
    """
    gpu = _Gpu(uuid)
    return [Sensor(Growth(gpu.joules, "energy_joules")), Sensor(gpu), Sensor(IdleUse(gpu.use_by_others))]


class _Gpu:
    def __init__(self, uuid: str | None) -> None:
        import pynvml

        self._nvml: Any = pynvml
        self._refused: set[str] = set()
        pynvml.nvmlInit()
        self._handle = self._find(uuid)
        self._is_part = bool(self._ask("nvmlDeviceIsMigDeviceHandle", self._handle))
        if self._is_part:  # clocks and heat are those of the whole GPU
            self._handle = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self._handle)

    def __call__(self, moment: Moment) -> Columns:
        """Temperature, power limit, what holds the clock back, and the clock, if the GPU works just now."""
        nvml, gpu = self._nvml, self._handle
        columns: Columns = {"gpu_temperature_c": self._ask("nvmlDeviceGetTemperature", gpu, nvml.NVML_TEMPERATURE_GPU)}
        limit = self._ask("nvmlDeviceGetEnforcedPowerLimit", gpu)
        columns["gpu_power_limit_w"] = None if limit is None else limit / 1000
        if moment is not Moment.BEGIN:
            columns["throttle_reasons"] = ", ".join(self._reasons()) or None
        if moment is Moment.BETWEEN and (self._use() or 0) >= AT_WORK:
            columns["gpu_clock_mhz"] = self._ask("nvmlDeviceGetClockInfo", gpu, nvml.NVML_CLOCK_SM)
        return columns

    def joules(self) -> float | None:
        """The energy so far (from Volta on); None if unknown, and on a part of a GPU, which has no counter."""
        energy = None if self._is_part else self._ask("nvmlDeviceGetTotalEnergyConsumption", self._handle)
        return None if energy is None else energy / 1000

    def use_by_others(self) -> float | None:
        """Percent of the time in which the GPU worked, to be asked while we do not use it. Where that is not told: the
        share of its memory that others hold."""
        use = None if self._is_part else self._use()
        return use if use is not None else self._memory_of_others()

    def _use(self) -> float | None:
        rates = self._ask("nvmlDeviceGetUtilizationRates", self._handle)
        return None if rates is None else float(rates.gpu)

    def _memory_of_others(self) -> float | None:
        import psutil

        kinds = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses")
        processes = {process.pid: process for kind in kinds for process in self._ask(kind, self._handle) or ()}
        memory = self._ask("nvmlDeviceGetMemoryInfo", self._handle)
        me = psutil.Process()
        ours = {me.pid, *(child.pid for child in me.children(recursive=True))}
        # In a container the driver tells the host's numbers, so ours are not among them, and nothing can be said.
        if memory is None or not ours & processes.keys():
            return None
        used = sum(process.usedGpuMemory or 0 for pid, process in processes.items() if pid not in ours)
        return 100 * used / memory.total

    def _reasons(self) -> Iterator[str]:
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons", self._handle)
        if bits is None:  # its name before driver 535
            bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", self._handle)
        for bit in (1 << number for number in range(64)):
            if (bits or 0) & bit & ~NO_REASONS:
                yield REASONS.get(bit, f"bit 0x{bit:x}")

    def _ask(self, function: str, *arguments: object) -> Any:
        """What a function of NVML returns; None from the first time on that it does not work on this GPU."""
        if function in self._refused:
            return None
        try:
            return getattr(self._nvml, function)(*arguments)
        except Exception:  # NVMLError, or AttributeError in an older version
            self._refused.add(function)
            return None

    def _find(self, uuid: str | bytes | None) -> Any:
        """The GPU with this uuid. NVML's numbers do not help: it does not know of CUDA_VISIBLE_DEVICES."""
        if uuid is None:
            if self._nvml.nvmlDeviceGetCount() == 1:
                return self._nvml.nvmlDeviceGetHandleByIndex(0)
            raise LookupError("more than one GPU, and no uuid")
        name = uuid.decode() if isinstance(uuid, bytes) else uuid
        for candidate in (name, f"GPU-{name}", f"MIG-{name}"):
            try:
                return self._nvml.nvmlDeviceGetHandleByUUID(candidate)
            except self._nvml.NVMLError:
                continue
        raise LookupError(name)
