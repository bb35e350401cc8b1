"""TensorFlow: what a script builds its model with under --precision and --processes."""

from typing import TYPE_CHECKING, Any

from speed_test.command_line import BadInput
from speed_test.machine import cpu_cores

if TYPE_CHECKING:
    import tensorflow as tf

    from speed_test.command_line import Options

# --precision -> Keras' dtype policy. "mixed": weights stay float32, and the layers compute in 16 bits; with float16
# `model.compile` adds the scaling of the loss. https://keras.io/api/mixed_precision/policy/
# With "float32" TensorFlow uses TF32 wherever the device has it, unless told not to. So the two are the same there.
DTYPE_POLICIES = {
    "float32": "float32",
    "tf32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


def strategy_of(options: "Options") -> "tf.distribute.Strategy":
    """How --processes spreads the training: a model that is built and compiled in its `scope()` has a replica on each
    device. For one process TensorFlow's default strategy, whose scope changes nothing.

    A replica takes --batch_sizes samples, so a batch of the data set has `num_replicas_in_sync` times as many.
    """
    import tensorflow as tf

    names = device_names(options)
    return tf.distribute.MirroredStrategy(names) if len(names) > 1 else tf.distribute.get_strategy()


def device_names(options: "Options") -> list[str]:
    """The devices that train together. On a CPU these are logical devices that share its cores: for trying it out.

    Raises BadInput if --processes asks for more GPUs, or CPU cores, than there are. Has to be called before the first
    operation.
    """
    import tensorflow as tf

    wanted = options.processes
    if options.device == "cpu":
        count = 1 if wanted == "all" else int(wanted)
        if count > (most := max(2, cpu_cores() or 2)):  # two may share a single core, for trying it out
            raise BadInput(f"--processes: {count} on the CPU are more than its cores; take {most} at most")
        if count > 1:
            _make_logical_cpus(count)
        return [f"CPU:{number}" for number in range(count)]
    gpus = len(tf.config.list_logical_devices("GPU"))
    count = gpus if wanted == "all" else int(wanted)
    if count > gpus:
        there = "is one GPU" if gpus == 1 else f"are {gpus} GPUs"
        raise BadInput(f"--processes={wanted}: there {there} here; write --processes={gpus}, or all")
    return [f"GPU:{number}" for number in range(count)]


def _make_logical_cpus(count: int) -> None:
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    if len(tf.config.get_logical_device_configuration(cpu) or [cpu]) != count:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)


class Spread:
    """Samples of a batch on the devices of several replicas, with a length, and cut as an array is: `samples[:5]`.

    `value` is what `strategy.run` takes.
    """

    def __init__(self, strategy: "tf.distribute.Strategy", parts: "tuple[tf.Tensor, ...]") -> None:
        self._strategy = strategy
        self.parts = parts
        self.value: Any = strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group]
        )

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, chosen: slice) -> "Spread":
        """The first `chosen.stop` samples, spread as TensorFlow spreads the last batch of an epoch.

        Raises ValueError if a replica would get none: the mean of no samples in batch normalization is not a number.
        """
        sizes = sizes_of(chosen.stop, len(self.parts))
        if not sizes[-1]:
            raise ValueError(
                f"the last batch has {chosen.stop} samples, which do not reach all {len(sizes)} replicas; "
                "choose another batch size"
            )
        parts = zip(self.parts, sizes, strict=True)
        return Spread(self._strategy, tuple(part[:size] for part, size in parts))


def sizes_of(samples: int, replicas: int) -> list[int]:
    """How many of the `samples` of a batch each replica gets from `experimental_distribute_dataset`: 8 are 3, 3, 2."""
    each = -(-samples // replicas)
    return [max(min(each, samples - number * each), 0) for number in range(replicas)]
