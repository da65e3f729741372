"""What llama.cpp itself answers for its compute buffers, put beside what else is known of a variant."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from backends import home
from backends.errors import BackendError, HubError
from backends.fit import Compute, Knowledge
from backends.memory import gguf
from backends.memory.engine_answer import DEADLINE_SECONDS, Answer, ask
from specs.model import Variant

NEAR: Final = 1024
FAR: Final = 8192
"""Two contexts are asked: buffers grow in a line with the context, by the attention mask."""


def with_engine_answer(
    variant: Variant,
    known: Knowledge,
    *,
    path: Path | None,
    cache_type: str = "f16",
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Knowledge:
    """The same with llama.cpp's own compute buffers, asked without loading any weights; as it was where none answers.

    Args:
        variant: of format ggufv2.
        known: what is known until now.
        path: its file on this disk; None: the header is read from the hub, some megabytes, and kept by commit.
        cache_type: of the KV cache.
        deadline_seconds: for each question; the answers are kept by header.

    Raises:
        BackendError: the hub does not give the header, or llama.cpp does not know the architecture or did not answer.
    """
    header_path = path or header_from_hub(variant, timeout_seconds=deadline_seconds)
    header = gguf.read_header(header_path)
    near = _ask(header_path, header, NEAR, cache_type, deadline_seconds)
    far = _ask(header_path, header, FAR, cache_type, deadline_seconds)
    if near is None or far is None:
        return known
    if known.weights_bytes is None and path is None:
        # The whole header is here now, and with it the bytes of every tensor; further parts have headers of their own.
        count = header.metadata.get("split.count", 1)
        exact = header.tensors_bytes if not isinstance(count, int) or count < 2 else None
        known = replace(known, architecture=header.architecture, weights_bytes=exact)
    return replace(known, compute=line_through(near, far, cache_type))


def _ask(path: Path, header: gguf.GgufHeader, context: int, cache_type: str, deadline_seconds: float) -> Answer | None:
    return ask(path, header, context=context, cache_type=cache_type, deadline_seconds=deadline_seconds)


def line_through(near: Answer, far: Answer, cache_type: str) -> Compute:
    """Fixed bytes and bytes a token, of the devices and of the host, from answers at NEAR and FAR tokens."""

    def line(low: int, high: int) -> tuple[int, float]:
        slope = max(0.0, (high - low) / (FAR - NEAR))
        return max(0, round(low - slope * NEAR)), slope

    device, device_slope = line(near.device_bytes, far.device_bytes)
    host, host_slope = line(near.host_bytes, far.host_bytes)
    return Compute(cache_type, device, device_slope, host, host_slope, near.library)


def header_from_hub(variant: Variant, *, timeout_seconds: float) -> Path:
    """The whole header of the variant's (first) GGUF file in a file of its own, read by ranges and kept by commit.

    Raises:
        HubError: no hub lists the variant, or the repository has no such file.
    """
    from backends.hubs import listings
    from backends.hubs.registry import hub
    from backends.hubs.selection import needed_files

    source = variant.source()
    if source is None:
        raise HubError(f"no hub lists {variant.key}")
    listing, _ = listings.listing(
        source.hub, source.model_id(variant.quantization), source.revision, timeout_seconds=timeout_seconds
    )
    first = next((one for one in needed_files(listing, variant, source) if one.name.endswith(".gguf")), None)
    if first is None:
        raise HubError(f"{listing.model_id} has no GGUF file of {variant.quantization}")
    name = "\n".join((listing.hub, listing.model_id, listing.revision, first.name))
    kept = home.cache_folder() / "headers" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.gguf"
    if kept.exists():
        return kept
    answering = hub(listing.hub)
    chunks: dict[int, bytes] = {}

    def read(start: int, stop: int) -> bytes:
        chunk = answering.read_range(
            listing.model_id, listing.revision, first.name, start, stop, timeout_seconds=timeout_seconds
        )
        chunks[start] = chunk
        return chunk

    header = gguf.read_header(read, file_bytes=first.file_bytes, whole=True)
    home.private_folder(kept.parent)
    beside = kept.with_suffix(f".{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            for start in sorted(chunks):
                file.seek(start)
                file.write(chunks[start])
            file.truncate(header.header_bytes)
        beside.replace(kept)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise BackendError(f"the header of {first.name} cannot be kept in {kept.parent}: {error.strerror}") from error
    return kept
