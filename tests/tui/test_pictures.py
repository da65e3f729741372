"""What the pictures are made of: the matrix's layout, the memory bar, the gauges, the order of quantizations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fake_services as fake
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.fit import Speed
from backends.machine.model import Accelerator, Cpu, Machine, Memory
from backends.memory.estimate import MemoryEstimate
from tui.glyphs import ASCII, UNICODE, bar
from tui.judging import Judged, judge_families
from tui.matrix import Place, layout, moved, places, quantization_order
from tui.widgets.cell_words import disk_note
from tui.widgets.family_list import sizes_text
from tui.widgets.fit_matrix import amount_label, size_label
from tui.widgets.hardware_strip import gauges, short_name
from tui.widgets.memory_bar import part_cells

GIB = 1 << 30


def test_every_variant_has_exactly_one_cell() -> None:
    for family in fake.FAMILIES:
        shown = [variant for _, variant in places(layout(family))]
        assert sorted(v.key for v in shown) == sorted(v.key for v in family.variants())


def test_two_repositories_of_one_quantization_stand_in_rows_of_their_own() -> None:
    twice = fake.family("twice", fake.gguf(8, "Q4_K_M", name="a"), fake.gguf(8, "Q4_K_M", "Q8_0", name="b"))
    (group,) = layout(twice)
    assert [row.size_in_billions for row in group.rows] == [8, 8]
    assert len(list(places((group,)))) == 3


def test_gguf_has_its_own_header_and_other_formats_share_one() -> None:
    gguf, other = layout(fake.LLAMA3)
    assert gguf.columns == ("IQ1_M", "IQ2_XS", "IQ3_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
    assert {row.format for row in other.rows} == {"pytorch", "gptq", "mlx"}


def test_quantizations_stand_from_the_smallest_to_the_largest() -> None:
    names = ["none", "Q8_0", "Q4_K_M", "IQ2_XS", "Q4_K_S", "IQ1_S", "Q6_K", "Q2_K"]
    ordered = sorted(names, key=quantization_order)
    assert ordered == ["IQ1_S", "IQ2_XS", "Q2_K", "Q4_K_S", "Q4_K_M", "Q6_K", "Q8_0", "none"]


def test_the_cursor_goes_down_to_the_nearest_published_cell_and_stops_at_the_edges() -> None:
    groups = layout(fake.LLAMA3)
    first = next(place for place, _ in places(groups))
    assert moved(groups, first, -1, 0) is None
    assert moved(groups, first, 0, -1) is None
    below = moved(groups, Place(0, 0, 6), 0, 1)
    assert below == Place(0, 1, 3)


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 10**12)), min_size=3, max_size=3),
    st.integers(0, 10**12),
    st.integers(1, 10**13),
    st.integers(4, 200),
)
def test_the_bar_never_overflows_and_no_part_that_takes_memory_vanishes_while_there_is_room(
    parts: list[int | None], weights: int, scale: int, width: int
) -> None:
    estimate = MemoryEstimate(weights, parts[0], parts[1], parts[2], "catalog")
    cells = part_cells(estimate, max(scale, estimate.total_bytes, 1), width)
    assert sum(cells) <= width
    assert all(count >= 0 for count in cells)
    for count, taken in zip(cells, (weights, *parts), strict=True):
        if not taken:
            assert count <= 1
        elif sum(cells) < width:
            assert count >= 1


def test_parts_of_the_bar_stand_in_proportion() -> None:
    estimate = MemoryEstimate(4 * GIB, 2 * GIB, GIB, GIB, "file")
    assert part_cells(estimate, 16 * GIB, 64) == [16, 8, 4, 4]


@given(st.floats(-1, 2), st.integers(1, 60))
def test_a_plain_bar_is_as_wide_as_it_was_asked_for(share: float, width: int) -> None:
    assert len(bar(share, width, UNICODE)) == width
    assert len(bar(share, width, ASCII)) == width
    assert bar(share, width, ASCII).isascii()


def test_cards_that_are_alike_are_one_gauge_and_unified_memory_says_so() -> None:
    assert [gauge.name for gauge in gauges(fake.PRESET)] == ["8x H100", "RAM"]
    chip = Accelerator(0, "metal", "Apple M4 Pro", None, 36 * GIB, 36 * GIB, unified=True)
    mac = Machine("darwin", "arm64", Cpu("Apple M4 Pro", 14, 14), Memory(48 * GIB, 40 * GIB), (chip,))
    assert [gauge.name for gauge in gauges(mac)] == ["M4 Pro", "unified RAM"]


def test_a_card_with_unknown_memory_shows_no_share() -> None:
    lost = Machine("linux", "x86_64", Cpu(None, None, None), Memory(None, None), (Accelerator(0, "cuda", "NVIDIA T4"),))
    assert [gauge.used_share for gauge in gauges(lost)] == [None, None]


@pytest.mark.parametrize(
    ("name", "short"),
    [("NVIDIA GeForce RTX 4090", "RTX 4090"), ("NVIDIA H100 80GB HBM3", "H100 80GB HBM3"), ("NVIDIA", "NVIDIA")],
)
def test_devices_are_called_by_their_short_names(name: str, short: str) -> None:
    assert short_name(name) == short


def test_figures_of_a_cell_have_three_digits_at_most() -> None:
    assert [amount_label(n) for n in (241_000_000, 950_000_000, 4_920_000_000, 99_960_000_000, 1_342_000_000_000)] == [
        "0.24", "0.9", "4.9", "100", "1342",
    ]  # fmt: skip
    assert [size_label(n) for n in (8, 0.27, 1058.59)] == ["8B", "0.27B", "1058.59B"]


def test_sizes_that_do_not_fit_keep_the_first_and_the_last() -> None:
    assert sizes_text((7, 13, 34), 9) == "7 13 34"
    assert sizes_text((0.6, 1.7, 4, 8, 14, 32), 9) == "0.6 … 32"


def test_judging_the_list_gives_up_when_the_question_is_stale() -> None:
    done: list[object] = []
    many = fake.FAMILIES * 200
    judge_families(many, lambda variants: ["gpu"] * len(variants), lambda: True, done.append)
    assert done == []
    judge_families(many, lambda variants: ["no"] * len(variants), lambda: False, done.append)
    assert done == [dict.fromkeys(range(len(many)), "no")]


def test_the_cursor_begins_at_what_is_on_this_disk_else_at_the_largest_that_runs_best() -> None:
    options = fake.options(list(fake.LLAMA3.variants()), fake.MACHINE, fake.Wish(), fake.STATUSES, {})
    judged = Judged.of(fake.LLAMA3, options, fake.best_option)
    here = fake.variant(fake.LLAMA3, 8, "Q8_0")
    assert judged.best_start(frozenset({here.key})) == here
    assert judged.best_start(frozenset()) == fake.variant(fake.LLAMA3, 8, "Q4_K_M")


def test_the_cursor_begins_neither_at_too_few_bits_nor_at_what_is_too_slow_to_read_along() -> None:
    options = fake.options(list(fake.LLAMA3.variants()), fake.MACHINE, fake.Wish(), fake.STATUSES, {})

    def start(speeds: dict[str, float]) -> tuple[float, str]:
        """On a machine where these run, at so many tokens a second."""
        run = [
            replace(option, verdict="cpu", tokens_per_second=Speed(speed, "predicted"))
            for option in options
            for name, speed in speeds.items()
            if name == f"{size_label(option.variant.spec.size_in_billions)} {option.variant.quantization}"
        ]
        chosen = Judged.of(fake.LLAMA3, run, fake.best_option).best_start(frozenset())
        assert chosen is not None
        return chosen.spec.size_in_billions, chosen.quantization

    assert start({"70B IQ1_M": 9.0, "8B Q8_0": 9.0}) == (8, "Q8_0")
    assert start({"70B Q4_K_M": 0.9, "8B Q8_0": 9.0}) == (8, "Q8_0")
    assert start({"70B Q4_K_M": 9.0, "8B Q8_0": 9.0}) == (70, "Q4_K_M")
    assert start({"70B Q4_K_M": 0.3, "8B Q8_0": 3.0}) == (8, "Q8_0")


def test_weights_whose_sums_nobody_compared_say_so() -> None:
    here = Path("/models/Q4_K_M.gguf")
    variant = fake.variant(fake.LLAMA3, 8, "Q4_K_M")
    assert "checked by size only" in disk_note(variant, (), here, "size")
    assert disk_note(variant, (), here, "sum").endswith("on this disk: /models/Q4_K_M.gguf")
