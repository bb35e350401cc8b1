"""How the batch sizes of plain_speed_test.py and small_speed_test.py come to a bad end."""

import os
import signal
import time
from pathlib import Path

RAISES, KILLED, OUT_OF_MEMORY, NOT_FINITE, STUCK = 3, 4, 5, 6, 7
REAL_TIME_SIGNAL, TERMINATED, STOPPED, WORKER_KILLED = 21, 22, 23, 24

SIGNALS = {KILLED: "SIGKILL", TERMINATED: "SIGTERM", STOPPED: "SIGSTOP"}


def come_to_a_bad_end(batch_size):
    """Get a signal, or hang, if that is this batch size's end. What raises does so in the script itself."""
    if batch_size == REAL_TIME_SIGNAL:
        os.kill(os.getpid(), signal.SIGRTMIN + 3)
    if batch_size in (STUCK, STOPPED):
        note = Path("stuck.pid")
        if note.exists() and note.read_text() == str(os.getpid()):  # stopped in the batch before, and continued since
            return
        note.write_text(str(os.getpid()))
    if batch_size in SIGNALS:
        os.kill(os.getpid(), getattr(signal, SIGNALS[batch_size]))
    if batch_size == STUCK:
        time.sleep(600)
