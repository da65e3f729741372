"""The hubs by name."""

from __future__ import annotations

from backends.errors import NotFound
from backends.hubs.hub import Hub
from specs.model import HUBS, HUGGINGFACE, MODELSCOPE


def hub(name: str) -> Hub:
    """The hub of this name, or NotFound."""
    if name == HUGGINGFACE:
        from backends.hubs.huggingface import HuggingFaceHub

        return HuggingFaceHub()
    if name == MODELSCOPE:
        from backends.hubs.modelscope import ModelScopeHub

        return ModelScopeHub()
    raise NotFound(f"there is no hub {name!r}; known are {', '.join(HUBS)}")
