"""TensorFlow: devices, waiting, memory, and the clock as a Keras callback."""

import contextlib
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from speed_test.command_line import BadInput
from speed_test.experiment import TrainingStep
from speed_test.frameworks.base import process_peak_memory_gb
from speed_test.machine import GIB, Device, nvidia_gpu, nvidia_uuid

if TYPE_CHECKING:
    import keras

    from speed_test.clock import Clock
    from speed_test.command_line import Options
    from speed_test.experiment import Batch, KerasFit

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
        for gpu in tf.config.get_visible_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
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
        uuid=nvidia_uuid(),
    )


def check_switches(options: "Options") -> list[str]:
    """To do."""
    return []


def count_flop(step: Callable, batch: "Batch") -> float | None:
    """To do."""
    return None


def matmul_tflops(options: "Options") -> float | None:
    """To do."""
    return None


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
    """Peak memory so far in GB of 2^30 bytes: of tensors on a GPU, on a CPU of this process. None if unknown."""
    if device == "cpu":
        return process_peak_memory_gb()
    import tensorflow as tf

    try:
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / GIB if device == "cuda" else None
    except (ValueError, RuntimeError):
        return None


def cpu_fallback() -> None:
    """TensorFlow does not tell which operators ran on the CPU in place of the GPU."""


def rewind_of(model: "keras.Model") -> Callable[[], None]:
    """A function that brings a compiled model, its optimizer and its random numbers back to where they are now.

    It undoes warm-up and compute limit.
    """
    model.optimizer.build(model.trainable_variables)
    start = [(variable, variable.numpy()) for variable in [*model.variables, *model.optimizer.variables]]

    def rewind() -> None:
        for variable, value in start:
            variable.assign(value)

    return rewind


def time_fit(clock: "Clock", fit: "KerasFit") -> None:
    """Train with `model.fit`, and send a row for each epoch."""
    epochs = len(clock.epoch_numbers())
    # The data set shuffles itself.
    fit.model.fit(fit.batches, epochs=epochs, shuffle=False, verbose=0, callbacks=[callback(clock, fit)])


def keras_step(fit: "KerasFit", device: str) -> TrainingStep:
    """The step of `fit` on its own, compiled as Keras compiles it, with its first batch on the device."""
    import tensorflow as tf

    # For batches of any size, so that the last, smaller one does not trace the step again.
    function = tf.function(
        fit.model.train_step,
        input_signature=[fit.batches.element_spec],
        jit_compile=fit.model.jit_compile,
        autograph=False,
    )
    with tf.device("CPU:0" if device == "cpu" else "GPU:0"):
        first = tuple(tf.identity(part) for part in next(iter(fit.batches)))

    def loss(*batch) -> float:
        fit.model.reset_metrics()
        return float(function(batch)["loss"])

    return TrainingStep(
        run=lambda *batch: function(batch),
        loss=loss,
        first=first,
        samples=fit.samples,
        rewind=rewind_of(fit.model),
        flop=lambda: None,
    )


def callback(clock: "Clock", fit: "KerasFit") -> "keras.callbacks.Callback":
    """The clock as a callback of `model.fit`: it warms up, measures the compute limit, and sends a row for each epoch.

    The step is Keras' own `train_step`, compiled as Keras compiles it. `fit` gets it from here and not from
    `make_train_function` for three reasons. The compute limit needs the same compiled function, for a batch that
    stays on the device. The wait for the next batch can be timed apart from the step. And it returns no metrics:
    `fit` would read them after each step, and so make the device wait.
    """
    import keras

    class Timed(keras.callbacks.Callback):
        def on_train_begin(self, logs=None) -> None:
            step = keras_step(fit, clock.options.device)
            self.step = step.run
            self.model.train_function = self.train_function
            # `fit` drops an epoch's iterator when the next epoch has begun, and TensorFlow may need seconds to
            # delete it. Held here as well, it is deleted after the clock has stopped.
            self.iterators: list[Iterator] = []
            clock.shared["compiled"] = self.model.jit_compile
            clock.get_ready(step)

        def on_epoch_begin(self, epoch, logs=None) -> None:
            self.epoch = clock.epoch(clock.epoch_numbers()[epoch], fit.samples).start()

        def train_function(self, batches) -> dict:
            """`fit` calls this for each step."""
            try:
                if batches not in self.iterators:
                    self.iterators.append(batches)
                batch = self.epoch.next_batch(batches)
                if batch is None:
                    raise StopIteration
                self.step(*batch)
            except BaseException:
                self.epoch.close()
                raise
            self.epoch.count(len(batch[0]))
            if self.epoch.at_limit:
                self.model.stop_training = True
            return {}

        def on_epoch_end(self, epoch, logs=None) -> None:
            self.epoch.stop()
            del self.iterators[:-1]
            # --time_limit has ended an epoch, not the training.
            self.model.stop_training = not clock.end_epoch(self.epoch, float(self.model.get_metrics_result()["loss"]))

    return Timed()
