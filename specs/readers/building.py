"""Specs put together from checked values, in the one way that all readers share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from specs import extensions
from specs.model import Architecture, HubSource, ModelSpec, Number
from specs.readers.values import Wrong

HUB_NAMES: Final[Mapping[str, str]] = {
    "huggingface": "huggingface",
    "hugging face": "huggingface",
    "hugging_face": "huggingface",
    "hf": "huggingface",
    "modelscope": "modelscope",
    "model scope": "modelscope",
}
"""Hubs that modeldeck carries, by the spellings that occur in lower case."""


def carried_hub(name: str) -> str | None:
    """The hub that a spec file means, one that a package adds too; None: modeldeck does not carry it."""
    known = HUB_NAMES.get(name.lower())
    if known is not None:
        return known
    added = extensions.extension("hubs", name)
    return added.name if added is not None else None


def make_spec(
    model_format: str,
    size_in_billions: Number,
    listed: Sequence[str],
    hubs: Sequence[HubSource],
    *,
    engines: Mapping[str, Sequence[str] | None] | None = None,
    active_size_in_billions: Number | None = None,
    parameters: int | None = None,
    architecture: Architecture | None = None,
    path: str | None = None,
) -> ModelSpec:
    """One spec whose quantizations are all that the spec, its hubs or their parts name.

    Publishers list quantizations in parts either among the others or only among the parts; both count. A hub keeps a
    list of its own only where it differs from the whole.

    Args:
        engines: quantizations by engine, None for all of them; no mapping, or an empty one, counts as unsaid.
    """
    every: dict[str, str] = {}
    for name in listed:
        every.setdefault(name.lower(), name)
    own_lists: list[dict[str, str] | None] = []
    plain = True
    for hub in hubs:
        if hub.quantizations is None and not hub.parts:
            own_lists.append(None)
            continue
        plain = False
        base = listed if hub.quantizations is None else hub.quantizations
        own = {name.lower(): name for name in (*base, *hub.parts)}
        own_lists.append(own)
        for lower, name in own.items():
            every.setdefault(lower, name)
    if not every:
        raise Wrong("quantizations is missing: expected at least one, such as Q4_K_M, or none for weights as published")
    quantizations = tuple(every.values())
    sources = tuple(hubs)
    if not plain:
        listed_names = {name.lower() for name in listed}
        sources = tuple(
            _with_list(hub, listed_names if own is None else own, every)
            for hub, own in zip(hubs, own_lists, strict=True)
        )
    return ModelSpec(
        format=model_format,
        size_in_billions=size_in_billions,
        quantizations=quantizations,
        hubs=sources,
        active_size_in_billions=active_size_in_billions,
        engines=_engine_lists(engines, every) if engines else None,
        parameters=parameters,
        architecture=architecture,
        path=path,
    )


def _with_list(hub: HubSource, own: Iterable[str], every: Mapping[str, str]) -> HubSource:
    """The hub with its own list where that is not the whole."""
    carried = set(own)
    names = None if len(carried) == len(every) else tuple(name for lower, name in every.items() if lower in carried)
    if names == hub.quantizations:
        return hub
    return HubSource(
        hub=hub.hub,
        id=hub.id,
        file=hub.file,
        split_file=hub.split_file,
        parts=hub.parts,
        revision=hub.revision,
        quantizations=names,
        projectors=hub.projectors,
    )


def _engine_lists(
    engines: Mapping[str, Sequence[str] | None], every: Mapping[str, str]
) -> Mapping[str, tuple[str, ...]] | None:
    """The engines' quantizations in the spec's order and spelling."""
    whole = tuple(every.values())
    lists: dict[str, tuple[str, ...]] = {}
    for engine, names in engines.items():
        if names is None:
            lists[engine] = whole
            continue
        wanted = {name.lower() for name in names}
        lists[engine] = tuple(name for lower, name in every.items() if lower in wanted)
    return lists or None
