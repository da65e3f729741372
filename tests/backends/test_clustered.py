"""A model that one machine does not hold is laid over a cluster, and the fit says what it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from machines import EIGHT_H100, LAPTOP, RTX_4090

from backends.clustered import on_cluster, quick_verdicts_on_cluster
from backends.engines.cluster import Node
from backends.engines.engine import EngineStatus
from backends.fit import Wish
from backends.judge import best_option, judge, options
from backends.loaded import load_request
from backends.machine.model import Machine
from specs.catalog import load_catalog

GB = 10**9
CATALOG = load_catalog()
ROW = CATALOG.variant("llama-3.1-instruct", 405, "pytorch", "none")
TAKES = "GB at 16 bits: 16 cards of 80 GB, two machines of eight"


def cluster(machines: int, card_bytes: int | None = 80 * GB) -> list[Node]:
    return [Node(f"10.0.0.{number}", 8, card_bytes) for number in range(machines)]


def test_the_405_billion_row_says_which_cluster_it_takes() -> None:
    for engine in ("vLLM", "SGLang", "Transformers"):
        option = judge(ROW, engine, EIGHT_H100)
        assert option.verdict == "no"
        assert option.reason is not None
        assert TAKES in option.reason
        assert "a Ray cluster under vLLM" in option.reason


def test_what_one_machine_holds_names_no_cluster() -> None:
    small = CATALOG.variant("llama-3.1-instruct", 70, "pytorch", "none")
    reason = judge(small, "vLLM", RTX_4090).reason
    assert reason is not None
    assert "cluster" not in reason
    assert "cluster" not in (judge(ROW, "Transformers", LAPTOP).reason or "")


def test_on_two_machines_of_eight_it_runs_and_the_load_is_told_how() -> None:
    alone = judge(ROW, "vLLM", EIGHT_H100)
    (option,) = on_cluster([alone], cluster(2), "10.0.0.0:6379")
    assert (option.verdict, option.where) == ("gpu", "on the cluster's 16 cards of 80 GB, two machines of eight")
    told = load_request(option, Path("/weights")).options
    assert (told.tensor_parallel, told.pipeline_parallel, told.ray_address) == (8, 2, "10.0.0.0:6379")
    assert told.memory_share == 0.9
    assert option.budget_bytes is not None
    assert option.memory.total_bytes < option.budget_bytes


def test_a_cluster_that_is_too_small_says_so_and_other_engines_stay() -> None:
    alone = judge(ROW, "vLLM", EIGHT_H100)
    other = judge(ROW, "Transformers", EIGHT_H100)
    option, same = on_cluster([alone, other], cluster(1), "auto")
    assert option.verdict == "no"
    assert option.reason is not None
    assert "8 cards on one machine" in option.reason
    assert TAKES in option.reason
    assert same is other


def test_cards_of_unknown_size_are_all_taken_and_that_is_said() -> None:
    (option,) = on_cluster([judge(ROW, "vLLM", EIGHT_H100)], cluster(2, None), "auto")
    assert option.verdict == "gpu"
    assert option.budget_bytes is None
    assert "how large its cards are" in (option.reason or "")


STATUSES = {name: EngineStatus("ready") for name in ("llama.cpp", "Transformers", "vLLM")}


@pytest.mark.parametrize("nodes", [cluster(1), cluster(2), cluster(2, None), cluster(4, 24 * GB)])
@pytest.mark.parametrize("machine", [EIGHT_H100, RTX_4090, LAPTOP])
def test_the_list_s_verdicts_are_the_best_options_ones(nodes: list[Node], machine: Machine) -> None:
    """Every tenth variant of the catalog, and the 405-billion row."""
    wish = Wish()
    variants = [ROW, *list(CATALOG.variants())[::10]]
    quick = quick_verdicts_on_cluster(variants, machine, wish, STATUSES, {}, tuple(nodes))
    slow = []
    for variant in variants:
        judged = on_cluster(options([variant], machine, wish, statuses=STATUSES), nodes, "auto")
        slow.append(best_option(judged).verdict)
    assert quick == slow


def test_the_list_says_that_the_cluster_runs_the_405_billion_row() -> None:
    verdicts = [
        quick_verdicts_on_cluster([ROW], EIGHT_H100, Wish(), STATUSES, {}, tuple(cluster(machines)))[0]
        for machines in (1, 2)
    ]
    assert verdicts == ["no", "gpu"]


def test_without_vllm_the_cluster_changes_nothing() -> None:
    without = {"llama.cpp": STATUSES["llama.cpp"]}
    assert quick_verdicts_on_cluster([ROW], EIGHT_H100, Wish(), without, {}, tuple(cluster(2))) == ["no"]
