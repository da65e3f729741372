"""Whether weights that another program put on this disk are as long as they say themselves."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from backends.errors import BadWeights, CutOff


def length_problem(path: Path) -> str | None:
    """Why a weights file is cut off, by its own header; None: it is not, or its header tells nothing.

    A look at every file of a large library, so that each is read once for each length and time that it has.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return _length_problem(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _length_problem(path: Path, file_bytes: int, _modified: int) -> str | None:
    from backends.memory import gguf, safetensors

    try:
        if path.suffix.lower() == ".gguf":
            gguf.check_length(path, gguf.read_header(path))
        elif path.suffix.lower() == ".safetensors":
            safetensors.read_header(path, file_bytes=file_bytes)
    except CutOff as error:
        return str(error)
    except BadWeights:
        return None
    return None
