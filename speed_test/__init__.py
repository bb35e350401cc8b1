"""What the speed tests share: command line, child processes, clock, machine description, CSV.

Nothing in here knows a model, a data set or a training step; those stand in the scripts. No module
imports a framework at its top, so that `--help` is instant and the parent process stays small.
"""

from speed_test.experiment import Experiment
from speed_test.sweep import main

__all__ = ["Experiment", "main"]
