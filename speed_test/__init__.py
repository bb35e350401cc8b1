"""What the speed tests share: command line, child processes, clock, machine description, CSV.

Nothing in here hides a model, a data set or a training step: those stand in the scripts. No module imports a
framework at its top, so that `--help` is instant and the parent process stays small.
"""

from speed_test import early_interrupt

early_interrupt.watch()  # before the imports below, which take a while

from speed_test.command_line import Options  # noqa: E402
from speed_test.experiment import Epochs, Experiment, KerasFit, Repeats  # noqa: E402
from speed_test.sweep import main  # noqa: E402

__all__ = ["Epochs", "Experiment", "KerasFit", "Options", "Repeats", "main"]
