"""Launchers: where a process stands if torchrun or accelerate launch has started it, and --processes, which does."""

import os
import subprocess
import sys
from pathlib import Path

from speed_test import frameworks
from speed_test.child import Child, Send
from speed_test.command_line import BadInput, Options
from speed_test.experiment import Experiment
from speed_test.group import shares
from speed_test.interrupt import Interrupt
from speed_test.machine import cpu_cores
from speed_test.ranks import Place

NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def local_rank() -> int:
    """The number of this process among those that a launcher has started on this machine; 0 without one, also if some
    of what a launcher sets is there."""
    text = os.environ.get("LOCAL_RANK", "")
    return int(text) if text.isdecimal() and all(name in os.environ for name in NEEDED) else 0


def place(experiment: Experiment, options: Options) -> Place | None:
    """Where this process stands among those of a launcher; None if it is the only one.

    Raises BadInput if the script does not run under launchers, or not under this one.
    """
    script = Path(sys.argv[0]).name
    given = [name for name in NEEDED if name in os.environ]
    found = next((name for name in ("RANK", "LOCAL_RANK") if name in given), None)
    takes_ranks = "processes" in experiment.switches and frameworks.has_group(experiment.framework)
    if not found:
        if takes_ranks and "MASTER_ADDR" in given and any(name.startswith("ACCELERATE_") for name in os.environ):
            raise BadInput(
                "accelerate launch has started one process, not several, as it does with --cpu; start them with "
                f"torchrun --nproc-per-node 2 {script} --device=cpu"
            )
        return None
    if not takes_ranks:
        raise BadInput(
            f"{found} is set, as torchrun and other launchers do, but this speed test is started as one process: "
            f"python {script}"
        )
    missing = [name for name in NEEDED if name not in given]
    if missing:
        raise BadInput(
            f"{found} is set, but {missing[0]} is not: start it by torchrun or accelerate launch, which set both"
        )
    rank, size, own, of_machine, port = (_number(name) for name in NEEDED if name != "MASTER_ADDR")
    if size == 1:
        for name in NEEDED:
            del os.environ[name]  # libraries would look for others
        return None
    if not (rank < size and own < of_machine <= size and port < 2**16):
        values = ", ".join(f"{name}={os.environ[name]}" for name in NEEDED)
        raise BadInput(f"no launcher sets {values}: start it by torchrun or accelerate launch")
    if options.processes != 1:
        raise BadInput(f"--processes: the launcher has started {size} processes already; leave one of the two out")
    if options.budget:
        raise BadInput("--budget: it is for one process; leave it out, or start the script without a launcher")
    if options.best:
        raise BadInput("--best: it tries one process; measure with the launcher and the options that it finds")
    _check_shares(experiment, options, size)
    # As torchrun counts machines; another launcher starts the same number on each.
    nodes = _number("GROUP_WORLD_SIZE") if os.environ.get("GROUP_WORLD_SIZE") else -(-size // of_machine)
    agent_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return Place(rank, size, own, of_machine, nodes, os.environ["MASTER_ADDR"], port, agent_store)


def _check_shares(experiment: Experiment, options: Options, size: int) -> None:
    """Raise BadInput if a rank gets fewer samples in a step than the model needs."""
    for batch_size in options.batch_sizes:
        if batch_size * size > experiment.samples:
            raise BadInput(
                f"--batch_sizes: {batch_size} in each of {size} processes is more than the "
                f"{experiment.samples:,} samples"
            )
        of_ranks = (shares(experiment.samples, batch_size, size, rank) for rank in range(size))
        smallest = min(last - first for share in of_ranks for first, last in share)
        if smallest < experiment.smallest_batch:
            raise BadInput(
                f"--batch_sizes: with {batch_size} in each of {size} processes one gets {smallest} of the last "
                f"samples, and the model needs {experiment.smallest_batch}; take a larger batch size"
            )


def _number(name: str) -> int:
    text = os.environ[name]
    if not text.isdecimal():
        raise BadInput(f"{name}: {text!r} is not a whole number from 0 up, as a launcher sets it")
    return int(text)


def relaunch(experiment: Experiment, options: Options, interrupt: Interrupt) -> Options:
    """Start --processes of this script together, in place of this process; or return the options, with a number of
    processes, if this one is all that it takes. A framework that starts no processes for it gets what was given.

    Raises BadInput if there cannot be so many.
    """
    if options.processes == 1 or not frameworks.has_group(experiment.framework):
        return options
    found = Child(_launcher_child, (experiment, options), interrupt).answers()
    if not found["launcher"]:
        return options.changed(processes=found["processes"])
    count = found["processes"]
    _check_shares(experiment, options, count)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (cpu_cores() or 1) // count)))
    command = [sys.executable, *found["launcher"], *sys.argv, "--processes=1"]  # the last one counts
    if os.name == "nt":  # where exec returns to the shell at once
        sys.exit(subprocess.call(command))
    os.execv(sys.executable, command)


def _launcher_child(send: Send, experiment: Experiment, options: Options) -> None:
    try:
        framework = frameworks.load(experiment.framework)
        launcher, processes = frameworks.load_group(experiment.framework).launcher(options)
        if launcher:  # a launcher answers bad input with a traceback of its own
            framework.check_switches(options.changed(device=framework.describe_device(options.device).type))
    except (BadInput, ModuleNotFoundError) as error:
        send("raise", error)
    else:
        send("launcher", launcher)
        send("processes", processes)
