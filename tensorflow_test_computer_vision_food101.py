# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "tensorflow==2.18.1 ; sys_platform == 'darwin' and platform_machine == 'arm64'",
#     "tensorflow-metal==1.2.0 ; sys_platform == 'darwin' and platform_machine == 'arm64'",
#     "tensorflow-metadata==1.17.3 ; sys_platform == 'darwin' and platform_machine == 'arm64'",
#     "tensorflow==2.21.0 ; sys_platform != 'darwin'",
#     "tensorflow-datasets==4.9.10",
#     "importlib_resources",
#     "tqdm>=4.66",
#     "psutil>=6.0",
#     "portalocker>=3.0",
#     "py-cpuinfo>=9.0",
#     "nvidia-ml-py>=12.535 ; sys_platform != 'darwin'",
#     "zeus-apple-silicon>=1.1 ; sys_platform == 'darwin' and platform_machine == 'arm64'",
# ]
# ///
"""How fast does this machine train ResNet50 on Food101 with TensorFlow?

  python tensorflow_test_computer_vision_food101.py --epochs=1 --batch_sizes=32

Every epoch decodes 75,750 JPEGs, resizes them to 224x224, trains on them, and
appends a row to a CSV in results/results_tensorflow_cv/. Decoding is part of
the work, and done by tf.data on the CPU cores. Without options it trains 3
epochs at each of 3 batch sizes. On a slow machine, --time_limit=60 measures 60
seconds of every epoch and estimates the rest.
"""

from typing import TYPE_CHECKING

from speed_test import Experiment, KerasFit, Options, main
from speed_test.data.photographs import synthetic_photographs
from speed_test.data.sources import require_network, unless_unavailable

if TYPE_CHECKING:
    import tensorflow as tf

CLASSES = 101
IMAGE_SIZE = 224
LEARNING_RATE = 0.001
SEED = 42

# JPEGs that wait, still compressed, to be drawn in random order: 50 MB of them.
SHUFFLE_BUFFER = 1000

EXPERIMENT = Experiment(
    framework="tensorflow",
    model="ResNet50",
    dataset="FOOD101",
    input_size=IMAGE_SIZE,
    samples=75_750,
    samples_are="JPEGs, resized to 224x224",
    results="results_tensorflow_cv",
    memory_gb=4.5,
    epochs=3,
    switches=("precision", "compile", "channels_last", "processes"),
    batch_sizes=(32, 64, 128),
)


# ---- Data: JPEGs, decoded by tf.data ----


def load_data(options: Options) -> "tf.data.Dataset":
    """The training set: a tf.data.Dataset of (JPEG bytes, label), of known length.

    Raises DataUnavailable if options.data is "real" and Food101 can be neither read nor downloaded (5 GB).
    """
    import tensorflow as tf

    if options.data == "synthetic":
        jpegs = [tf.io.encode_jpeg(image, quality=75) for image in synthetic_photographs(SEED)]
        labels = tf.range(len(jpegs), dtype=tf.int64) % CLASSES
        stored = tf.data.Dataset.from_tensor_slices((tf.stack(jpegs), labels))
        return stored.repeat().take(EXPERIMENT.samples)

    with unless_unavailable("food101 of tensorflow_datasets"):
        import tensorflow_datasets as tfds

        folder = options.data_dir / "tensorflow_datasets"
        builder = tfds.builder("food101", data_dir=folder)
        if not builder.is_prepared():
            require_network("http://data.vision.ee.ethz.ch")
        stored = tfds.load(
            "food101",
            split="train",
            data_dir=folder,
            shuffle_files=True,
            as_supervised=True,
            decoders={"image": tfds.decode.SkipDecoding()},
        )
        next(iter(stored))  # broken files are to be found out now, and not by the clock
    return stored


def decode(jpeg: "tf.Tensor", label: "tf.Tensor") -> "tuple[tf.Tensor, tf.Tensor]":
    """A JPEG as RGB, uint8 [224, 224, 3]: bytes are what goes to the device, a fourth of floats."""
    import tensorflow as tf

    image = tf.io.decode_jpeg(jpeg, channels=3)
    return tf.cast(tf.image.resize(image, [IMAGE_SIZE, IMAGE_SIZE]), tf.uint8), label


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
                keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3), dtype="uint8"),
                keras.layers.Rescaling(1 / 255),
                keras.applications.ResNet50(
                    weights=None, input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3), classes=CLASSES, classifier_activation=None
                ),
                keras.layers.Activation("softmax", dtype="float32"),  # whatever the precision of the rest
            ]
        )
        model.compile(
            optimizer=keras.optimizers.Adam(LEARNING_RATE),
            loss="sparse_categorical_crossentropy",
            jit_compile=options.compile or "auto",  # by XLA; Keras does so itself on an NVIDIA GPU
        )

    stored = load_data(options)
    batches = (
        stored.shuffle(SHUFFLE_BUFFER, seed=SEED)
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size * strategy.num_replicas_in_sync)
        .prefetch(tf.data.AUTOTUNE)
    )

    return KerasFit(model, batches, samples=int(stored.cardinality()))


if __name__ == "__main__":
    main(EXPERIMENT, load_data, training)
