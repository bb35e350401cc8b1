"""--best, in the parent: try each combination in a child of its own, show what came out, and choose."""

from collections.abc import Callable, Sequence

from speed_test import best, screen
from speed_test.best import Reference, Trial
from speed_test.child import Child
from speed_test.command_line import Options
from speed_test.switches import Switches


class Search:
    """Finds the fastest of the `supported` combinations for a batch size; the first of them is the default.

    `start(batch_size, options)` starts the child of a batch size.
    """

    def __init__(self, supported: Sequence[Switches], start: Callable[[int, Options], Child]) -> None:
        self._supported = supported
        self._start = start
        self._found: dict[int, Switches] = {}

    def options(self, batch_size: int, options: Options) -> Options:
        """The options with the fastest combination; with the default where that does not work at all.

        Raises KeyboardInterrupt after Ctrl-C.
        """
        if batch_size not in self._found:
            self._found[batch_size] = self._search(batch_size, options)
        return options.changed(**self._found[batch_size]._asdict())

    def _search(self, batch_size: int, options: Options) -> Switches:
        screen.say(f"\nbatch size {batch_size}: trying {screen.count(len(self._supported), 'combination')}")
        default, *others = self._supported
        trial, known = self._try(batch_size, options.changed(trial=0), default)
        why = best.nothing_to_compare_with(trial, known)
        if why or known is None:
            screen.say(f"{default.words}: {why}; so there is nothing to compare with")
            return default
        trials = [trial]
        options = options.changed(trial=len(known.losses), trial_seconds=batch_size / trial.rate)
        # What is not compiled first: that says what is worth compiling.
        for switches in sorted(others, key=lambda some: some.compile):
            if best.worth_compiling(switches, trials, known):
                trials.append(self._try(batch_size, options, switches)[0])
        self._show(trials, known, left_out=len(self._supported) - len(trials))
        chosen = best.fastest(trials, known).switches
        screen.say(f"batch size {batch_size} is measured with: {chosen.words}\n")
        return chosen

    def _try(self, batch_size: int, options: Options, switches: Switches) -> tuple[Trial, Reference | None]:
        """Try a combination; if it is the default, return what others are compared with, too."""
        screen.say(f"  {switches.words}")
        child = self._start(batch_size, options.changed(**switches._asdict(), epochs=0))
        trial, known = Trial(switches), None
        for kind, content in child.messages():
            if kind == "trial":
                trial = content
            elif kind == "reference":
                known = content
        if failure := child.failure():
            return trial._replace(failure=failure[1]), None
        return trial, known

    def _show(self, trials: Sequence[Trial], known: Reference, left_out: int) -> None:
        screen.say()
        for line in screen.aligned(best.table(trials, known), left=(0, -1)):
            screen.say(line)
        for sentence in best.sentences(trials, known):
            screen.say_sentence(sentence)
        if left_out:
            screen.say_sentence(f"{screen.count(left_out, 'combination')} left out: not worth compiling.")
