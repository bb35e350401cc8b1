"""Data files that somebody else has made, and downloads that go wrong: nothing of them is run, or taken for whole."""

import gzip
import io
import os
import pickle
import sys
import tarfile
from pathlib import Path

import numpy
import pytest

from speed_test.data import cifar100
from speed_test.data.files import has_checksum, read_file
from speed_test.frameworks.llamacpp_log import clean

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and named pipes")


class Payload:
    """Makes a file when a pickle of it is read by the usual unpickler."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def images(count=3, **changes):
    content = {
        "data": numpy.zeros((count, 3072), numpy.uint8),
        "fine_labels": [number % 100 for number in range(count)],
    }
    return content | {"coarse_labels": [0] * count, "filenames": ["x.png"] * count} | changes


# ---- Pickles ----


def numpy_below_2(content):
    """The same pickle as numpy 1 names its functions."""
    return content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_images_of_every_protocol_and_numpy_are_read(protocol):
    data = numpy.arange(3 * 3072).astype(numpy.uint8).reshape(3, 3072)
    for array in (data, numpy.asfortranarray(data)):
        content = pickle.dumps(images(data=array), protocol=protocol)
        variants = [content] if protocol == 4 else [content, numpy_below_2(content)]
        for variant in variants:
            cifar100._check_opcodes(variant)
            pixels, labels = cifar100._unpickle(variant)
            assert labels == [0, 1, 2]
            assert (pixels == data.reshape(3, 3, 32, 32).transpose(0, 2, 3, 1)).all()
            assert pixels.flags.writeable


def test_a_pickle_as_python_2_wrote_it():
    """Of the published files' own form: text is bytes, and so is the content of an array."""
    content = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01M\x00"
        b"\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T\x00\x0c\x00\x00" + b"\x07" * 3072 + b"tbU\x0bfine_labels]K\x63au."
    )
    pixels, labels = cifar100._unpickle(content)
    assert (pixels.shape, int(pixels.min()), int(pixels.max()), labels) == ((1, 32, 32, 3), 7, 7, [99])


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_payload_is_not_run(tmp_path, protocol):
    marker = tmp_path / "was run"
    for content in (Payload(marker), images(data=Payload(marker)), images(fine_labels=[0, 1, Payload(marker)])):
        packed = pickle.dumps(content, protocol=protocol)
        with pytest.raises(pickle.UnpicklingError, match="which images do not need"):
            cifar100._unpickle(packed)
    assert not marker.exists()
    pickle.loads(packed)
    assert marker.exists()  # the test's payload works


HUGE = b"\x80\x02}r\xff\xff\xff\x7f."  # remembers a value by the number 2,147,483,647
NESTED = b"\x80\x02}(" + b")" + b"2\x86" * 60 + b"K\x01u."  # hashing it takes 2**60 steps


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(images(data=numpy.zeros((3, 3071), numpy.uint8))),
        pickle.dumps(images(data=numpy.zeros((3, 3072), numpy.int8))),
        pickle.dumps(images(data=numpy.zeros((3, 3072), object))),
        pickle.dumps(images(data=numpy.zeros(3072, numpy.uint8))),
        pickle.dumps(images(data=[0] * 3072)),
        pickle.dumps(images(fine_labels=[0, 1, 100])),
        pickle.dumps(images(fine_labels=[0, 1, -1])),
        pickle.dumps(images(fine_labels=[0, 1, True])),
        pickle.dumps(images(fine_labels=[0, 1, "2"])),
        pickle.dumps(images(fine_labels=[0, 1])),
        pickle.dumps(images(fine_labels=None)),
        pickle.dumps(images(count=0)),
        pickle.dumps([1, 2, 3]),
        pickle.dumps({1: 2}),
        b"",
        b"\x80\x02cnumpy\nndarray\n)R.",
        b"\x80\x02cbuiltins\nexec\n.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R}b.",
        HUGE,
        NESTED,
    ],
)
def test_what_are_no_images_is_an_exception_and_nothing_worse(content):
    def read():
        cifar100._check_opcodes(content)
        cifar100._unpickle(content)

    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is, the caller makes one sentence of it
        read()


def test_too_many_images(monkeypatch):
    monkeypatch.setattr(cifar100, "IMAGES", 2)
    with pytest.raises(ValueError, match="it has 3 images, and not 1 to 2"):
        cifar100._unpickle(pickle.dumps(images()))


# ---- Reading files ----


@posix
def test_only_regular_files_of_a_known_size_are_read(tmp_path):
    whole = tmp_path / "whole"
    whole.write_bytes(b"12345")
    assert read_file(whole, 5) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read_file(whole, 4)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "zero", "nowhere", "loop", "folder", "missing"):
        with pytest.raises((OSError, ValueError)):
            read_file(tmp_path / name, 5)
        assert not has_checksum(tmp_path / name, "0" * 32)


# ---- Archives ----


def member(name, kind=tarfile.REGTYPE, content=b"", link=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(content), link
    return info, io.BytesIO(content)


def archive_of(path, *members):
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for info, content in members:
            content.seek(0)
            tar.addfile(info, content)
    return path


THREE = [member(f"data/{name}", content=name.encode()) for name in ("train", "test", "meta")]


def test_only_the_known_files_are_unpacked(tmp_path):
    strangers = [
        member("../outside", content=b"x"),
        member(str(tmp_path / "absolute"), content=b"x"),
        member("data/../../outside", content=b"x"),
        member("link", tarfile.SYMTYPE, link=str(tmp_path)),
        member("link/through", content=b"x"),
        member("hard", tarfile.LNKTYPE, link="/etc/passwd"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
        member("data/more", content=b"x"),
    ]
    archive = archive_of(tmp_path / "a.tar.gz", *strangers, *THREE)
    (tmp_path / "into").mkdir()
    cifar100.unpack(archive, tmp_path / "into" / "data", cifar100.FILES)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar.gz", "into"}
    found = {path.relative_to(tmp_path / "into").as_posix() for path in (tmp_path / "into").rglob("*")}
    assert found == {"data", "data/train", "data/test", "data/meta"}
    assert (tmp_path / "into" / "data" / "train").read_bytes() == b"train"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([member("data/train", tarfile.SYMTYPE, link="/etc/passwd"), *THREE[1:]], "is no regular file"),
        ([member("data/train", tarfile.LNKTYPE, link="/etc/passwd"), *THREE[1:]], "is no regular file"),
        ([member("data/train", tarfile.FIFOTYPE), *THREE[1:]], "is no regular file"),
        ([member("data/train", tarfile.GNUTYPE_SPARSE), *THREE[1:]], "."),
        ([member("data/train", tarfile.DIRTYPE), *THREE[1:]], "is no regular file"),
        ([member("/data/train"), *THREE[1:]], "it has no data/train"),
        ([member(f"{number}") for number in range(200)], "more than 100 members"),
        ([], "it has no data/train, data/test, data/meta"),
    ],
)
def test_archives_that_are_refused(tmp_path, members, reason):
    archive = archive_of(tmp_path / "a.tar.gz", *members)
    with pytest.raises((ValueError, tarfile.TarError), match=reason):
        cifar100.unpack(archive, tmp_path / "data", cifar100.FILES)
    assert {path.name for path in tmp_path.iterdir()} <= {"a.tar.gz", "data"}


def test_a_tar_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar100, "LARGEST_ARCHIVE", 1_000_000)
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(ValueError, match="unpacks to more than 1,000,000 bytes"):
        cifar100.unpack(archive, tmp_path / "data", cifar100.FILES)


# ---- Words ----


def test_a_strangers_text_is_cleaned():
    assert (
        clean("a\x1b[31m\r\nWARNING: b\u202e\u2066\x7f\x85\ud800") == "a\ufffd[31m\ufffd\ufffdWARNING: b" + "\ufffd" * 5
    )
    assert clean("Größe\t1\n", lines=True) == "Größe\t1\n"
    assert len(clean("x" * 1000)) == 200


def test_the_sentence_about_a_broken_folder_is_one_line():
    error = cifar100._broken(Path("data"), ValueError("it asks for a\nWARNING: b" + "c" * 1000))
    assert "\n" not in str(error)
    assert len(str(error)) < 500
