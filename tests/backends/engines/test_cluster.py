"""Laying a model over the cards of several machines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from backends.engines.cluster import Layout, Load, Node, card_need, lay_out, load_of, requirement, words
from backends.memory.estimators import demand_of
from specs.catalog import load_catalog

GB = 10**9
LLAMA_405B = Load(810 * GB, heads=128, heads_kv=8, blocks=126)
"""Llama 3.1 405B at 16 bits. Source: its model card (405 billion parameters) and config.json."""
LLAMA_70B = Load(141 * GB, heads=64, heads_kv=8, blocks=80)


def machines(count: int, cards: int = 8, card_bytes: int | None = 80 * GB) -> list[Node]:
    return [Node(f"10.0.0.{number}", cards, card_bytes) for number in range(1, count + 1)]


def test_the_405_billion_row_takes_two_machines_of_eight() -> None:
    assert requirement(LLAMA_405B) == "810 GB at 16 bits: 16 cards of 80 GB, two machines of eight"


def test_the_seeds_row_says_the_same_by_the_catalog_s_own_estimate() -> None:
    variant = load_catalog().variant("llama-3.1-instruct", 405, "pytorch", "none")
    load = load_of(demand_of(variant, "vLLM"), 8192)
    assert (load.heads, load.heads_kv, load.blocks) == (128, 8, 126)
    assert requirement(load).endswith("at 16 bits: 16 cards of 80 GB, two machines of eight")


def test_its_layout_is_tensor_parallel_inside_and_pipeline_parallel_across() -> None:
    layout = lay_out(machines(2), LLAMA_405B)
    assert layout is not None
    assert (layout.tensor_parallel, layout.pipeline_parallel, layout.machines, layout.cards) == (8, 2, 2, 16)


def test_a_cluster_that_is_too_small_holds_nothing() -> None:
    assert lay_out(machines(1), LLAMA_405B) is None
    assert lay_out(machines(2, cards=4), LLAMA_405B) is None
    assert lay_out([], LLAMA_405B) is None
    assert lay_out(machines(3, cards=0), LLAMA_405B) is None


def test_no_more_cards_are_taken_than_hold_it() -> None:
    layout = lay_out(machines(4), LLAMA_70B)
    assert layout == Layout(4, 1, 1, layout.card_need_bytes if layout else 0)
    assert words(layout, 80 * GB) == "4 cards of 80 GB in one machine"
    small = lay_out(machines(4), Load(16 * GB, heads=32, heads_kv=8, blocks=32))
    assert small is not None
    assert words(small, 80 * GB) == "1 card of 80 GB"


def test_heads_that_do_not_divide_are_cut_into_stages() -> None:
    seven = Load(160 * GB, heads=28, heads_kv=4, blocks=28)
    layout = lay_out(machines(1, cards=3), seven)
    assert layout is not None
    assert (layout.tensor_parallel, layout.pipeline_parallel, layout.machines) == (1, 3, 1)
    assert card_need(seven, 8, 1) is None


def test_few_kv_heads_are_kept_by_several_cards() -> None:
    cached = Load(0, heads=64, heads_kv=4, blocks=80, kv_cache_bytes=64 * GB)
    eight, four = card_need(cached, 8, 1), card_need(cached, 4, 1)
    assert eight == four, "a KV head cannot be cut, so the ninth card's share is not smaller than the fourth's"


def test_the_fullest_stage_decides() -> None:
    even, uneven = Load(126 * GB, 128, blocks=126), Load(126 * GB, 128, blocks=125)
    smooth, rough = card_need(even, 1, 2), card_need(uneven, 1, 2)
    assert smooth is not None
    assert rough is not None
    assert smooth < rough
    assert card_need(even, 1, 127) is None


def test_unlike_machines_are_used_by_what_the_smaller_one_has() -> None:
    nodes = [Node("a", 8, 80 * GB), Node("b", 4, 80 * GB)]
    layout = lay_out(nodes, Load(500 * GB, heads=128, heads_kv=8, blocks=126))
    assert layout is not None
    assert (layout.tensor_parallel, layout.pipeline_parallel, layout.machines) == (8, 1, 1)
    larger = lay_out(nodes, Load(570 * GB, heads=128, heads_kv=8, blocks=126))
    assert larger is None, "eight cards are too few, and both machines together have four each"


def test_cards_of_unknown_size_are_all_taken_and_it_says_so() -> None:
    layout = lay_out(machines(2, card_bytes=None), LLAMA_405B)
    assert layout is not None
    assert (layout.tensor_parallel, layout.pipeline_parallel, layout.checked) == (8, 2, False)
    assert words(layout, None) == "16 cards, two machines of eight"


def test_what_cannot_be_cut_says_so() -> None:
    odd = Load(2000 * GB, heads=7, blocks=1)
    assert requirement(odd).endswith("it cannot be cut for machines of eight cards of 80 GB")


@given(
    weights=some.integers(1, 4000),
    heads=some.sampled_from([8, 16, 28, 32, 40, 64, 96, 128]),
    count=some.integers(1, 4),
    cards=some.integers(1, 8),
)
def test_a_layout_keeps_to_the_cluster_and_to_the_cards(weights: int, heads: int, count: int, cards: int) -> None:
    load = Load(weights * GB, heads, heads_kv=8, blocks=64)
    layout = lay_out(machines(count, cards), load)
    if layout is not None:
        assert layout.cards <= count * cards
        assert layout.machines <= count
        assert heads % layout.tensor_parallel == 0
        assert layout.tensor_parallel <= cards
        assert layout.card_need_bytes <= 80 * GB
        bigger = lay_out(machines(count + 1, cards), load)
        assert bigger is not None
        assert bigger.cards <= layout.cards


@pytest.mark.parametrize(("size", "told"), [(810 * GB, "810 GB"), (16_060_522_496, "16 GB"), (2_471_645_608, "2.5 GB")])
def test_sizes_are_told_as_publishers_do(size: int, told: str) -> None:
    assert requirement(Load(size, heads=32)).startswith(told)
