"""Facts about TensorFlow under --precision, --compile and --processes, as one line of JSON. A program of its own, as
tensorflow_facts.py is; it has two logical CPU devices."""

import contextlib
import json
import os
from pathlib import Path

import tensorflow_test_computer_vision_cifar100 as script
from speed_test import KerasFit, ceiling, clock
from speed_test.command_line import BadInput, parse
from speed_test.frameworks import tensorflow as backend
from speed_test.frameworks import tensorflow_flop, tensorflow_model, tensorflow_trial

SAMPLES, BATCH_SIZE = 23, 4  # of two replicas 8, 8 and 7: a last batch of 4 and 3
OPTIONS = parse(script.EXPERIMENT, "", ["--epochs=2", "--batch_sizes=4"]).changed(device="cpu")
clock.COMPUTE_SECONDS = 0.05  # nobody compares these figures

backend.start("cpu")
# As in a sweep, whose processes have one strategy each: the sums of a second one would get mixed up with those of the
# first (TensorFlow 2.21: "Shape mismatch in the collective instance").
TWO = backend.strategy_of(OPTIONS.changed(processes=2))

import keras  # noqa: E402
import numpy  # noqa: E402
import tensorflow as tf  # noqa: E402


def strategy_of(options):
    return TWO if options.processes == 2 else tf.distribute.get_strategy()


def small_fit(options, seen=None):
    """Images of 8x8, through a convolution, batch normalization and dropout; `seen` gets the labels of what it sees."""
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(backend.DTYPE_POLICIES[options.precision])
    strategy = strategy_of(options)

    def loss(labels, chances):
        if seen is not None:
            tf.py_function(lambda values: seen.extend(values.numpy().astype(int).ravel().tolist()), [labels], [])
        return keras.losses.sparse_categorical_crossentropy(labels % 3, chances)

    with strategy.scope():
        layers = [
            keras.Input((8, 8, 3), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(3),
            keras.layers.Activation("softmax", dtype="float32"),
        ]
        model = keras.Sequential(layers)
        model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=options.compile or "auto")
    images = numpy.random.default_rng(1).integers(0, 256, (SAMPLES, 8, 8, 3), dtype=numpy.uint8)
    batches = tf.data.Dataset.from_tensor_slices((images, numpy.arange(SAMPLES, dtype=numpy.float32)))
    return KerasFit(model, batches.batch(BATCH_SIZE * strategy.num_replicas_in_sync), SAMPLES)


def combination(precision, compiled):
    """Losses of single steps: the first three, the first two after a rewind, and of two disturbed starts."""
    fit = small_fit(OPTIONS.changed(precision=precision, compile=compiled))
    step = backend.keras_step(fit, "cpu")
    state = [*fit.model.variables, *fit.model.optimizer.variables]
    start = [value.numpy().tolist() for value in state]
    losses = [step.loss(*step.first) for _ in range(3)]
    changed = sum(value.numpy().tolist() != before for value, before in zip(state, start, strict=True))
    step.rewind()
    rewound = [value.numpy().tolist() for value in state] == start
    again = [step.loss(*step.first) for _ in range(2)]
    disturbed = []
    for off, seed in ((1e-2, 1), (1e-2, 1), (1e-2, 2)):
        step.rewind.perturbed(off, seed)
        disturbed.append(step.loss(*step.first))
    step.rewind.perturbed(0.25, 3)
    weights = {id(value) for value in fit.model.trainable_variables}
    with numpy.errstate(invalid="ignore"):  # 0 / 0: biases
        changes = [value.numpy() / before for value, before in zip(state, start, strict=True) if id(value) in weights]
    changes = numpy.concatenate([change[numpy.isfinite(change)] for change in changes])
    return {
        "losses": losses,
        "changed": changed,
        "rewound": rewound,
        "again": again,
        "disturbed": disturbed,
        "changes": sorted({round(float(change), 4) for change in changes}),
        "compiled": fit.model.jit_compile,
        "compute": fit.model.layers[1].compute_dtype,
        "result": fit.model.outputs[0].dtype,
    }


def skipped_step():
    """The scale of the loss, and the number of steps trained, after a step whose gradients overflow at first."""
    fit = small_fit(OPTIONS.changed(precision="float16"))
    step = backend.keras_step(fit, "cpu")
    fit.model.optimizer.dynamic_scale.assign(2.0**40)
    loss = step.loss(*step.first)
    return float(fit.model.optimizer.dynamic_scale.numpy()), int(fit.model.optimizer.iterations), loss


def timed(processes):
    """What two epochs on the clock saw, and their losses beside those of `model.fit` alone."""
    options = OPTIONS.changed(processes=processes)
    alone = small_fit(options)
    history = alone.model.fit(alone.batches, epochs=2, shuffle=False, verbose=0).history["loss"]
    seen, epochs, sent = [], [], []

    def send(kind, content):
        if kind == "begin":
            seen.clear()
        if kind in ("row", "held"):
            sent.append(content)
            epochs.append(sorted(seen))

    fit = small_fit(options, seen)
    backend.time_fit(clock.Clock(script.EXPERIMENT, options, BATCH_SIZE, backend, send), fit)
    return {"alone": history, "epochs": epochs, "rows": sent}


def spread():
    """How TensorFlow spreads batches over 2 replicas, and how a Spread does when it is cut."""
    strategy = TWO
    parts = strategy.experimental_local_results
    found = []
    for samples in range(1, 9):
        whole = tf.data.Dataset.range(8).batch(8)
        batches = strategy.experimental_distribute_dataset(tf.data.Dataset.range(samples).batch(8))
        (first,) = strategy.experimental_distribute_dataset(whole)
        sizes = [len(part) for (batch,) in [list(batches)] for part in parts(batch)]
        try:
            cut = tensorflow_model.Spread(strategy, parts(first))[:samples]
            found.append((sizes, [len(part) for part in cut.parts], len(cut)))
        except ValueError as error:
            found.append((sizes, str(error), samples))
    return found


def counts():
    """Multiplications and additions in thousands of millions, and in small steps by hand and by TensorFlow."""
    keras.config.set_dtype_policy("float32")
    resnet = keras.applications.ResNet50(weights=None)
    forward = tensorflow_flop.count_flop(lambda image: resnet(image, training=True), (tf.zeros([2, 224, 224, 3]),))
    fit = small_fit(OPTIONS)
    step = backend.keras_step(fit, "cpu")
    matrix = tf.ones([2, 3, 5])
    other = tf.ones([2, 5, 7])

    def loop(x):
        return tf.while_loop(lambda x: tf.reduce_sum(x) < 9, lambda x: (x @ x,), (x,))

    def transposed(x, y):
        return tf.matmul(x, y, transpose_a=True)

    def unused(x, y):
        tf.einsum("abc,acd->abd", x, y)
        return tf.einsum("...bc,...cd->...bd", x, y)

    of_two = backend.keras_step(small_fit(OPTIONS.changed(processes=2)), "cpu")
    return {
        "resnet50": forward / 2 / 2e9,
        "step": step.flop(),
        "step of two": of_two.flop(),
        "by TensorFlow": by_tensorflow(),
        "ours": tensorflow_flop.count_flop(convolutions, CONVOLVED),
        "einsum": tensorflow_flop.count_flop(unused, (matrix, other)),
        "transposed": tensorflow_flop.count_flop(transposed, (tf.ones([2, 5, 3]), other)),
        "loop": tensorflow_flop.count_flop(loop, (tf.ones([3, 3]),)),
    }


CONVOLVED = (tf.ones([2, 8, 8, 3]), tf.ones([3, 3, 3, 4]), tf.ones([4, 6]))


def convolutions(images, filters, weights):
    """A convolution, a matrix product, and the gradients of both."""
    with tf.GradientTape() as tape:
        tape.watch((images, filters, weights))
        x = tf.reshape(tf.nn.conv2d(images, filters, 2, "SAME"), [-1, 4]) @ weights
    return x, tape.gradient(x, (images, filters, weights))


def by_tensorflow():
    """The same by the framework's own counter."""
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output().build()
    graph = tf.function(convolutions).get_concrete_function(*CONVOLVED).graph
    return profiler.profile(graph, cmd="op", options=options).total_float_ops


def refusals():
    """What is said of switches that cannot be had."""
    said = {}

    def ask(name, **changes):
        try:
            said[name] = backend.check_switches(OPTIONS.changed(**changes))
        except BadInput as error:
            said[name] = str(error)

    tensorflow_trial.strategy_of = None  # the defaults ask nothing of it
    ask("defaults")
    tensorflow_trial.strategy_of = strategy_of
    ask("channels_last", channels_last=True)
    ask("tf32", precision="tf32")
    with replaced(tensorflow_trial, "_train", lambda *_: None):  # tried out above
        ask("float16", precision="float16", compile=True)
    ask("two", processes=2)
    ask("two compiled", processes=2, compile=True)
    ask("all", processes="all")
    for variable, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("WORLD_SIZE", "1")):
        os.environ[variable] = value
        ask(f"{variable}={value}")
        del os.environ[variable]
    with replaced(keras.src.trainers.trainer, "model_supports_jit", lambda model: False):
        ask("without XLA", compile=True)
    with replaced(keras.layers.LayerNormalization, "call", lambda *_: 1 / 0):
        ask("without a layer", precision="bfloat16")
    with replaced(tf.config, "list_logical_devices", lambda kind: ["a GPU", "another"]):
        said["GPUs"] = [
            tensorflow_model.device_names(OPTIONS.changed(device="cuda", processes=n)) for n in (1, 2, "all")
        ]
        tensorflow_trial.strategy_of = backend.strategy_of
        ask("too many", device="cuda", processes=3)
    return said


@contextlib.contextmanager
def replaced(owner, name, value):
    before = getattr(owner, name)
    setattr(owner, name, value)
    yield
    setattr(owner, name, before)


def rate_of_products():
    found = {"real": backend.matmul_tflops(OPTIONS)}
    with replaced(ceiling, "product_tflops", lambda *_: 1.5):
        return found | {"of two that are one": backend.matmul_tflops(OPTIONS.changed(processes=2))}


if __name__ == "__main__":
    combinations = [(precision, on) for precision in ("float32", "bfloat16", "float16") for on in (False, True)]
    found = {
        "refusals": refusals(),
        "combinations": [[*which, combination(*which)] for which in combinations],
        "skipped": skipped_step(),
        "one": timed(1),
        "two": timed(2),
        "spread": spread(),
        "counts": counts(),
        "products": rate_of_products(),
    }
    Path("facts.json").write_text(json.dumps(found))
