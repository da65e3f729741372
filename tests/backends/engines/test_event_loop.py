"""What lets a key be heard while a model is loaded and closed; how soon it is stands in the benchmarks."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.engines import registry
from backends.engines.engine import Weights
from backends.engines.imports import import_ahead
from backends.engines.isolated import IsolatedAdapter
from backends.engines.weights_folder import LARGE_VOCABULARY_BYTES
from specs.model import LLAMA_CPP, MLX, TRANSFORMERS


@pytest.mark.parametrize("engine", [TRANSFORMERS, MLX])
@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt"])
def test_weights_with_a_large_vocabulary_are_loaded_in_a_process_of_their_own(
    tmp_path: Path, engine: str, file: str
) -> None:
    weights = Weights(tmp_path, "m", "pytorch", "none")
    found = registry.adapter(engine)
    with (tmp_path / file).open("wb") as vocabulary:
        vocabulary.truncate(LARGE_VOCABULARY_BYTES)
        assert registry.hosted(found, isolated=None, weights=weights) is found
        vocabulary.truncate(LARGE_VOCABULARY_BYTES + 1)
    assert isinstance(registry.hosted(found, isolated=None, weights=weights), IsolatedAdapter)
    assert registry.hosted(found, isolated=None) is found, "where no screen is, nothing waits"
    assert registry.hosted(found, isolated=False, weights=weights) is found
    llama = registry.adapter(LLAMA_CPP)
    assert registry.hosted(llama, isolated=None, weights=weights) is llama


@contextmanager
def module_that(source: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop(name, None)


def test_the_collector_stands_still_while_a_library_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full pass among the objects of torch and transformers took 165 ms, and there were four of them."""
    source = "import gc\nwalked = gc.isenabled()\nkept = [[] for _ in range(20_000)]"
    with module_that(source, "heavy_library", tmp_path, monkeypatch):
        frozen = gc.get_freeze_count()
        import_ahead("heavy_library")
        assert sys.modules["heavy_library"].walked is False
        assert gc.isenabled()
        assert gc.get_freeze_count() >= frozen + 20_000, "and need not walk what stays"


def test_a_library_that_cannot_be_imported_is_left_to_who_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with module_that("raise RuntimeError('no driver')", "broken_library", tmp_path, monkeypatch):
        import_ahead("broken_library", "no_such_library")
        with pytest.raises(RuntimeError, match="no driver"):
            importlib.import_module("broken_library")
    assert gc.isenabled()


def test_a_model_that_the_collector_need_not_walk_is_let_go_all_the_same(subject: Any) -> None:
    """The app freezes what is there when it has judged a catalog; bitsandbytes' parameters make circles."""
    engine = subject.load(context=256)
    runner = engine._runner
    model = getattr(runner, "_engine", None) or runner._model
    gc.collect()
    gc.freeze()
    try:
        held = [weakref.ref(model)] if type(model).__weakrefoffset__ else []
        if subject.adapter.name == TRANSFORMERS:
            held += [weakref.ref(part) for part in (*model.parameters(), *model.buffers())]
        del model
        engine.close()
        assert [one() for one in held if one() is not None] == []
    finally:
        gc.unfreeze()
