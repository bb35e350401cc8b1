"""Writing a whole file: a picture, a page, a summary."""

import contextlib
import os
import uuid
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one go: whatever happens, the old file is there, or the new one.

    What was there is replaced. So a link that a stranger has put there leads to no other file, and a named pipe makes
    nobody wait. Raises OSError, which names `path`.
    """
    part = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with open(part, "xb") as file:
            file.write(content)
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
