"""The child of a batch size, from its framework's import to its last row."""

import warnings
from collections.abc import Callable

from speed_test import frameworks
from speed_test.clock import Clock
from speed_test.command_line import Options
from speed_test.data import sources
from speed_test.epoch import notice_stops
from speed_test.experiment import Epochs, Experiment, KerasFit, Repeats, Timed
from speed_test.ranks import Place

Training = Callable[[int | None, Options], Timed]
Send = Callable[[str, object], None]


def train(
    send: Send,
    experiment: Experiment,
    options: Options,
    training: Training,
    batch_size: int | None,
    place: Place | None,
    name: str,
) -> None:
    """Build the model by `training` and time it; the parent gets the messages of `Clock`.

    Raises Skipped where nothing can be measured in the time of --budget.
    """
    warnings.simplefilter("ignore", sources.DataWarning)  # printed already, when the run was prepared
    framework = frameworks.load(experiment.framework)
    framework.start(options.device)
    notice_stops()
    group = None
    if place:
        group = frameworks.load_group(experiment.framework).join(place, options.device, name, options.compile)
    clock = Clock(experiment, options, batch_size, framework, send, group)
    if batch_size is not None and options.epochs:
        # Before the model is there, so that its memory peaks are its own.
        clock.group.meet()
        tflops = framework.matmul_tflops(options)
        clock.shared["matmul_tflops"] = tflops and clock.group.total(tflops)
    timed = training(batch_size, options)
    if isinstance(timed, Epochs):
        clock.time_epochs(timed)
    elif isinstance(timed, KerasFit):
        frameworks.load_keras(experiment.framework).time_fit(clock, timed)
    elif isinstance(timed, Repeats):
        clock.time_repeats(timed)
    else:
        raise TypeError(f"a script hands back Epochs, KerasFit or Repeats, not {type(timed).__name__}")
    if options.epochs and not isinstance(timed, Repeats):  # 0: only the compute limit was wanted
        clock.finish(once_more=timed.after is None)
    clock.group.leave()
    if options.epochs and timed.after and clock.group.rank == 0:
        clock.say(timed.after())
