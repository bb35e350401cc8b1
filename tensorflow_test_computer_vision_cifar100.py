# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "tensorflow==2.18.1 ; sys_platform == 'darwin' and platform_machine == 'arm64'",
#     "tensorflow-metal==1.2.0 ; sys_platform == 'darwin' and platform_machine == 'arm64'",
#     "tensorflow==2.21.0 ; sys_platform != 'darwin'",
#     "tqdm>=4.66",
#     "psutil>=6.0",
#     "portalocker>=3.0",
#     "py-cpuinfo>=9.0",
#     "nvidia-ml-py>=12.535 ; sys_platform != 'darwin'",
#     "zeus-apple-silicon>=1.1 ; sys_platform == 'darwin' and platform_machine == 'arm64'",
# ]
# ///
"""How fast does this machine train ResNet50 on CIFAR100 with TensorFlow?

  python tensorflow_test_computer_vision_cifar100.py --epochs=1 --batch_sizes=32

Every epoch goes through 50,000 images of 32x32 and appends a row to a CSV in
results/results_tensorflow_cv/. Without options it trains 5 epochs at each of 7
batch sizes. On a slow machine, --time_limit=60 measures 60 seconds of every
epoch and estimates the rest.
"""

from typing import TYPE_CHECKING

from speed_test import Experiment, KerasFit, Options, main
from speed_test.data.sources import keras_datasets

if TYPE_CHECKING:
    from numpy import ndarray

CLASSES = 100
LEARNING_RATE = 0.001
SEED = 42

# As keras.datasets has them.
URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"

EXPERIMENT = Experiment(
    framework="tensorflow",
    model="ResNet50",
    dataset="CIFAR100",
    input_size=32,
    samples=50_000,
    samples_are="images of 32x32",
    results="results_tensorflow_cv",
    memory_gb=1.6,
    epochs=5,
    switches=("precision", "compile", "channels_last", "processes"),
    batch_sizes=(16, 32, 64, 128, 256, 512, 1024),
)


# ---- Data: all of it in memory, as bytes ----


def load_data(options: Options) -> "tuple[ndarray, ndarray]":
    """The training set: images uint8 [50000, 32, 32, 3], labels int64 [50000].

    Raises DataUnavailable if options.data is "real" and CIFAR100 (161 MB) can be neither read nor downloaded.
    """
    import numpy

    if options.data == "synthetic":
        random = numpy.random.default_rng(SEED)
        images = random.integers(0, 256, (EXPERIMENT.samples, 32, 32, 3), dtype=numpy.uint8)
        labels = random.integers(0, CLASSES, EXPERIMENT.samples)
        return images, labels

    with keras_datasets("cifar-100-python-target_archive", URL, SHA256):
        import keras

        (images, labels), _ = keras.datasets.cifar100.load_data()
    return images, labels.reshape(-1)


# ---- Model and training step ----


def training(batch_size: int, options: Options) -> KerasFit:
    """ResNet50 at one batch size; runs in a fresh process of its own."""
    import keras
    import tensorflow as tf

    from speed_test.frameworks.tensorflow import DTYPE_POLICIES, strategy_of

    keras.utils.set_random_seed(SEED)
    keras.config.set_dtype_policy(DTYPE_POLICIES[options.precision])
    strategy = strategy_of(options)  # TensorFlow's default one, or with --processes a MirroredStrategy
    with strategy.scope():
        model = keras.Sequential(
            [
                keras.Input((32, 32, 3), dtype="uint8"),
                keras.layers.Rescaling(1 / 255),
                keras.applications.ResNet50(
                    weights=None, input_shape=(32, 32, 3), classes=CLASSES, classifier_activation=None
                ),
                keras.layers.Activation("softmax", dtype="float32"),  # whatever the precision of the rest
            ]
        )
        model.compile(
            optimizer=keras.optimizers.Adam(LEARNING_RATE),
            loss="sparse_categorical_crossentropy",
            jit_compile=options.compile or "auto",  # by XLA; Keras does so itself on an NVIDIA GPU
        )

    # Shuffled as numbers and fetched a batch at a time: a thousand times fewer steps than image by image.
    with tf.device("CPU:0"):
        images, labels = (tf.constant(part) for part in load_data(options))
    batches = (
        tf.data.Dataset.range(len(labels))
        .shuffle(len(labels), seed=SEED)
        .batch(batch_size * strategy.num_replicas_in_sync)
        .map(lambda chosen: (tf.gather(images, chosen), tf.gather(labels, chosen)), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )

    return KerasFit(model, batches, samples=len(labels))


if __name__ == "__main__":
    main(EXPERIMENT, load_data, training)
