"""Every engine adapter by name; a module is imported when its adapter is asked for, its library only by load()."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final, cast

from backends.engines import installed
from backends.engines.engine import Adapter, EngineStatus, Weights
from backends.errors import EngineError, NotFound
from specs import extensions
from specs.model import LLAMA_CPP, MLX, SGLANG, TRANSFORMERS, VLLM

ADAPTERS: Final[Mapping[str, tuple[str, str]]] = {
    LLAMA_CPP: ("backends.engines.llama_cpp", "LlamaCppAdapter"),
    TRANSFORMERS: ("backends.engines.transformers", "TransformersAdapter"),
    VLLM: ("backends.engines.vllm", "VllmAdapter"),
    SGLANG: ("backends.engines.sglang", "SglangAdapter"),
    MLX: ("backends.engines.mlx", "MlxAdapter"),
    "remote": ("backends.engines.remote", "RemoteAdapter"),
}
"""Module and class by engine, in the spelling of the spec pages; "remote" is a server of the user's."""


def adapter(name: str, *, isolated: bool | None = False) -> Adapter:
    """The adapter of an engine; its name may be written in any case.

    Args:
        isolated: Whether its models are loaded in child processes; None: where that is the better host for this engine,
            as for those whose load holds the interpreter or whose shutdown reaches beyond themselves.

    Raises:
        NotFound: modeldeck carries no such engine.
    """
    engine = next((known for known in ADAPTERS if known.lower() == name.lower()), None)
    if engine is None:
        return hosted(added(name), isolated=isolated)
    module, kind = ADAPTERS[engine]
    return hosted(cast("Adapter", getattr(importlib.import_module(module), kind)()), isolated=isolated)


def added(name: str) -> Adapter:
    """The adapter that another package adds under this name.

    Raises:
        NotFound: no package does.
        EngineError: it cannot be imported, or what it declares is no adapter.
    """
    there = extensions.extension("engines", name)
    if there is None:
        carried = ", ".join((*ADAPTERS, *(one.name for one in extensions.of_kind("engines"))))
        raise NotFound(f"there is no engine {name!r} here; modeldeck carries {carried}")
    from backends.engines.added import adapter_of

    return adapter_of(there)


def hosted(found: Adapter, *, isolated: bool | None, weights: Weights | None = None) -> Adapter:
    """An adapter whose models are loaded in this process, or each in a child process; see adapter().

    Args:
        weights: What is to be loaded, where the better host depends on it; None: the engine alone decides.
    """
    if isolated is None:
        wish = getattr(found, "prefers_isolation", False)
        isolated = bool(weights is not None and wish(weights) if callable(wish) else wish)
    if not isolated or not getattr(found, "may_be_isolated", True):
        return found
    from backends.engines.isolated import IsolatedAdapter

    return IsolatedAdapter(found)


def status(name: str) -> EngineStatus:
    """Whether one engine can be used here."""
    if name in ADAPTERS:
        return adapter(name).status()
    if extensions.extension("engines", name) is None:
        return EngineStatus("unsupported", f"modeldeck has no adapter for {name} yet")
    try:
        return adapter(name).status()
    except EngineError as error:
        return EngineStatus("unsupported", str(error))


def statuses() -> dict[str, EngineStatus]:
    """The status of every engine that takes weights; imports no library and never raises."""
    return {engine: status(engine) for engine in extensions.engines()}


__all__ = ["ADAPTERS", "adapter", "installed", "status", "statuses"]
