"""The command `library`: what lies on this disk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from backends.errors import BackendError
from backends.knowledge import weights_bytes
from specs.model import Variant
from tui import units
from tui.cli import choose
from tui.cli.output import Column, document, note, table


def library(arguments: argparse.Namespace) -> int:
    """Variants of the catalog whose weights lie here whole."""
    if arguments.action != "scan":
        raise BackendError(
            f"library {arguments.action} is not part of this version yet; library alone shows where the weights are"
        )
    from backends.downloads import local_index

    index = local_index()
    catalog = choose.catalog(arguments)
    here = [(one, path) for one in catalog.variants() if (path := index.path(one)) is not None]
    entries = [_entry(variant, path) for variant, path in here]
    if arguments.json:
        document({"variants": entries})
        return 0
    if not entries:
        note("no weights of the catalog's models are on this disk; modeldeck download fetches some")
        return 0
    table(
        [Column("VARIANT", wide=True), Column("BYTES", right=True), Column("PATH", wide=True)],
        [(entry["variant"], units.file_size(entry["file_bytes"]), entry["path"]) for entry in entries],
    )
    return 0


def _entry(variant: Variant, path: Path) -> dict[str, Any]:
    return {
        "variant": variant.key,
        "name": variant.family.name,
        "size_in_billions": variant.spec.size_in_billions,
        "format": variant.spec.format,
        "quantization": variant.quantization,
        "model_id": variant.model_id,
        "path": str(path),
        "file_bytes": weights_bytes(path),
    }
