"""CUDA_VISIBLE_DEVICES, entry by entry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.machine.visible import Listed, visible

CARDS = (Listed("GPU-aaaa1111-00"), Listed("GPU-aaaa2222-00"), Listed("GPU-bbbb3333-00"), Listed(None))
CUT = (Listed("GPU-cccc0000-00", ("MIG-1111", "MIG-2222"), is_cut=True), Listed("GPU-dddd0000-00"))


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("-1", []),
        ("0", [0]),
        ("2,1", [2, 1]),
        (" 2 , 1 ", [2, 1]),
        ("3,-1,2", [3]),
        ("0,2,-1,1", [0, 2]),
        ("0,9,1", [0]),
        ("9", []),
        ("0,,1", [0]),
        ("0,1,0", []),
        ("0,GPU-aaaa1111", []),
        ("GPU-bbbb", [2]),
        ("gpu-BBBB3333-00", [2]),
        ("GPU-aaaa", []),
        ("GPU-aaaa2", [1]),
        ("GPU-ffff", []),
        ("0,GPU-ffff,1", [0]),
        ("bbbb3333", []),
        ("NoDevFiles", []),
        ("1x", []),
        ("99999999999999999999999", []),
        ("٣", []),
        ("3", [3]),
    ],
)
def test_cards_are_shown_in_the_variables_order_and_cut_at_the_first_bad_entry(value, numbers):
    choices, _ = visible(value, CARDS)
    assert [number for number, part in choices if part is None] == numbers


@pytest.mark.parametrize(
    ("value", "choices"),
    [
        (None, [(0, 0), (0, 1), (1, None)]),
        ("0", [(0, 0)]),
        ("1", [(1, None)]),
        ("MIG-2222", [(0, 1)]),
        ("mig-2222", [(0, 1)]),
        ("MIG-22", []),
        ("MIG-2222,MIG-1111", [(0, 1)]),
        ("GPU-cccc", [(0, 0)]),
        ("1,MIG-1111", [(1, None)]),
    ],
)
def test_a_process_gets_one_slice_and_index_zero_is_the_first(value, choices):
    assert list(visible(value, CUT)[0]) == choices


@pytest.mark.parametrize("value", ["0,9", "GPU-aaaa", "0,0", "x", "0,,1"])
def test_an_odd_variable_is_said(value):
    assert repr(value) in (visible(value, CARDS)[1] or "")


@pytest.mark.parametrize("value", [None, "", "-1", "0", "1,0", "0,-1"])
def test_a_proper_one_is_not(value):
    assert visible(value, CARDS)[1] is None


@given(
    st.one_of(st.text(max_size=40), st.lists(st.sampled_from(["0", "1", "-1", "GPU-a", "MIG-1111", ""])).map(",".join))
)
def test_no_text_makes_it_fail_or_show_a_card_twice(value):
    for cards in (CARDS, CUT, ()):
        choices, _ = visible(value, cards)
        assert len(set(choices)) == len(choices)
