"""The hubs by name, those of other packages too."""

from __future__ import annotations

from backends.errors import HubError, NotFound
from backends.hubs.hub import Hub
from specs import extensions
from specs.model import HUGGINGFACE, MODELSCOPE


def hub(name: str) -> Hub:
    """The hub of this name, or NotFound."""
    if name == HUGGINGFACE:
        from backends.hubs.huggingface import HuggingFaceHub

        return HuggingFaceHub()
    if name == MODELSCOPE:
        from backends.hubs.modelscope import ModelScopeHub

        return ModelScopeHub()
    there = extensions.extension("hubs", name)
    if there is None:
        raise NotFound(f"there is no hub {name!r}; known are {', '.join(extensions.hubs())}")
    from backends.hubs.added import AddedHub

    try:
        return AddedHub(there, there.load()())
    except extensions.ExtensionError as error:
        raise HubError(str(error)) from error
    except Exception as error:
        raise HubError(f"the hub {name} of {there.package} fails: {type(error).__name__}: {error}") from error
