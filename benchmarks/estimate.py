"""How good is an estimate at a tenth of the cost? A whole epoch against --budget, in turns.

    python benchmarks/estimate.py pytorch_cifar100 tensorflow_imdb
    python benchmarks/estimate.py tensorflow_imdb --rounds=1 --batch_size=64

Each round trains a whole epoch, and then lets the same script measure in a tenth of the time that the epoch took:
start, warm-up and compute limit included. Both are runs as a user starts them, on synthetic data. What is printed is
how far the estimate is off, in each round and in the median. On a busy machine an epoch is not like the next one: in
brackets stands how much longer it took than the first one. On 2 CPU cores all of it takes about an hour.
"""

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from speed_test.suite.found import find  # noqa: E402

SHARE = 0.1  # of the seconds of a whole epoch
WANTED = 0.03


def epoch_seconds(script: Path, data_dir: Path, *arguments: str) -> tuple[float, float]:
    """The median seconds per epoch of a run of `script`, and the seconds that were measured for it.

    Exits with what the run has printed if it has measured nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        given = ["--data=synthetic", f"--data_dir={data_dir}", f"--results_dir={folder}", *arguments]
        done = subprocess.run([sys.executable, script, *given], capture_output=True, text=True)
        rows = [row for path in Path(folder).rglob("*.csv") for row in csv.DictReader(path.open(encoding="utf-8"))]
    ok = [row for row in rows if row["status"] == "ok"]
    if not ok:
        raise SystemExit(f"{script.name} has measured nothing:\n{done.stdout}\n{done.stderr}")
    seconds = statistics.median(float(row["epoch_seconds"]) for row in ok)
    return seconds, sum(float(row["measured_seconds"]) for row in ok)


def show(name: str, script: Path, data_dir: Path, batch_size: int, rounds: int) -> None:
    """Compare, and print a line for each round."""
    print(f"\n{name}: batch size {batch_size}, {rounds} rounds", flush=True)
    off, wholes = [], []
    for number in range(1, rounds + 1):
        sizes = f"--batch_sizes={batch_size}"
        whole, _ = epoch_seconds(script, data_dir, sizes, "--epochs=1")
        estimate, measured = epoch_seconds(script, data_dir, sizes, f"--budget={SHARE * whole:.0f}")
        wholes.append(whole)
        off.append(estimate / whole - 1)
        print(
            f"  {number}: whole epoch {whole:,.1f} s ({whole / wholes[0] - 1:+.1%} against the first), "
            f"estimate {estimate:,.1f} s from {measured:,.1f} s: off by {off[-1]:+.1%}",
            flush=True,
        )
    middle, within = statistics.median(off), sum(abs(one) <= WANTED for one in off)
    print(f"  median {middle:+.1%}; {within} of {rounds} within {WANTED:.0%}   (wanted: all)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", default=["pytorch_cifar100", "tensorflow_imdb"], metavar="TEST")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--batch_size", type=int, default=32, help="(default: %(default)s)")
    parser.add_argument("--data_dir", type=Path, default=ROOT / "data")
    options = parser.parse_args()
    scripts = {test.name: test.script for test in find(ROOT)[0]}
    for name in options.tests:
        if name not in scripts:
            parser.error(f"there is no {name!r}; name some of {', '.join(scripts)}")
    for name in options.tests:
        show(name, scripts[name], options.data_dir, options.batch_size, options.rounds)


if __name__ == "__main__":
    main()
