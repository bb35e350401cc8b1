"""TensorFlow: devices, waiting, memory and the rate of matrix products.

What its scripts and the clock need besides stands in the modules beside this one, and is offered here.
"""

import contextlib
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from speed_test import ceiling
from speed_test.command_line import BadInput
from speed_test.frameworks.base import process_peak_memory_gb
from speed_test.frameworks.tensorflow_fit import callback, keras_step, time_fit
from speed_test.frameworks.tensorflow_flop import count_flop
from speed_test.frameworks.tensorflow_model import DTYPE_POLICIES, device_names, strategy_of
from speed_test.frameworks.tensorflow_trial import check_switches
from speed_test.machine import GIB, Device, nvidia_gpu, nvidia_uuid

if TYPE_CHECKING:
    from speed_test.command_line import Options

__all__ = [
    "DTYPE_POLICIES",
    "NAME",
    "callback",
    "check_switches",
    "count_flop",
    "cpu_fallback",
    "describe_device",
    "keras_step",
    "matmul_tflops",
    "peak_memory_gb",
    "start",
    "strategy_of",
    "time_fit",
    "wait",
]

NAME = "TensorFlow"

# Lines that TensorFlow prints whatever TF_CPP_MIN_LOG_LEVEL says. "cuInit" is how a TensorFlow with CUDA says that
# there is no NVIDIA GPU; the others are notes, and warnings whose cause is known.
CHATTER = re.compile(
    rb"WARNING: All log messages before absl|[IW]\d{4} |\d{4}-.*: [IW] |E\d{4} .*cuInit|.*: E .*cuInit"
)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the lines of CHATTER off the screen, and let everything else through."""
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(screen, 2)
            os.close(screen)
            caught.seek(0)
            for line in caught:
                if not CHATTER.match(line):
                    os.write(2, line)


def start(device: str) -> None:
    """Import TensorFlow and Keras, with only `device` visible to them ("auto": all devices), before a script does."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's keras.json says
    if device == "cpu":  # a GPU that Keras can see makes it compile for one
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with _quiet():
        import tensorflow as tf
        from absl import logging

        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        gpus = tf.config.get_visible_devices("GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        if gpus:  # starts the runtime; else the first operation does, for --processes may make logical CPU devices
            tf.config.list_logical_devices()
        logging.set_verbosity(logging.ERROR)
        tf.get_logger().setLevel("ERROR")


def describe_device(wanted: str) -> Device:
    """Choose the device `wanted` ("auto": the GPU that TensorFlow has, else the CPU) and describe it.

    Raises BadInput if there is no such device.
    """
    start(wanted)
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    gpu_kind = "mps" if platform.system() == "Darwin" else "cuda"
    there = [gpu_kind, "cpu"] if gpus else ["cpu"]
    kind = there[0] if wanted == "auto" else wanted
    if kind not in there:
        raise BadInput(
            f"--device={kind}: TensorFlow {tf.__version__} finds no such device here; there is {' or '.join(there)}"
        )
    if kind != "cuda":
        metal = "for the GPU install Apple's plug-in: pip install tensorflow==2.18.1 tensorflow-metal==1.2.0"
        needs = metal if platform.system() == "Darwin" else "for CUDA see docs/setup.md"
        return Device(kind, NAME, tf.__version__, needs=needs)
    details = tf.config.experimental.get_device_details(gpus[0])
    _, cores, memory_bytes = nvidia_gpu()
    # TF32 came with Ampere, compute capability 8.0, and TensorFlow uses it unless told not to:
    # https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_tensor_float_32_execution
    ampere = details.get("compute_capability", (0, 0)) >= (8, 0)
    return Device(
        kind,
        NAME,
        tf.__version__,
        name=details.get("device_name"),
        gpu_cores=cores,
        memory_bytes=memory_bytes,
        tf32=ampere and tf.config.experimental.tensor_float_32_execution_enabled(),
        compiles=True,  # Keras' jit_compile="auto", but not under a MirroredStrategy
        uuid=nvidia_uuid(),
    )


def num_processes(options: "Options") -> int:
    """How many replicas --processes=all stands for: one for each GPU, or 1 on a CPU."""
    return len(device_names(options))


def matmul_tflops(options: "Options") -> float | None:
    """Trillions of floating-point operations a second in a large matrix product with the precision, and the TF32, of
    the options, in all replicas together: the devices' own ceiling."""
    import tensorflow as tf

    kind = {"bfloat16": tf.bfloat16, "float16": tf.float16}.get(options.precision, tf.float32)

    def make(size: int) -> Callable[[], object]:
        # Numbers as in a network: with zeros a GPU takes less power, and is faster. The training's own random numbers
        # stay as they are.
        left, right = (tf.cast(tf.random.stateless_normal([size, size], [0, seed]), kind) for seed in (1, 2))
        return lambda: tf.matmul(left, right)

    largest = ceiling.largest_size(_memory_bytes(options.device), kind.size, options.device == "cpu")
    together = 0.0
    for name in device_names(options):
        with tf.device(name):
            together += ceiling.product_tflops(make, partial(wait, options.device), largest)
        if options.device == "cpu":  # all its logical devices are the same cores
            break
        with contextlib.suppress(ValueError, RuntimeError):  # the Metal plug-in keeps no account of its memory
            tf.config.experimental.reset_memory_stats(name)
    return together


def _memory_bytes(device: str) -> float:
    """The memory that matrices may lie in: what is free, or all that an NVIDIA GPU has."""
    import psutil

    of_gpu = nvidia_gpu()[2] if device == "cuda" else None
    return of_gpu or psutil.virtual_memory().available


def wait(device: str) -> None:
    """Return once the device has done all that it was given."""
    import tensorflow as tf

    if device == "cuda":
        tf.test.experimental.sync_devices()
    elif device == "mps":
        # sync_devices() may not reach the Metal plug-in. A GPU works in the order in which it was given work, so
        # this result comes after everything else.
        with tf.device("GPU:0"):
            (tf.zeros(()) + 1).numpy()


def peak_memory_gb(device: str) -> float | None:
    """Peak memory so far in GB of 2^30 bytes: of tensors on the GPU that has most, on a CPU of this
    process. None if unknown."""
    if device == "cpu":
        return process_peak_memory_gb()
    import tensorflow as tf

    try:
        gpus = tf.config.list_logical_devices("GPU") if device == "cuda" else []
        return max(tf.config.experimental.get_memory_info(gpu.name)["peak"] for gpu in gpus) / GIB
    except (ValueError, RuntimeError):
        return None


def cpu_fallback() -> None:
    """TensorFlow does not tell which operators ran on the CPU in place of the GPU."""
