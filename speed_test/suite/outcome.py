"""How one speed test of the suite ended."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How one speed test of the suite ended. `status` is "measured", "failed", "left out" or "stopped" (by Ctrl-C;
    it may have rows); `reason` is one sentence, "" of "measured". `run_ids` are those of its runs, `seconds` what it
    took."""

    name: str  # of its Experiment, such as "pytorch_cifar100"
    script: str  # file name
    status: str
    reason: str = ""
    seconds: float = 0.0
    run_ids: tuple[str, ...] = ()
