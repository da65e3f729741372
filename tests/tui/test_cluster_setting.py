"""The app judges vLLM on the Ray cluster that the settings name, and loads there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import EIGHT_H100

from backends.engines import cluster
from backends.engines.cluster import Node
from backends.engines.engine import EngineStatus
from backends.errors import EngineError
from backends.fit import Option, Wish
from backends.loaded import load_request
from specs.catalog import load_catalog
from tui.services import Measured, Services, _cluster_cards, options_on_cluster
from tui.settings import load_settings

ROW = load_catalog().variant("llama-3.1-instruct", 405, "pytorch", "none")
READY = {"vLLM": EngineStatus("ready"), "Transformers": EngineStatus("ready")}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    _cluster_cards.cache_clear()
    yield
    _cluster_cards.cache_clear()


def judged(statuses: dict[str, EngineStatus] = READY) -> dict[str, Option]:
    found = options_on_cluster("box:6379", [ROW], EIGHT_H100, Wish(), statuses, {}, Measured())
    return {one.engine: one for one in found}


def here(monkeypatch: pytest.MonkeyPatch, cards: object) -> None:
    monkeypatch.setattr(cluster, "cluster_cards", cards)


def test_the_405_billion_row_is_offered_on_the_cluster_and_loaded_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def cards(address: str) -> tuple[Node, ...]:
        asked.append(address)
        return tuple(Node(f"10.0.0.{number}", 8, 80 * 10**9) for number in range(2))

    here(monkeypatch, cards)
    found = judged()
    assert found["vLLM"].where == "on the cluster's 16 cards of 80 GB, two machines of eight"
    assert found["Transformers"].verdict == "no"
    built = Services().as_built(found["vLLM"], EIGHT_H100, READY, {}, Measured())
    told = load_request(built, Path("/weights")).options
    assert (told.ray_address, told.tensor_parallel, told.pipeline_parallel) == ("box:6379", 8, 2)
    judged()
    assert asked == ["box:6379"], "a further judgement does not ask every machine again"


def test_a_cluster_that_does_not_answer_is_told_in_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    def cards(address: str) -> tuple[Node, ...]:
        raise EngineError(f"no Ray cluster answers at {address}", "Connection refused")

    here(monkeypatch, cards)
    assert (judged()["vLLM"].reason or "").startswith("no Ray cluster answers at box:6379: Connection refused; ")
    assert "Ray cluster answers" not in (judged()["Transformers"].reason or "")


def test_nobody_is_asked_where_vllm_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, None)
    assert judged({"vLLM": EngineStatus("not-installed", "it is not")})["vLLM"].ray_address is None


def test_the_setting_is_a_key_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('ray_address = "box:6379"\n')
    assert load_settings(file, {}).ray_address == "box:6379"
    assert load_settings(file, {"MODELDECK_RAY_ADDRESS": "auto"}).ray_address == "auto"
