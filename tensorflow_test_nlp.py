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
"""How fast does this machine train a small transformer on IMDB with TensorFlow?

  python tensorflow_test_nlp.py --epochs=1 --batch_sizes="32"

Every epoch goes through 25,000 film reviews of 200 tokens each and appends a
row to a CSV in results/results_tensorflow_nlp/. Without options it trains 3
epochs at each of 4 batch sizes. On a slow machine, --time_limit=60 measures 60
seconds of every epoch and estimates the rest.
"""

from typing import TYPE_CHECKING

from speed_test import Experiment, KerasFit, Options, main
from speed_test.data.sources import keras_datasets

if TYPE_CHECKING:
    import keras
    from numpy import ndarray

WORDS = 20_000
TOKENS = 200
CLASSES = 2
WIDTH = 128  # of embeddings, of keys, and of the feed-forward layer
HEADS = 8
DROPOUT = 0.1
LEARNING_RATE = 0.001
SEED = 42

# As keras.datasets has them.
URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/imdb.npz"
SHA256 = "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"

EXPERIMENT = Experiment(
    framework="tensorflow",
    model="SmallTransformer",
    dataset="IMDB",
    input_size=TOKENS,
    samples=25_000,
    samples_are="reviews of 200 tokens",
    results="results_tensorflow_nlp",
    memory_gb=1.1,
    epochs=3,
    switches=("precision", "compile", "processes"),
    batch_sizes=(16, 32, 64, 128),
)


# ---- Data: reviews as token ids, all of them in memory ----


def load_data(options: Options) -> "tuple[ndarray, ndarray]":
    """The training set: token ids int32 [25000, 200], padded with 0, and labels int64 [25000].

    Raises DataUnavailable if options.data is "real" and IMDB (17 MB) can be neither read nor downloaded.
    """
    import numpy

    if options.data == "synthetic":
        random = numpy.random.default_rng(SEED)
        ids = random.integers(1, WORDS, (EXPERIMENT.samples, TOKENS), dtype=numpy.int32)
        labels = random.integers(0, CLASSES, EXPERIMENT.samples)
        return ids, labels

    with keras_datasets("imdb.npz", URL, SHA256):
        import keras

        (reviews, labels), _ = keras.datasets.imdb.load_data(num_words=WORDS)
        return keras.utils.pad_sequences(reviews, maxlen=TOKENS), labels


# ---- Model and training step ----


def small_transformer() -> "keras.Model":
    """One transformer block between embeddings and a classifier: 3,163,394 parameters.

    Token ids int32 [batch, 200] become probabilities of two classes [batch, 2].
    """
    import keras
    from keras import layers

    class TokenAndPositionEmbedding(layers.Layer):
        def __init__(self):
            super().__init__()
            self.tokens = layers.Embedding(WORDS, WIDTH)
            self.positions = layers.Embedding(TOKENS, WIDTH)

        def call(self, ids):
            return self.tokens(ids) + self.positions(keras.ops.arange(TOKENS))

    ids = keras.Input((TOKENS,), dtype="int32")
    x = TokenAndPositionEmbedding()(ids)

    attention = layers.MultiHeadAttention(HEADS, key_dim=WIDTH)(x, x)
    x = layers.LayerNormalization(epsilon=1e-6)(x + layers.Dropout(DROPOUT)(attention))
    feed_forward = layers.Dense(WIDTH)(layers.Dense(WIDTH, activation="relu")(x))
    x = layers.LayerNormalization(epsilon=1e-6)(x + layers.Dropout(DROPOUT)(feed_forward))

    x = layers.Dropout(DROPOUT)(layers.GlobalAveragePooling1D()(x))
    x = layers.Dropout(DROPOUT)(layers.Dense(WIDTH, activation="relu")(x))
    x = layers.Activation("softmax", dtype="float32")(layers.Dense(CLASSES)(x))  # whatever the precision of the rest
    return keras.Model(ids, x)


def training(batch_size: int, options: Options) -> KerasFit:
    """The transformer at one batch size; runs in a fresh process of its own."""
    import keras
    import tensorflow as tf

    from speed_test.frameworks.tensorflow import DTYPE_POLICIES, strategy_of

    keras.utils.set_random_seed(SEED)
    keras.config.set_dtype_policy(DTYPE_POLICIES[options.precision])
    strategy = strategy_of(options)  # TensorFlow's default one, or with --processes a MirroredStrategy
    with strategy.scope():
        model = small_transformer()
        model.compile(
            optimizer=keras.optimizers.Adam(LEARNING_RATE),
            loss="sparse_categorical_crossentropy",
            jit_compile=options.compile or "auto",  # by XLA; Keras does so itself on an NVIDIA GPU
        )

    # Shuffled as numbers and fetched a batch at a time: a thousand times fewer steps than review by review.
    with tf.device("CPU:0"):
        ids, labels = (tf.constant(part) for part in load_data(options))
    batches = (
        tf.data.Dataset.range(len(labels))
        .shuffle(len(labels), seed=SEED)
        .batch(batch_size * strategy.num_replicas_in_sync)
        .map(lambda chosen: (tf.gather(ids, chosen), tf.gather(labels, chosen)), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )

    return KerasFit(model, batches, samples=len(labels))


if __name__ == "__main__":
    main(EXPERIMENT, load_data, training)
