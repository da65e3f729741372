"""Compute buffers of llama.cpp, in closed form."""

from __future__ import annotations

from typing import Final

from backends.memory.kv_cache import DEFAULT_UBATCH, KvCache, padded, per_layer
from backends.memory.tensors import LATENT, TRAITS, Traits, name_of
from specs.model import Architecture

LATENT_SHARE: Final = 1.15
"""Latent attention's absorbed projections, against the closed form below; the engine's own answer is exact."""


def live_elements(architecture: Architecture) -> int:
    """Elements a token that are alive at once where a block needs most, four bytes each.

    A gated feed-forward holds gate, up and their product beside the residual, the block's input, its norm and the
    attention's output: 3 x feed_forward + 3 x embedding + heads x key. With k routed experts either 3 x k x
    feed_forward of that sum, or their outputs before and after weighting, 2 x k x embedding. Met to 0.1 MiB by what
    llama.cpp (llama-cpp-python 0.3.36) reserves for 20 architectures when one token's logits are wanted at a time.
    """
    name = name_of(architecture)
    traits = TRAITS.get(name, Traits())
    width = architecture.embedding_length or 0
    heads = per_layer(architecture.head_count, 0) or 1
    attention = heads * (architecture.key_length or width // heads)
    forward = architecture.feed_forward_length
    dense = max(forward) if isinstance(forward, tuple) and forward else per_layer(forward, 0) or 0
    if not traits.gated:
        return dense + 4 * width + (width if traits.norms == 1 and traits.bias else 0)
    beside = 3 * width + attention
    if traits.fused_gate:
        beside = (4 if traits.norms == 4 else 3) * width
    elif architecture.full_attention_interval:
        beside = 3 * width
    most = 3 * dense + beside if not architecture.expert_count or architecture.leading_dense_block_count else 0
    if architecture.expert_count:
        used = architecture.expert_used_count or 1
        each = architecture.expert_feed_forward_length or dense
        most = max(most, 3 * used * each + beside, used * each + 2 * used * width + 3 * width)
    return int(most * LATENT_SHARE) if name in LATENT and architecture.kv_lora_rank else most


def compute_fixed(architecture: Architecture, kv: KvCache, *, ubatch: int = DEFAULT_UBATCH, outputs: int = 1) -> int:
    """Bytes that do not depend on the context: live activations, logits and the mask of windows.

    Flash attention on. With as many outputs as tokens the logits rule: ubatch x 4 x (vocabulary + embedding), 514 MiB
    for Gemma's 262,144 words.
    """
    words = architecture.vocab_size or 0
    width = architecture.embedding_length or 0
    live = 4 * ubatch * live_elements(architecture)
    live = max(live, 4 * outputs * (words + width)) if outputs > 1 else live
    mask = 2 * ubatch * padded(kv.window + ubatch) if kv.window else 0
    return live + mask + 4 * words * min(outputs, ubatch)


def mask_bytes(ubatch: int = DEFAULT_UBATCH, *, chosen: bool = False) -> int:
    """Bytes a token of context: the attention mask, 16 bits for each token of a batch.

    Sparse attention that chooses its tokens has eight bytes in all: the indexer's score, 32 bits, and a mask of what it
    chose beside the ordinary one. Logged of GLM-5.2 at 524,288 tokens: 2284 to 2300 MiB on the cards without the output
    layer, 2048 of them by this. Source: build_attn_inp_k_dsa and the graph of src/models/glm-dsa.cpp.
    """
    return (8 if chosen else 2) * ubatch


def chooses_tokens(kv: KvCache) -> bool:
    """Whether attention looks only at the tokens that an indexer chose."""
    return any(layer.index_elements for _, layer in kv.groups)
