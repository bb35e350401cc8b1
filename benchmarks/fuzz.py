"""Command lines and CSVs that nobody has thought of, many more than the tests try.

    python benchmarks/fuzz.py --cases=20000
    python benchmarks/fuzz.py --only=comparison --cases=1000
    python benchmarks/fuzz.py --only=corpus

Each kind of tests/test_fuzz.py is tried with so many cases, which are other ones every time (--seed=N for the same).
`corpus` makes every output (text with charts, Markdown, CSV, JSON, the page, --check) of each file of
tests/nasty_csvs.py alone, and opens a page of all of them in Chromium. What is found is printed, in its shortest form,
as a traceback; the exit status is then 1. With 20,000 cases it takes half an hour.
"""

import argparse
import contextlib
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hypothesis import given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import compare_results  # noqa: E402
from speed_test.compare.read import published  # noqa: E402
from tests import made_csvs, nasty_csvs, test_fuzz  # noqa: E402
from tests.test_page import CHROMIUM, browse  # noqa: E402

OUTPUTS = (
    ["--format=text"],
    ["--format=markdown"],
    ["--format=csv"],
    ["--format=json", "--html=page.html"],
    ["--check"],
)
FILE = st.tuples(st.sampled_from(test_fuzz.NAMES), test_fuzz.mutated_files())
FILES = st.lists(FILE, min_size=test_fuzz.TOGETHER, max_size=test_fuzz.TOGETHER)


def command_line(parse: Callable) -> tuple[st.SearchStrategy, Callable, int]:
    return test_fuzz.ARGUMENTS, lambda arguments: test_fuzz.try_arguments(parse, arguments), 1


# kind -> what is made up, what is tried with it, and how many cases that is
KINDS: dict[str, tuple[st.SearchStrategy, Callable, int]] = {
    **{f"command line of {name}": command_line(parse) for name, parse in test_fuzz.PARSERS.items()},
    "bytes": (
        st.tuples(st.sampled_from(test_fuzz.NAMES), test_fuzz.CONTENTS),
        lambda one: test_fuzz.try_content(*one),
        1,
    ),
    "changed files": (FILE, lambda one: test_fuzz.try_content(*one), 1),
    "comparison": (FILES, test_fuzz.try_comparison, test_fuzz.TOGETHER),
}


def fuzz(kind: str, cases: int, start: int) -> int:
    """Try so many cases of a kind; return how many. Raises what the shortest failing one raises."""
    strategy, attempt, each = KINDS[kind]
    tried = 0

    @seed(start)
    @settings(test_fuzz.FEW, max_examples=max(1, cases // each), derandomize=False)
    @given(strategy)
    def run(case: object) -> None:
        nonlocal tried
        tried += each
        attempt(case)

    run()
    return tried


def corpus() -> int:
    """Make every output of each nasty CSV alone, and a page of all; return how many CSVs. Raises AssertionError."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = nasty_csvs.make(folder / "nasty")
        for path in paths:
            measurements, problems = nasty_csvs.look_at(path)
            for arguments in OUTPUTS:
                if measurements or (arguments == ["--check"] and not path.is_dir()):
                    check_output(folder, path, arguments, 1 if problems and arguments == ["--check"] else 0)
        if CHROMIUM:
            made_csvs.compare("--format=json", "--html=all.html", str(folder / "nasty"), cwd=folder)
            seen = browse(
                folder / "all.html", "seen['markup'] = page.locator('main b b, main img, main script').count()"
            )
            assert seen["markup"] == 0
        return len(paths)


def check_output(folder: Path, path: Path, arguments: list[str], status: int) -> None:
    few = [one for one in published() if one[0][0] == "pytorch_imdb"]  # so that there are few other charts
    with mock.patch.object(compare_results, "published", return_value=few):
        done = made_csvs.compare(*arguments, "--charts=charts", "--", str(path), cwd=folder, draws=True)
    is_there = path.exists()  # a dangling link is not, so naming it is bad input
    assert done.returncode == (status if is_there else 2), (path, arguments, done.stderr)
    said = done.stdout + done.stderr
    assert not {letter for letter in said if not letter.isprintable()} - {"\n"}, (path, arguments)
    assert "could not be drawn" not in done.stderr, done.stderr


@contextlib.contextmanager
def reported(kind: str, failed: list[str]) -> Iterator[None]:
    start = time.monotonic()
    try:
        yield
    except Exception:
        traceback.print_exc()
        failed.append(kind)
    print(f"{kind}: {'FAILED' if kind in failed else 'nothing found'}, {time.monotonic() - start:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000, metavar="N", help="of each kind (default: %(default)s)")
    parser.add_argument("--only", choices=[*KINDS, "corpus"], metavar="KIND", help=", ".join([*KINDS, "corpus"]))
    parser.add_argument("--seed", type=int, default=int(time.time()), metavar="N", help="for the same cases again")
    options = parser.parse_args()
    print(f"--seed={options.seed}")
    failed: list[str] = []
    for kind in [options.only] if options.only else [*KINDS, "corpus"]:
        with reported(kind, failed):
            tried = corpus() if kind == "corpus" else fuzz(kind, options.cases, options.seed)
            print(f"{kind}: {tried:,} cases")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
