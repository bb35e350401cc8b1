"""The columns that all rows of a run share."""

from dataclasses import asdict

from speed_test import machine, switches
from speed_test.command_line import Options
from speed_test.experiment import Experiment
from speed_test.ranks import Ranks
from speed_test.results import MEASUREMENT_VERSION


def shared_columns(
    experiment: Experiment, options: Options, device: machine.Device, here: machine.Machine, ranks: Ranks
) -> dict[str, object]:
    """Experiment, machine, versions and run."""
    return {
        "experiment": experiment.name,
        "framework": experiment.framework,
        "framework_version": device.framework_version,
        "model": experiment.model,
        "dataset": experiment.dataset,
        "input_size": experiment.input_size,
        **switches.columns(experiment.switches, options, experiment.precision),
        **switches.compiled(experiment.switches, options, device.compiles),
        "num_processes": ranks.size if ranks.place else options.processes,
        "num_nodes": ranks.nodes,
        "data": options.data,
        "device": device.type,
        **asdict(here),
        "code_version": machine.code_version(),
        "tf32": device.tf32,
        "measurement_version": MEASUREMENT_VERSION,
        "figure": experiment.figure,
        "unit": experiment.unit,
        "better": experiment.better,
        **experiment.facts,
    }
