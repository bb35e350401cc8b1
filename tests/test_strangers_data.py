"""Data files that somebody else has made, and downloads that go wrong: nothing of them is run, or taken for whole."""

import gzip
import io
import os
import pickle
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy
import pytest

from speed_test.data import cifar100
from speed_test.data.files import has_checksum, read_file
from speed_test.data.kept import kept_tensors
from speed_test.data.pickles import check_opcodes
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
            check_opcodes(variant)
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
        check_opcodes(content)
        cifar100._unpickle(content)

    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is, the caller makes one sentence of it
        read()


NESTED_LISTS = b"\x80\x02]" + b"".join(b"q%c](h%ch%ce" % (n, n, n) for n in range(60)) + b"."  # to print: 2**60 steps
MANY_KEYS = b"\x80\x02}(" + b"".join(b"J" + n.to_bytes(4, "little") + b"N" for n in range(1000)) + b"u."
ONE_BY_ONE = b"\x80\x02}" + b"".join(b"J" + n.to_bytes(4, "little") + b"Ns" for n in range(1000)) + b"."
OLD_KEYS = b"(" + b"".join(b"I%d\nN" % n for n in range(1000)) + b"d."
LONG = b"\x80\x02\x8b" + (5000).to_bytes(4, "little") + b"\x01" * 5000 + b"."
SET = b"\x80\x04\x8f(" + b"".join(b"J" + n.to_bytes(4, "little") for n in range(1000)) + b"\x90."
CALLS = b"\x80\x02c_codecs\nencode\nq\x00X\x01\x00\x00\x00aU\x01b\x86q\x01" + b"0h\x00h\x01R" * 1000 + b"."
NO_STACK = b"\x80\x02(u."


@pytest.mark.parametrize(
    "name", ["NESTED_LISTS", "MANY_KEYS", "ONE_BY_ONE", "OLD_KEYS", "LONG", "SET", "CALLS", "NO_STACK"]
)
def test_a_pickle_that_would_take_for_ever_or_all_memory_is_not_read(name):
    with pytest.raises(ValueError, match="its pickle is not one of plain data"):
        check_opcodes(globals()[name])


def test_a_pickle_of_too_many_values(monkeypatch):
    monkeypatch.setattr("speed_test.data.pickles.MOST_OPCODES", 1000)
    check_opcodes(pickle.dumps([None] * 900))
    with pytest.raises(ValueError, match="its pickle is not one of plain data"):
        check_opcodes(pickle.dumps([None] * 1100))


def test_a_training_set_of_the_published_size_is_not_refused():
    content = images(count=1, fine_labels=[1] * 50_000, coarse_labels=[1] * 50_000)
    content |= {"filenames": [f"{number}.png" for number in range(50_000)], "batch_label": "training batch 1 of 1"}
    assert check_opcodes(pickle.dumps(content, protocol=0))
    as_python_3_reads_it = {key.encode(): entry for key, entry in content.items()}
    assert check_opcodes(pickle.dumps(as_python_3_reads_it, protocol=2))


def test_long_names_and_texts_are_cut_before_they_are_told():
    begun = time.process_time()
    for name in (b"{" * 2_000_000 + b"\nb", b"a\n" + b"{" * 2_000_000):
        with pytest.raises(pickle.UnpicklingError, match="which images do not need") as caught:
            cifar100._unpickle(b"\x80\x02c" + name + b"\n.")
        assert len(str(caught.value)) < 300
    assert len(str(cifar100._broken(Path("data"), ValueError("{{" * 50_000)))) < 500
    with pytest.raises(ValueError, match="an array of something else than bytes"):
        cifar100._Type(["x"])
    assert time.process_time() - begun < 2


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


def test_a_long_header_about_the_next_member_takes_no_time(tmp_path):
    """In Python 3.11 tarfile looks through one of 80,000 digits for many seconds."""
    long = [member("long", kind, content=b"1" * 80_000) for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE)]
    archive = archive_of(tmp_path / "a.tar.gz", *long, *THREE)
    begun = time.process_time()
    cifar100.unpack(archive, tmp_path / "data", cifar100.FILES)
    assert time.process_time() - begun < 2
    assert {path.name: path.read_text() for path in (tmp_path / "data").iterdir()} == {
        name: name for name in cifar100.FILES
    }


def test_headers_about_headers_are_not_read_one_inside_the_other(tmp_path):
    archive = archive_of(tmp_path / "a.tar.gz", *[member("x", tarfile.XHDTYPE) for _ in range(2000)], *THREE)
    with pytest.raises(ValueError, match="more than 100 members"):
        cifar100.unpack(archive, tmp_path / "data", cifar100.FILES)


@pytest.mark.parametrize("size", [-tarfile.BLOCKSIZE, 2**40])
def test_a_member_that_says_a_wrong_size(tmp_path, size):
    info = tarfile.TarInfo("data/train")
    info.size = size
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2000)))
    with pytest.raises(ValueError, match="it is cut off"):
        cifar100.unpack(archive, tmp_path / "data", cifar100.FILES)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_every_format_are_unpacked(tmp_path, form):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a" * 150, *cifar100.FILES):  # the first is too long for a plain header
        (folder / name[:150]).write_text(name)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=form) as tar:
        for path in [folder, *folder.iterdir()]:
            if form != tarfile.USTAR_FORMAT or len(path.name) < 100:
                tar.add(path, f"./{path.relative_to(tmp_path)}", recursive=False)
    (tmp_path / "into").mkdir()
    cifar100.unpack(tmp_path / "a.tar.gz", tmp_path / "into" / "data", cifar100.FILES)
    assert {path.name: path.read_text() for path in (tmp_path / "into" / "data").iterdir()} == {
        name: name for name in cifar100.FILES
    }


def test_a_tar_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar100, "LARGEST_ARCHIVE", 1_000_000)
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(ValueError, match="unpacks to more than 1,000,000 bytes"):
        cifar100.unpack(archive, tmp_path / "data", cifar100.FILES)


# ---- Tensors ----


def changed(content, **changes):
    """A file of torch.save with the content of some members changed, or others added."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as packed, zipfile.ZipFile(file, "w") as anew:
        members = {name: packed.read(name) for name in packed.namelist()}
        folder = next(iter(members)).split("/")[0]
        for name, text in (members | {f"{folder}/{name}": text for name, text in changes.items()}).items():
            anew.writestr(name, text)
    return file.getvalue()


def compressed(content):
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as packed, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as anew:
        for name in packed.namelist():
            anew.writestr(name, packed.read(name))
    return file.getvalue()


@pytest.mark.frameworks
def test_kept_tensors_that_would_fill_the_memory_or_take_for_ever_are_made_anew(tmp_path, monkeypatch):
    import torch

    path, loads, load = tmp_path / "a.pt", [], torch.load
    torch.save({"ids": torch.arange(1000)}, path)
    content = path.read_bytes()

    def watched(*arguments, **options):
        loads.append(1)
        return load(*arguments, **options)

    def kept():
        loads.clear()
        found = kept_tensors(path, lambda: {"ids": torch.zeros(3)}, lambda tensors: len(tensors["ids"]) > 0)
        return len(loads), len(found["ids"])

    monkeypatch.setattr(torch, "load", watched)
    path.write_bytes(changed(content))
    assert kept() == (1, 1000)
    big = b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."
    for bad in (
        compressed(content),
        changed(content, **{"data.pkl": NESTED}),
        changed(content, **{"data.pkl": big}),
        changed(content, **{"data.pkl": b"\x80\x02" + b"N0" * 100_000 + b"}."}),
        changed(content, **{str(number): b"" for number in range(200)}),
        b"PK",
    ):
        path.write_bytes(bad)
        assert kept() == (0, 3)
    assert kept() == (1, 3)
    path.write_bytes(content)
    monkeypatch.setattr("speed_test.data.kept.LARGEST", len(content) - 1)
    assert kept() == (0, 3)


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
