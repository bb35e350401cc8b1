"""Facts about the TensorFlow scripts, as one line of JSON. A program of its own, for a process that has
imported torchvision before or after must not import TensorFlow."""

import collections
import importlib
import json
import time
from dataclasses import replace
from pathlib import Path

from speed_test import KerasFit, clock
from speed_test.budget import Share
from speed_test.command_line import parse
from speed_test.frameworks import tensorflow as backend

SCRIPTS = ("tensorflow_test_computer_vision_cifar100", "tensorflow_test_computer_vision_food101", "tensorflow_test_nlp")
BATCH_SIZE, SAMPLES = 7, 50  # the last batch has one sample

backend.start("cpu")

import keras  # noqa: E402
import numpy  # noqa: E402
import tensorflow as tf  # noqa: E402


def numbered(script):
    """Data of a script in which every sample is labelled with its number, and images or reviews are full of it."""
    numbers = numpy.arange(SAMPLES)
    if "food101" in script.__name__:
        jpegs = [tf.io.encode_jpeg(numpy.full((8, 8, 3), 5 * number, dtype=numpy.uint8)) for number in numbers]
        return tf.data.Dataset.from_tensor_slices((jpegs, tf.constant(numbers)))
    shape = (200,) if "nlp" in script.__name__ else (32, 32, 3)
    kind = numpy.int32 if "nlp" in script.__name__ else numpy.uint8
    return numpy.stack([numpy.full(shape, number, dtype=kind) for number in numbers]), numbers


def facts(name):
    """Parameters of the model, and the samples of two epochs of its pipeline as (number in it, label) by batch."""
    script = importlib.import_module(name)
    script.load_data = lambda options: numbered(script)
    options = parse(script.EXPERIMENT, "", ["--epochs=2"]).changed(device="cpu")
    fit = script.training(BATCH_SIZE, options)
    unit = 5 if "food101" in name else 1
    epochs = [
        [
            [(round(float(numpy.mean(sample)) / unit), int(label)) for sample, label in zip(*batch, strict=True)]
            for batch in fit.batches.as_numpy_iterator()
        ]
        for _ in range(options.epochs)
    ]
    return {"parameters": fit.model.count_params(), "samples": fit.samples, "epochs": epochs}


def timed_epochs():
    """What happens in three timed epochs over samples that the batch size does not divide."""
    keras.utils.set_random_seed(1)
    clock.COMPUTE_SECONDS = 0.05
    seen, log, sent = collections.Counter(), [], []

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2, activation="softmax")
            self.dropout = keras.layers.Dropout(0.5)

        def call(self, numbers, training=False):
            log.append(("traced", tuple(numbers.shape)))
            tf.py_function(lambda values: seen.update(values.numpy().astype(int).tolist()), [numbers[:, 0]], [])
            return self.dense(self.dropout(numbers / SAMPLES, training=training))

    model = Model()
    model(numpy.zeros((1, 1), dtype=numpy.float32))
    seen.clear(), log.clear()
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy")
    before = [value.numpy().tolist() for value in model.trainable_variables]
    numbers = numpy.arange(SAMPLES, dtype=numpy.float32)[:, None]
    batches = tf.data.Dataset.from_tensor_slices((numbers, numpy.zeros(SAMPLES, int))).batch(BATCH_SIZE)
    experiment = importlib.import_module(SCRIPTS[0]).EXPERIMENT
    options = parse(experiment, "", ["--epochs=3", "--batch_sizes=7"]).changed(device="cpu")
    at_start = []

    def send(kind, content):
        kind = "row" if kind == "held" else kind  # the last one waits for a column in the parent
        if kind == "begin":
            return
        sent.append((kind, content))
        log.append((kind, None))
        if kind == "rate":
            at_start.extend(value.numpy().tolist() for value in model.trainable_variables)
        log.append(("seen", sorted(seen.elements())))
        seen.clear()

    fit = KerasFit(model, batches, SAMPLES)
    watch = backend.callback(clock.Clock(experiment, options, BATCH_SIZE, backend, send), fit)
    model.fit(batches, epochs=3, shuffle=False, verbose=0, callbacks=[watch])
    return {
        "log": log,
        "rows": [content for kind, content in sent if kind == "row"],
        "rewound": at_start == before,
    }


def within(budget, step_seconds, samples):
    """What is sent of up to three epochs, where a step takes so long, and the seconds that it takes."""
    clock.COMPUTE_SECONDS = 0.05

    class Slow(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2, activation="softmax")

        def call(self, numbers):
            tf.py_function(lambda: time.sleep(step_seconds), [], [])
            return self.dense(numbers)

    model = Slow()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    numbers = numpy.zeros((samples, 1), dtype=numpy.float32)
    batches = tf.data.Dataset.from_tensor_slices((numbers, numpy.zeros(samples, int))).batch(BATCH_SIZE)
    model(numbers[:1])
    experiment = replace(importlib.import_module(SCRIPTS[0]).EXPERIMENT, samples=samples)
    options = parse(experiment, "", ["--epochs=3", "--batch_sizes=7"])
    began = time.monotonic()
    options = options.changed(device="cpu", share=Share(began, began + budget, began + budget))
    sent = []
    watch = clock.Clock(experiment, options, BATCH_SIZE, backend, lambda *message: sent.append(message))
    backend.time_fit(watch, KerasFit(model, batches, samples))
    watch.finish(once_more=True)
    return {"sent": [message for message in sent if message[0] != "begin"], "seconds": time.monotonic() - began}


if __name__ == "__main__":
    found = {name: facts(name) for name in SCRIPTS}
    found |= {"timed": timed_epochs(), "whole": within(600, 0, SAMPLES), "part": within(6, 0.1, 70 * BATCH_SIZE)}
    Path("facts.json").write_text(json.dumps(found))
