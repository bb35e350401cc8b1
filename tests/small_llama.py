"""llama2_test.py with a synthetic model of one layer, 300 MB; environment variables make something go wrong.

CRASH=SIGNAL ends the process like a crash inside llama.cpp after two answers; FREE=BYTES is what the disk has left;
FILE_LIMIT=BYTES is how large a file may grow, as on a disk that fills up while it is written.
"""

import itertools
import os
import shutil
import signal
import types

import llama2_test
from speed_test import main
from speed_test.data import llama_weights
from speed_test.frameworks.llamacpp import Model

llama_weights.LAYERS = 1

if "CRASH" in os.environ:
    calls, real_read = itertools.count(), Model.read

    def read(model, tokens):
        if next(calls) == 3:  # the first is the warm-up
            os.kill(os.getpid(), signal.Signals[os.environ["CRASH"]])
        return real_read(model, tokens)

    Model.read = read

if "FREE" in os.environ:
    llama_weights.shutil = types.SimpleNamespace(
        disk_usage=lambda path: shutil._ntuple_diskusage(2**40, 2**40, int(os.environ["FREE"]))
    )

if "FILE_LIMIT" in os.environ:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["FILE_LIMIT"]),) * 2)

if __name__ == "__main__":
    script = llama2_test
    main(script.EXPERIMENT, script.load_data, script.generation, script.add_options, script.describe)
