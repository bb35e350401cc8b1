"""Real-format files of the TensorFlow scripts' data sets, and the scripts without the checksums that only the
true files have. Run as `SCRIPT=... python tensorflow_files.py [options]`, or to make prepared tfds files as
`python tensorflow_files.py FOLDER`.
"""

import importlib
import os
import sys

from speed_test import main
from speed_test.data import sources


def make_food101(folder):
    """What tfds leaves of Food101 once it is prepared: TFRecords and their description, with 10 and 2 images."""
    import numpy
    import tensorflow_datasets as tfds

    builder = tfds.builder("food101", data_dir=folder)

    def images(count):
        labels = builder.info.features["label"].names
        for number in range(count):
            picture = numpy.full((30 + number, 40, 3), 20 * number, dtype=numpy.uint8)
            yield number, {"image": picture, "label": labels[number]}

    type(builder)._split_generators = lambda self, downloads: {"train": images(10), "validation": images(2)}
    builder.download_and_prepare()


def load_data(options):
    import keras.src.utils.file_utils as files

    files.validate_file = lambda *arguments, **options: True
    sources.has_checksum = lambda *arguments: True
    return script_load_data(options)


if "SCRIPT" in os.environ:
    script = importlib.import_module(os.environ["SCRIPT"])  # in the children, too
    script_load_data, script.load_data = script.load_data, load_data
    if __name__ == "__main__":
        main(script.EXPERIMENT, load_data, script.training)
elif __name__ == "__main__":
    make_food101(sys.argv[1])
