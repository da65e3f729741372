"""Options of vLLM judged on the cards of a Ray cluster instead of this machine's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.engines.cluster import SHARE, Node, count_words, lay_out, load_of, words
from backends.fit import Knowledge, Option
from backends.memory.estimators import demand_of
from specs.model import VLLM

if TYPE_CHECKING:
    from backends.engines.cluster import Layout


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
