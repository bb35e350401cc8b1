"""TensorFlow: whether the device can do what the switches ask of it. It is asked by a tiny training, never known by a
list of chips."""

import os
import time
import warnings
from typing import TYPE_CHECKING

from speed_test import screen, switches
from speed_test.command_line import BadInput
from speed_test.frameworks.tensorflow_model import DTYPE_POLICIES, strategy_of

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from speed_test.command_line import Options

# A matrix product that takes longer in 16 bits than in float32, by more than clocks and neighbours explain, is one that
# the processor has no instructions for.
SLOW = 1.5
SIZE = 512  # of its matrices
WORDS, TOKENS, WIDTH, SAMPLES = 32, 16, 8, 4  # of the tiny model


def check_switches(options: "Options") -> list[str]:
    """Try on the device what --precision, --compile, --channels_last and --processes ask of it.

    Returns a sentence for each that is known to be slow there. Raises BadInput for what cannot be done. The defaults
    cost nothing.
    """
    for variable, of_one in (("RANK", None), ("LOCAL_RANK", None), ("WORLD_SIZE", "1")):
        if os.environ.get(variable, of_one) != of_one:
            raise BadInput(
                f"{variable} is set, as torchrun and other launchers do, but TensorFlow takes all GPUs of a machine "
                "with --processes=all: start the script with python"
            )
    if options.channels_last:
        raise BadInput("--channels_last: TensorFlow's images are channels last already; leave it out")
    if switches.of(options) == switches.DEFAULT and options.processes == 1:
        return []
    strategy = strategy_of(options)
    replicas = strategy.num_replicas_in_sync
    if options.compile and replicas > 1:
        raise BadInput(f"--compile: XLA cannot compile a step of {replicas} replicas; leave it or --processes out")
    if options.precision == "tf32" and not _rounds_to_tf32():
        raise BadInput("--precision=tf32: this device multiplies float32 as it is; leave it out")
    _train(options, strategy)
    return _slow(options)


def _asked(options: "Options") -> str:
    """The switches as they stand on the command line."""
    asked = {"--compile": options.compile, f"--processes={options.processes}": options.processes != 1}
    asked = {f"--precision={options.precision}": options.precision != switches.DEFAULT.precision, **asked}
    return " ".join(flag for flag, given in asked.items() if given)


def _train(options: "Options", strategy: "tf.distribute.Strategy") -> None:
    """Train a tiny model of all kinds of layers for a step. Raises BadInput if that does not work."""
    import keras
    import numpy

    try:
        with warnings.catch_warnings(), strategy.scope():
            warnings.simplefilter("ignore")  # Keras warns, and goes on without XLA
            keras.config.set_dtype_policy(DTYPE_POLICIES[options.precision])
            model = _tiny_model()
            model.compile("adam", "sparse_categorical_crossentropy", jit_compile=options.compile or "auto")
        if options.compile and not model.jit_compile:
            raise BadInput("--compile: Keras has no XLA for this device; leave it out")
        samples = SAMPLES * strategy.num_replicas_in_sync
        ids = numpy.arange(samples * TOKENS, dtype=numpy.int32).reshape(samples, TOKENS) % WORDS
        loss = model.fit(ids, numpy.zeros(samples), batch_size=samples, verbose=0).history["loss"][0]
    except BadInput:
        raise
    except Exception as error:  # of whatever kind: each part of TensorFlow has its own
        why = screen.one_line(str(error))
        raise BadInput(f"{_asked(options)}: TensorFlow cannot do that on this device ({why}); leave it out") from None
    finally:
        keras.config.set_dtype_policy(DTYPE_POLICIES[switches.DEFAULT.precision])
    if not numpy.isfinite(loss):
        raise BadInput(f"{_asked(options)}: the loss of a tiny training on this device is {loss}; leave it out")


def _tiny_model() -> "keras.Model":
    """Embedding, convolution, batch normalization, attention, layer normalization and a classifier."""
    import keras
    from keras import layers

    ids = keras.Input((TOKENS,), dtype="int32")
    x = layers.Reshape((4, 4, WIDTH))(layers.Embedding(WORDS, WIDTH)(ids))
    x = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(WIDTH, 3, padding="same")(x)))
    x = layers.Reshape((TOKENS, WIDTH))(x)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, key_dim=WIDTH)(x, x))
    x = layers.Dense(2)(layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x)))
    return keras.Model(ids, layers.Activation("softmax", dtype="float32")(x))


def _rounds_to_tf32() -> bool:
    """Whether a product of float32 matrices loses what TF32, with 10 bits of fraction, cannot hold: 1 + 2^-12."""
    import tensorflow as tf

    product = tf.matmul(tf.fill([SIZE, SIZE], 1 + 2.0**-12), tf.ones([SIZE, SIZE]))
    return float(product[0, 0]) != SIZE * (1 + 2.0**-12)  # float32 holds all sums on the way


def _slow(options: "Options") -> list[str]:
    """What is slow on this device."""
    found = []
    policy = DTYPE_POLICIES[options.precision]
    if policy != "float32":
        slower = _seconds(options.precision) / _seconds("float32")
        if slower > SLOW:
            found.append(
                f"--precision={options.precision}: a matrix product took {slower:.1f} times as long as in float32 here"
            )
    if options.compile and options.device == "cpu":
        found.append("--compile: Keras itself leaves XLA off on a CPU, where it is often slower; see docs/speed.md")
    if options.precision == "tf32":
        found.append("--precision=tf32: TensorFlow uses TF32 by default, so float32 is the same")
    return found


def _seconds(kind: str) -> float:
    """How long a matrix product takes, at best."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.stateless_uniform([SIZE, SIZE], [0, 1]), kind)
    seconds = []
    for _ in range(4):  # the first one chooses its kernel
        start = time.perf_counter()
        float(tf.matmul(matrix, matrix)[0, 0])
        seconds.append(time.perf_counter() - start)
    return min(seconds)
