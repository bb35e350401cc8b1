"""The transformer of tensorflow_test_nlp.py, some of whose batch sizes come to a bad end in epoch 2."""

import os
import signal
import time
from pathlib import Path

import tensorflow_test_nlp as script
from speed_test import clock, main

RAISES, KILLED, OUT_OF_MEMORY, STUCK = 3, 4, 5, 2

clock.COMPUTE_SECONDS = 0.3  # nobody compares these figures
count = clock.Epoch.count


def count_until_the_end(epoch, size):
    count(epoch, size)
    if epoch.number == 2:
        come_to_a_bad_end(size)


def come_to_a_bad_end(batch_size):
    import tensorflow as tf

    if batch_size == RAISES:
        tf.io.decode_jpeg(b"no picture")
    if batch_size == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if batch_size == OUT_OF_MEMORY:
        tf.random.uniform([2**20, 2**20])
    if batch_size == STUCK:
        Path("stuck.pid").write_text(str(os.getpid()))
        time.sleep(600)


clock.Epoch.count = count_until_the_end

if __name__ == "__main__":
    main(script.EXPERIMENT, script.load_data, script.training)
