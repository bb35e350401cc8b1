"""Which run a row is of: the column `run_id`."""

import os
import uuid

# In the environment of a speed test that run_all.py starts, separated by blanks: those of its earlier runs in the same
# suite, which are what --resume goes on with, and at last that of the rows to come. So it knows its rows from those of
# a script that somebody starts by hand meanwhile.
GIVEN = "SPEED_TEST_RUN_IDS"


def new() -> str:
    """A run_id that no other run has: 12 hexadecimal digits."""
    return uuid.uuid4().hex[:12]


def given() -> tuple[str, ...]:
    """Those that run_all.py has given to this process; none if a person has started it."""
    return tuple(os.environ.get(GIVEN, "").split())
