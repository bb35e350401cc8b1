"""Before anything is timed: a child finds the device and the data, of all ranks if several train together."""

import os
import warnings
from collections.abc import Callable
from typing import Any

from speed_test import frameworks, machine, screen, switches
from speed_test.child import Child, ChildFailed, Send
from speed_test.command_line import BadInput, Options
from speed_test.data import sources
from speed_test.experiment import Experiment
from speed_test.frameworks.base import Framework
from speed_test.interrupt import Interrupt
from speed_test.ranks import Place, Ranks
from speed_test.switches import Switches

LoadData = Callable[[Options], object]
Describe = Callable[[Options], Experiment]


def prepare(
    experiment: Experiment,
    options: Options,
    load_data: LoadData,
    describe: Describe | None,
    interrupt: Interrupt,
    ranks: Ranks,
) -> tuple[machine.Device, Options, Experiment, list[Switches]]:
    """Let a child find the device and the data; return the device, the options and the experiment as they are with
    both known, and for --best the combinations of the switches that the device can do.

    Raises BadInput, DataUnavailable, ModuleNotFoundError, ChildFailed or RankLost if that fails, at any rank.
    """
    # The libraries read these when they are imported. A user who has set them has a better place for the files.
    os.environ.setdefault("HF_HOME", str((options.data_dir / "huggingface").resolve()))
    os.environ.setdefault("KERAS_HOME", str((options.data_dir / "keras").resolve()))
    arguments = (experiment, options, load_data, describe, ranks.place, ranks.offer)
    others = _Others(ranks)
    try:
        found = Child(_prepare_child, arguments, interrupt).answers(others.handlers)
    except (BadInput, sources.DataUnavailable, ModuleNotFoundError, ChildFailed) as error:
        others.tell_failure(error)
        raise
    device = found["device"]
    idle = machine.idle_gpu(device) if options.device == "auto" else None
    if idle:
        screen.warn(idle)
    # Everything is downloaded by now: the child of a batch size does not need to ask the hub again.
    os.environ["HF_HUB_OFFLINE"] = "1"
    options = options.changed(device=device.type, data=found["data"], processes=found["processes"])
    return device, options, found["experiment"], found.get("supported", [])


class _Others:
    """What the children that prepare a run agree on, if there are several ranks."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._is_over = False  # all know that one has failed
        self.handlers: dict[str, Callable[[Any], object]] = {}  # of messages of this rank's child
        if ranks.place:
            self.handlers = {"meeting": self._meet, "turn": self._turn, "data of this rank": self._agree_on_data}
            if ranks.follows:
                self.handlers["warning"] = lambda _: None

    def _meet(self, found: dict[str, str]) -> None:
        self._ranks.meet(found)
        if self._ranks.follows:
            screen.silence()

    def _turn(self, _: object) -> None:
        """The first process of each machine gets the data; the others then find the files."""
        if self._ranks.place and self._ranks.place.local_rank:
            self._gather({})

    def _agree_on_data(self, mine: tuple[str, str | None]) -> tuple[str, str | None]:
        """Real data only if all ranks have them."""
        if self._ranks.place and not self._ranks.place.local_rank:
            self._gather({})
        without = {rank: why for rank, (data, why) in self._gather({"data": mine}).items() if data != "real"}
        rank = min(without, default=0)
        why = without.get(rank)
        return ("synthetic" if without else "real"), (f"rank {rank}: {why}" if why and rank else why)

    def _gather(self, mine: dict[str, Any]) -> dict[int, Any]:
        said = self._ranks.gather(mine)
        for rank, content in sorted(said.items()):
            if "failed" in content:
                self._is_over = True
                kind = BadInput if content["is_bad_input"] else ChildFailed
                raise kind(f"rank {rank}: {content['failed']}")
        return {rank: content.get("data") for rank, content in said.items()}

    def tell_failure(self, error: Exception) -> None:
        """Let rank 0 know why this rank fails, whatever it waits for."""
        if not self._ranks.have_met or self._is_over:
            return
        missing = isinstance(error, ModuleNotFoundError)
        text = f"the package {error.name} is missing" if missing else str(error)  # type: ignore[attr-defined]
        self._ranks.gather({"failed": text, "is_bad_input": isinstance(error, BadInput)})


def _prepare_child(
    send: Send,
    experiment: Experiment,
    options: Options,
    load_data: LoadData,
    describe: Describe | None,
    place: Place | None,
    offer: str,
) -> None:
    try:
        framework = frameworks.load(experiment.framework)
        group = frameworks.load_group(experiment.framework) if place else None
        if place and group:
            send("meeting", group.find_rank_0(place, offer))
        device = framework.describe_device(options.device)
        if place and group:
            group.check_place(place, device.type)
        options = options.changed(device=device.type)
        if options.processes == "all":  # PyTorch's launcher has made a number of it
            options = options.changed(processes=frameworks.load_keras(experiment.framework).num_processes(options))
        send("processes", options.processes)
        for warning in framework.check_switches(options):
            send("warning", warning)
        if options.best:
            send("supported", _supported(framework, experiment, options))
        if place:
            send("turn", None)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", sources.DataWarning)
            data, why_not_real = sources.choose(options, load_data)
        if place:
            data, why_not_real = send("data of this rank", (data, why_not_real))
        if why_not_real:
            what = "DATA" if experiment.dataset else "MODEL"
            send("warning", f"SYNTHETIC {what}, not {experiment.real_data}: {why_not_real}")
        for note in caught:
            if issubclass(note.category, sources.DataWarning):
                send("warning", str(note.message))
        send("experiment", describe(options.changed(data=data)) if describe else experiment)
        send("device", device)
        send("data", data)
    except (BadInput, sources.DataUnavailable, ModuleNotFoundError) as error:
        send("raise", error)


def _supported(framework: Framework, experiment: Experiment, options: Options) -> list[Switches]:
    """The combinations of the switches that the device can do, the default first."""
    found = []
    cannot: set[tuple[str, object]] = set()
    for one in switches.combinations(experiment.switches):
        settings = {item for item in one._asdict().items() if item not in switches.DEFAULT._asdict().items()}
        if settings & cannot:
            continue
        try:
            framework.check_switches(options.changed(**one._asdict()))
            found.append(one)
        except BadInput:
            if len(settings) == 1:
                cannot |= settings
    return found
