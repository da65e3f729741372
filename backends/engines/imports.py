"""Heavy libraries imported while the screen's thread keeps its turns."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import logging
import os
import sys
from pathlib import Path
from typing import Final

from backends.collector import uncollected

logger = logging.getLogger(__name__)

TORCH_LIBRARIES: Final = (("libtorch_global_deps.so", os.RTLD_NOW | os.RTLD_GLOBAL), ("libtorch.so", os.RTLD_NOW))
"""What torch's own import opens, in its order and in its way."""
TRANSFORMERS_MODULES: Final = (
    "torch",
    "transformers.models.auto.tokenization_auto",
    "transformers.modeling_utils",
    "accelerate",
)
"""What Transformers imports by itself, some of it not before it reads a tokenizer."""


def import_ahead(*names: str) -> None:
    """Import what is installed of these modules, as far as they can be; whoever needs one meets its error again.

    Loading a shared library and every full pass of the collector hold the interpreter's lock, and a key pressed
    meanwhile waits: 310 ms for Transformers without this, 40 with it (2 cores).
    """
    if all(name in sys.modules for name in names):
        return
    with uncollected():
        if "torch" not in sys.modules and _brings_torch(names):
            _open_torch()
        for name in names:
            # A library of this size raises anything; its adapter imports it again and tells why.
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _brings_torch(names: tuple[str, ...]) -> bool:
    return any(name.partition(".")[0] in ("torch", "transformers") for name in names)


def _open_torch() -> None:
    """Open torch's libraries without the interpreter's lock, which an import holds until they are initialized."""
    if sys.platform != "linux":
        return
    found = importlib.util.find_spec("torch")
    if found is None or not found.submodule_search_locations:
        return
    folder = Path(next(iter(found.submodule_search_locations))) / "lib"
    # A function called through ctypes gives the lock away; ctypes.CDLL and an import do not.
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    for name, flags in TORCH_LIBRARIES:
        if not (folder / name).is_file() or not dlopen(str(folder / name).encode(), flags):
            logger.debug("%s was not opened ahead of torch", name)
            return
