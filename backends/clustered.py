"""Options of vLLM judged on the cards of a Ray cluster instead of this machine's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from backends.engines.cluster import SHARE, Node, count_words, lay_out, load_of, words
from backends.engines.engine import EngineStatus
from backends.fit import Correction, Knowledge, Option, Verdict, Wish
from backends.memory.estimators import demand_of
from backends.quick import quick_verdicts
from backends.support import context_of, support
from specs.engines import candidate_engines
from specs.model import VLLM, Variant

if TYPE_CHECKING:
    from backends.engines.cluster import Layout
    from backends.machine.model import Machine

_ELSEWHERE: Final = EngineStatus("unsupported", "it is laid over the cluster")
_held: dict[tuple[str, int, tuple[Node, ...]], bool] = {}
"""Whether a cluster holds a variant at a context: a key press judges the whole catalog anew."""
_HELD_MOST: Final = 50_000


def on_cluster(
    judged: Sequence[Option],
    nodes: Sequence[Node],
    ray_address: str,
    knowledge: Mapping[str, Knowledge] | None = None,
) -> list[Option]:
    """The options as they are with this cluster: those of vLLM are laid over its cards, the others stay.

    Args:
        judged: Options for this machine, which drives the cluster.
        nodes: The cluster's machines, from backends.engines.cluster.cluster_cards.
        ray_address: Where it answers.
        knowledge: What is known beyond the catalog, by variant key.
    """
    return [
        _laid_out(one, nodes, ray_address, (knowledge or {}).get(one.variant.key))
        if one.engine == VLLM and one.engine_status != "unsupported"
        else one
        for one in judged
    ]


def quick_verdicts_on_cluster(
    variants: Sequence[Variant],
    machine: Machine,
    wish: Wish,
    statuses: Mapping[str, EngineStatus],
    corrections: Mapping[tuple[str, str], Correction],
    nodes: tuple[Node, ...],
) -> list[Verdict]:
    """The verdict of every variant's best option with this cluster, as on_cluster() and best_option() would give it."""
    status = statuses.get(VLLM)
    if status is None or status.status != "ready":
        return quick_verdicts(variants, machine, wish, statuses, corrections)
    # vLLM's cards are the cluster's, so this machine's say nothing of it.
    others = quick_verdicts(variants, machine, wish, {**statuses, VLLM: _ELSEWHERE}, corrections)
    return [
        "gpu" if verdict != "gpu" and _holds(variant, machine, wish, status, nodes) else verdict
        for variant, verdict in zip(variants, others, strict=True)
    ]


def _holds(variant: Variant, machine: Machine, wish: Wish, status: EngineStatus, nodes: tuple[Node, ...]) -> bool:
    if VLLM not in candidate_engines(variant.spec, variant.quantization):
        return False
    if support(variant, VLLM, machine, status)[0] != "ready":
        return False
    key = (variant.key, context_of(variant.family, wish), nodes)
    known = _held.get(key)
    if known is None:
        if len(_held) >= _HELD_MOST:
            _held.clear()
        known = _held[key] = lay_out(nodes, load_of(demand_of(variant, VLLM), key[1])) is not None
    return known


def _laid_out(option: Option, nodes: Sequence[Node], ray_address: str, known: Knowledge | None) -> Option:
    demand = demand_of(option.variant, VLLM, known)
    layout = lay_out(nodes, load_of(demand, option.context))
    if layout is None:
        cards = sum(node.cards for node in nodes)
        machines = "one machine" if len(nodes) == 1 else f"{count_words(len(nodes))} machines"
        there = f"{cards} {'card' if cards == 1 else 'cards'} on {machines}"
        held = f"the cluster at {ray_address} has {there}, which does not hold it"
        reason = f"{held}; {option.reason}" if option.reason else held
        return replace(option, verdict="no", where="nowhere", reason=reason, ray_address=ray_address)
    smallest = min((node.card_bytes for node in nodes if node.card_bytes), default=None)
    memory = demand.estimate(option.context, option.kv_cache_type, "cuda", layout.cards)
    return replace(
        option,
        verdict="gpu",
        where=f"on the cluster's {words(layout, smallest)}",
        reason=_doubt(layout),
        max_context=None,
        memory=memory,
        budget_bytes=int(smallest * SHARE) * layout.cards if smallest else None,
        tokens_per_second=None,
        card_indices=(),
        card_layers=(),
        device=None,
        memory_share=SHARE,
        tensor_parallel=layout.tensor_parallel,
        pipeline_parallel=layout.pipeline_parallel,
        ray_address=ray_address,
    )


def _doubt(layout: Layout) -> str | None:
    return None if layout.checked else "the cluster does not tell how large its cards are, so all of them are taken"
