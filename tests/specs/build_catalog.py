"""Turns published facts into the bundled catalog: python tests/specs/build_catalog.py FACTS.jsonl [FOLDER].

Deterministic, so that a change of the facts shows as a change of the TOML files and of nothing else. Descriptions and
what we know of architectures beyond the facts stand in catalog_notes.toml beside this file; the two families whose
model pages are at hand (tests/seeds) take their specs from the pages, and file names from the facts.
"""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from backends.memory.shape import is_whole  # noqa: E402
from backends.memory.tensors import parameter_count  # noqa: E402
from specs.model import Architecture, HubSource, ModelFamily, ModelSpec  # noqa: E402
from specs.readers.building import make_spec  # noqa: E402
from specs.readers.values import billions  # noqa: E402
from specs.reading import read_spec_file  # noqa: E402
from specs.writing import family_to_toml, safe_file_stem  # noqa: E402

NOTES = Path(__file__).with_name("catalog_notes.toml")
SEEDS = ROOT / "tests" / "seeds"
FOLDER = ROOT / "specs" / "families"
SENSES = {"vision", "audio", "omni"}
"""Abilities of families whose repositories hold more than the language part."""
NAMED = [field.name for field in fields(Architecture) if field.name != "extra"]


def main(arguments: list[str]) -> int:
    facts = [json.loads(line) for line in Path(arguments[0]).read_text().splitlines() if line.strip()]
    folder = Path(arguments[1]) if len(arguments) > 1 else FOLDER
    notes = tomllib.loads(NOTES.read_text())
    pages = {family.name: family for path in sorted(SEEDS.glob("*.rst")) for family in read_spec_file(path)}
    whole = whole_architectures(facts)
    unknown = notes["families"].keys() - {entry["name"] for entry in facts}
    assert not unknown, f"notes on families that the facts do not have: {sorted(unknown)}"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.toml"):
        old.unlink()
    for entry in facts:
        if not {"chat", "generate"} & set(entry["abilities"]):
            continue
        family = family_of(entry, notes, whole)
        if family.name in pages:
            family = as_on_page(family, pages[family.name])
        (folder / f"{safe_file_stem(family.name)}.toml").write_text(family_to_toml(family))
    return 0


def family_of(entry: dict[str, Any], notes: dict[str, Any], whole: dict[int, dict[str, Any]]) -> ModelFamily:
    """The family as the facts have it, sizes ascending, each size's specs as published."""
    note = notes["families"].get(entry["name"], {})
    shapes = {
        size: architecture_of(
            size, facts, note, notes["shapes"], whole, widths_of(f"{entry['name']}/{size}", notes["widths"])
        )
        for size, facts in sizes_of(entry).items()
    }
    if not SENSES & set(entry["abilities"]):
        shapes = {size: counted(*shape) for size, shape in shapes.items()}
    specs = [spec_of(spec, shapes) for spec in merged(entry["specs"])]
    specs.sort(key=lambda spec: (spec.size_in_billions, spec.active_size_in_billions or 0))
    licenses = {facts.get("license") for facts in entry["architecture_by_size"].values()} - {None}
    return ModelFamily(
        name=entry["name"],
        context_length=entry["context_length"],
        languages=tuple(entry["languages"]),
        abilities=tuple(entry["abilities"]),
        specs=tuple(specs),
        description=note.get("description", ""),
        license=licenses.pop() if len(licenses) == 1 else None,
        reasoning_start_tag=note.get("reasoning_start_tag"),
        reasoning_end_tag=note.get("reasoning_end_tag"),
    )


def sizes_of(entry: dict[str, Any]) -> dict[Any, dict[str, Any]]:
    """Facts by size, for every size that a spec has."""
    known = {billions(size): facts for size, facts in entry["architecture_by_size"].items()}
    sizes = {billions(spec["size_in_billions"]) for spec in entry["specs"]}
    return {size: known.get(size, {}) for size in sizes}


def widths_of(model: str, widths: list[dict[str, Any]]) -> dict[str, Any]:
    """What our notes give for one family and size."""
    found = next((entry for entry in widths if model in entry["models"]), {})
    return {key: value for key, value in found.items() if key != "models"}


def architecture_of(
    size: Any,
    facts: dict[str, Any],
    note: dict[str, Any],
    shapes: dict[str, Any],
    whole: dict[int, dict[str, Any]],
    widths: dict[str, Any],
) -> tuple[int | None, Architecture | None]:
    """Count of parameters and architecture of one size: facts, what they say of its twin, then our notes."""
    twin = whole.get(facts.get("parameters", 0), {})
    if any(key in facts and twin.get(key) != facts[key] for key in ("block_count", "head_count", "head_count_kv")):
        twin = {}
    shape = {**twin, **facts, **shapes.get(note.get("shape_by_size", {}).get(str(size), note.get("shape", "")), {})}
    shape |= widths
    for key in ("license", *note.get("unknown", ())):
        shape.pop(key, None)
    parameters, extra = shape.pop("parameters", None), shape.pop("extra", {})
    ordered = {name: shape.pop(name) for name in NAMED if name in shape}
    assert not shape, f"not a field of Architecture: {sorted(shape)}"
    return parameters, Architecture(**ordered, extra=extra) if ordered else None


def counted(parameters: int | None, architecture: Architecture | None) -> tuple[int | None, Architecture | None]:
    """With the parameters that follow from the widths, where no fact counts them and there is text alone."""
    if parameters is None and architecture is not None and is_whole(architecture):
        parameters = parameter_count(architecture)
    return parameters, architecture


def whole_architectures(entries: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Whole architectures by their count of parameters: models of one count, depth and heads have one shape."""
    return {
        facts["parameters"]: facts
        for entry in entries
        for facts in entry["architecture_by_size"].values()
        if "parameters" in facts and "embedding_length" in facts
    }


def merged(specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Specs of one repository that the facts split by hub, since the hubs list different quantizations, as one."""
    kept: list[dict[str, Any]] = []
    for spec in specs:
        (hub, source), *others = spec["hubs"].items()
        twin = next(
            (
                earlier
                for earlier in kept
                if not others
                and len(earlier["hubs"]) == 1
                and hub not in earlier["hubs"]
                and all(earlier[key] == spec[key] for key in ("format", "size_in_billions"))
                and next(iter(earlier["hubs"].values()))["id"].lower() == source["id"].lower()
            ),
            None,
        )
        if twin is None:
            hubs = {name: {"listed": spec["quantizations"], **entry} for name, entry in spec["hubs"].items()}
            kept.append({**spec, "hubs": hubs})
        else:
            twin["hubs"][hub] = {"listed": spec["quantizations"], **source}
    return kept


def spec_of(spec: dict[str, Any], shapes: dict[Any, tuple[int | None, Architecture | None]]) -> ModelSpec:
    size = billions(spec["size_in_billions"])
    assert size is not None
    active = billions(spec["active_size_in_billions"]) if "active_size_in_billions" in spec else None
    parameters, architecture = shapes[size]
    hubs = [
        HubSource(
            hub=name,
            id=source["id"],
            file=source.get("file"),
            split_file=source.get("split_file"),
            parts={quantization: tuple(parts) for quantization, parts in source.get("parts", {}).items()},
            quantizations=tuple(source["listed"]),
            projectors=tuple(source.get("projectors", ())),
        )
        for name, source in spec["hubs"].items()
    ]
    return make_spec(
        spec["format"],
        size,
        spec["quantizations"],
        hubs,
        active_size_in_billions=active if active != size else None,
        parameters=parameters,
        architecture=architecture,
    )


def as_on_page(family: ModelFamily, page: ModelFamily) -> ModelFamily:
    """The page's specs in its order with its engines; sizes' facts, file names and revisions from the facts."""
    by_size = {spec.size_in_billions: spec for spec in family.specs}
    sources = {(source.hub, source.id): source for spec in family.specs for source in spec.hubs}
    specs = []
    for spec in page.specs:
        facts = by_size[spec.size_in_billions]
        hubs = tuple(
            replace(sources.get((source.hub, source.id), source), quantizations=source.quantizations)
            for source in spec.hubs
        )
        specs.append(replace(spec, hubs=hubs, parameters=facts.parameters, architecture=facts.architecture))
    return replace(
        family,
        context_length=page.context_length,
        languages=page.languages,
        abilities=page.abilities,
        specs=tuple(specs),
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
