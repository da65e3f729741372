"""What weights say of themselves: a file or folder on this disk, or a file on a hub read by ranges."""

from __future__ import annotations

from pathlib import Path

from backends.errors import BadWeights
from backends.fit import Knowledge
from backends.memory import gguf, hf_config, safetensors


def knowledge_of(path: Path, *, on_disk: bool = True) -> Knowledge:
    """Exact sizes and the architecture of weights on this disk.

    Args:
        path: a GGUF file (the first part), or a folder with safetensors and config.json.
        on_disk: what to say of it.

    Raises:
        BadWeights: they are cut off, hostile, or of a kind that nothing here reads.
    """
    if path.is_dir():
        return _folder(path, on_disk)
    header = gguf.read_header(path)
    parts = _parts(path)
    tensors = header.tensors_bytes
    if len(parts) > 1:
        tensors = sum(gguf.read_header(part).tensors_bytes for part in parts)
    else:
        gguf.check_length(path, header)
    total = sum(part.stat().st_size for part in parts)
    return Knowledge(
        file_bytes=total,
        download_bytes=total,
        architecture=header.architecture,
        weights_bytes=tensors,
        on_disk=on_disk,
    )


def _parts(path: Path) -> list[Path]:
    """The file and its further parts: name-00001-of-00003.gguf."""
    stem, mark, rest = path.name.rpartition("-00001-of-")
    if not mark:
        return [path]
    found = sorted(one for one in path.parent.iterdir() if one.name.startswith(f"{stem}-") and one.name.endswith(rest))
    return found or [path]


def _folder(path: Path, on_disk: bool) -> Knowledge:
    weights = safetensors.folder_bytes(path)
    architecture = None
    config = path / "config.json"
    if config.is_file():
        architecture = hf_config.read_config(config.read_bytes()).architecture
    if weights is None and architecture is None:
        raise BadWeights(f"{path} holds neither safetensors nor a configuration")
    total = sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    files = sum(one.stat().st_size for one in path.glob("*.safetensors"))
    return Knowledge(
        file_bytes=files or None,
        download_bytes=total,
        architecture=architecture,
        weights_bytes=weights,
        on_disk=on_disk,
    )


def knowledge_of_gguf(
    read: gguf.RangeReader, *, file_bytes: int | None = None, download_bytes: int | None = None
) -> Knowledge:
    """The hyper-parameters of a GGUF file on a hub, by three ranges and 512 KB at most, beside its listed size.

    Raises:
        BadWeights: the header cannot be read.
    """
    header = gguf.read_header(read, file_bytes=file_bytes, whole=False)
    return Knowledge(
        file_bytes=file_bytes, download_bytes=download_bytes or file_bytes, architecture=header.architecture
    )


def knowledge_of_config(
    config: bytes, *, file_bytes: int | None = None, download_bytes: int | None = None
) -> Knowledge:
    """The hyper-parameters of a repository's config.json, beside the listed size of its safetensors.

    Raises:
        BadWeights: it is no configuration.
    """
    return Knowledge(
        file_bytes=file_bytes,
        download_bytes=download_bytes or file_bytes,
        architecture=hf_config.read_config(config).architecture,
    )
