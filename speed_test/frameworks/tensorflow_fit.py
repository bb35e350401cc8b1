"""TensorFlow: the clock as a Keras callback, and Keras' own training step as a thing of its own."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from speed_test.experiment import TrainingStep
from speed_test.frameworks.tensorflow_flop import flop_of
from speed_test.frameworks.tensorflow_model import Spread

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from speed_test.clock import Clock
    from speed_test.experiment import Batch, KerasFit


# An optimizer that scales the loss skips a step whose float16 gradients overflow, and halves the scale: from 2^15 on,
# and so no more often than this until float16 holds them or none is left. A skipped step trains nothing.
MOST_SKIPPED = 32


class Rewind:
    """Brings a compiled model, its optimizer and its random numbers back to where they were when this was made.

    It undoes warm-up and compute limit.
    """

    def __init__(self, model: "keras.Model") -> None:
        with model.distribute_strategy.scope():
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
        self._model = model
        # An optimizer that scales the loss counts those of the one inside it as its own.
        self._start = [(variable, variable.numpy()) for variable in [*model.variables, *model.optimizer.variables]]

    def __call__(self) -> None:
        for variable, value in self._start:
            variable.assign(value)

    def perturbed(self, relative: float, seed: int) -> None:
        """Rewind, and then change each trained weight by `relative`, up or down at random, and let dropout draw other
        numbers: what rounding does to a training, as much as a user likes."""
        import numpy

        self()
        random = numpy.random.default_rng(seed)
        for variable in self._model.trainable_variables:
            value = variable.numpy()
            signs = random.choice(numpy.array([-1, 1], dtype=value.dtype), size=value.shape)
            variable.assign(value * (1 + relative * signs).astype(value.dtype))
        for variable in self._model.non_trainable_variables:
            if variable.name == "seed_generator_state":  # a seed, and a counter of what was drawn with it
                drawn = random.integers(0, 2**31, size=variable.shape)
                variable.assign(drawn.astype(variable.dtype))


def time_fit(clock: "Clock", fit: "KerasFit") -> None:
    """Train with `model.fit`, and send a row for each epoch."""
    epochs = len(clock.epoch_numbers())
    # The data set shuffles itself.
    fit.model.fit(fit.batches, epochs=epochs, shuffle=False, verbose=0, callbacks=[callback(clock, fit)])


def keras_step(fit: "KerasFit", device: str) -> TrainingStep:
    """The step of `fit` on its own, compiled as Keras compiles it, with its first batch on the device, or spread over
    the replicas as `model.fit` spreads it."""
    rewind = Rewind(fit.model)
    function, first = _on_replicas(fit) if _replicas(fit.model) > 1 else _on_one(fit, device)

    def run(*batch: Any) -> Any:
        return function(tuple(part.value if isinstance(part, Spread) else part for part in batch))

    def loss(*batch: Any) -> float:
        trained = int(fit.model.optimizer.iterations)
        for _ in range(1 + MOST_SKIPPED):
            fit.model.reset_metrics()
            run(*batch)
            if int(fit.model.optimizer.iterations) > trained:
                break
        return loss_of(fit.model)

    def flop() -> float | None:
        batch = tuple(part.value if isinstance(part, Spread) else part for part in first)
        return flop_of(function.get_concrete_function().graph, batch)

    return TrainingStep(run=run, loss=loss, first=first, samples=fit.samples, rewind=rewind, flop=flop)


def loss_of(model: "keras.Model") -> float:
    """Mean loss since Keras has reset the metrics, over the samples of all replicas; not scaled."""
    return float(model.get_metrics_result()["loss"])


def _replicas(model: "keras.Model") -> int:
    return model.distribute_strategy.num_replicas_in_sync


def _on_one(fit: "KerasFit", device: str) -> "tuple[Any, Batch]":
    """Keras' step, and its first batch on the device."""
    import tensorflow as tf

    function = _function(fit.model.train_step, fit, fit.batches)
    with tf.device("CPU:0" if device == "cpu" else "GPU:0"):
        return function, tuple(tf.identity(part) for part in next(iter(fit.batches)))


def _on_replicas(fit: "KerasFit") -> "tuple[Any, Batch]":
    """The same under MirroredStrategy, which puts the parts of a batch on the replicas' devices."""
    strategy = fit.model.distribute_strategy
    batches = strategy.experimental_distribute_dataset(fit.batches)
    function = _function(lambda batch: strategy.run(fit.model.train_step, args=(batch,)), fit, batches)
    first = next(iter(batches))
    return function, tuple(Spread(strategy, strategy.experimental_local_results(part)) for part in first)


def _function(step: Callable, fit: "KerasFit", batches: "tf.data.Dataset") -> Any:
    """`step` as a graph, for batches of any size, so that the last, smaller one does not trace it again."""
    import tensorflow as tf

    return tf.function(step, input_signature=[batches.element_spec], jit_compile=fit.model.jit_compile, autograph=False)


def callback(clock: "Clock", fit: "KerasFit") -> "keras.callbacks.Callback":
    """The clock as a callback of `model.fit`: it warms up, measures the compute limit, and sends a row for each epoch.

    The step is Keras' own `train_step`, compiled as Keras compiles it. `fit` gets it from here and not from
    `make_train_function` for three reasons. The compute limit needs the same compiled function, for a batch that
    stays on the device. The wait for the next batch can be timed apart from the step. And it returns no metrics:
    `fit` would read them after each step, and so make the device wait.
    """
    import keras

    parts_of = fit.model.distribute_strategy.experimental_local_results

    class Timed(keras.callbacks.Callback):
        def on_train_begin(self, logs=None) -> None:
            step = keras_step(fit, clock.options.device)
            self.step = step.run
            self.model.train_function = self.train_function
            # `fit` drops an epoch's iterator when the next epoch has begun, and TensorFlow may need seconds to
            # delete it. Held here as well, it is deleted after the clock has stopped.
            self.iterators: list[Iterator] = []
            clock.shared["compiled"] = self.model.jit_compile
            clock.share_out(_replicas(self.model))
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
            self.epoch.count(sum(len(part) for part in parts_of(batch[0])))
            if self.epoch.at_limit:
                self.model.stop_training = True
            return {}

        def on_epoch_end(self, epoch, logs=None) -> None:
            self.epoch.stop()
            del self.iterators[:-1]
            # --time_limit has ended an epoch, not the training.
            self.model.stop_training = not clock.end_epoch(self.epoch, loss_of(self.model))

    return Timed()
