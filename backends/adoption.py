"""Adopting weights that lie on this disk already: noted where they are, never copied."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from backends import home, records
from backends.errors import BadWeights, NotFound
from backends.hubs.hub import Listing, RepoFile
from backends.hubs.repository import billions, family_of, quantization_of, told_size
from backends.plans import FileOutcome
from specs.model import ModelFamily, ModelSpec, Variant
from specs.writing import keep_family

_FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip
"""general.file_type by llama.cpp's enum llama_ftype."""


def adopt_as(path: Path, variant: Variant) -> Path:
    """Note that a local file or folder holds a variant of the catalog; returns the path to load.

    Raises NotFound or BadWeights when it does not hold whole weights.
    """
    target, root, names = _weights(path)
    files = tuple(FileOutcome(name, (root / name).stat().st_size, None) for name in names)
    records.keep(records.Record(variant.key, None, variant.model_id, "", target, files, root))
    return target


def adopt(path: Path, *, name: str | None = None, specs_folder: Path | None = None) -> tuple[ModelFamily, Path]:
    """Make a family of a local file or folder and keep it as a user's spec file, which names the path.

    Returns the family and the spec file.

    Raises:
        NotFound, BadWeights: it does not hold whole weights.
        SpecError: the spec file cannot be written.
    """
    family = local_family(path, name=name)
    return family, keep_family(family, specs_folder or home.specs_folder())


def local_family(path: Path, *, name: str | None = None) -> ModelFamily:
    """A family of a local file or folder, which is kept nowhere: enough to judge and load it.

    Raises NotFound or BadWeights when it does not hold whole weights.
    """
    from backends.memory import gguf

    target, root, names = _weights(path)
    listing = Listing("local", name or target.stem, "", tuple(RepoFile(n, (root / n).stat().st_size) for n in names))
    config = root / "config.json"
    content = config.read_bytes() if "config.json" in names else None
    chats = _chats(target, root)
    if target.is_file() and (target.suffix.lower() != ".gguf" or quantization_of(target.name) is None):
        file = RepoFile(f"{Path(listing.model_id).name}-{_quantization(target)}.gguf", listing.files[0].file_bytes)
        listing = Listing("local", listing.model_id, "", (file,))
    found = family_of(listing, config=content, chats=chats)
    spec = found.specs[0]
    size = spec.size_in_billions
    if target.is_file() and told_size(target.name, listing.model_id) is None:
        # The bytes tell it badly: a mix keeps the embeddings, a great part of a small model, in more bits.
        size = billions(sum(gguf.read_header(root / part).parameters for part in names))
    local = ModelSpec(
        spec.format,
        size,
        spec.quantizations[:1],
        active_size_in_billions=spec.active_size_in_billions,
        architecture=spec.architecture,
        path=str(target),
    )
    return ModelFamily(
        name or target.stem.lower(),
        found.context_length or _context_length(target),
        found.languages,
        found.abilities,
        (local,),
        description=f"Adopted from {target}",
    )


def _weights(path: Path) -> tuple[Path, Path, tuple[str, ...]]:
    """What to load, the folder that names are relative to, and the files; raises when they are not whole."""
    from backends.hubs.selection import gguf_groups, needed_repository_files
    from backends.local_index import repository_whole
    from backends.memory import gguf

    full = path.expanduser().absolute()
    if full.is_file():
        if full.suffix.lower() != ".gguf":  # Ollama's blobs have no ending: what stands in them counts
            if not _says_gguf(full):
                raise BadWeights(f"{full.name} is no GGUF file; of a model in safetensors adopt the folder")
            gguf.check_length(full, gguf.read_header(full))
            return full, full.parent, (full.name,)
        here = [RepoFile(file.name, file.stat().st_size) for file in full.parent.glob("*.gguf")]
        parts = next((group for group in gguf_groups(here).values() if any(f.name == full.name for f in group)), None)
        if parts is None:
            raise BadWeights(f"{full.name} is one of several parts, and not all of them lie in {full.parent}")
        for part in parts:
            gguf.check_length(full.parent / part.name, gguf.read_header(full.parent / part.name))
        return full.parent / parts[0].name, full.parent, tuple(part.name for part in parts)
    if not full.is_dir():
        raise NotFound(f"{full} is not there")
    listed = tuple(RepoFile(file.name, file.stat().st_size) for file in sorted(full.iterdir()) if file.is_file())
    names = tuple(file.name for file in needed_repository_files(Listing("local", str(full), "", listed)))
    if not repository_whole(full, names):
        raise BadWeights(f"{full} lacks config.json or some of the shards that its index names")
    return full, full, names


def _says_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError as error:
        raise BadWeights(f"{path} cannot be read: {error.strerror}") from error


def _quantization(target: Path) -> str:
    """What the file says of itself where its name does not; F16 where neither tells."""
    from backends.memory import gguf

    told = quantization_of(target.name) if target.suffix.lower() == ".gguf" else None
    return told or _FILE_TYPES.get(gguf.read_header(target).metadata.get("general.file_type", 1), "F16")


def _chats(target: Path, root: Path) -> bool | None:
    from backends.memory import gguf

    if target.is_file():
        return "tokenizer.chat_template" in gguf.read_header(target).metadata
    if (root / "chat_template.jinja").exists():
        return True
    settings = root / "tokenizer_config.json"
    return b'"chat_template"' in settings.read_bytes() if settings.exists() else None


def _context_length(target: Path) -> int | None:
    from backends.memory import gguf

    if not target.is_file():
        return None
    metadata = gguf.read_header(target).metadata
    value = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    return value if isinstance(value, int) else None
