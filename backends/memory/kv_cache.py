"""KV cache and recurrent state, from the hyper-parameters and the context."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal

from specs.formats import TENSOR_TYPES
from specs.model import Architecture

PADDING: Final = 256
"""llama.cpp rounds a context up to so many cells. Source: GGML_PAD in src/llama-context.cpp."""

DEFAULT_UBATCH: Final = 512
"""Tokens llama.cpp computes at once."""

WINDOW_PATTERNS: Final = {
    "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gemma4": 6, "gpt-oss": 2, "cohere2": 4, "cohere2moe": 4, "llama4": 4,
    "exaone4": 4, "exaone-moe": 4, "olmo2": 4, "smallthinker": 4, "afmoe": 4, "laguna": 4, "muse-glimmer": 4,
    "mellum": 4, "plamo3": 8,
}  # fmt: skip
"""Of so many blocks one attends fully, where a file names only the window. Source: load_swa_pattern in src/models."""

WINDOWS: Final = {"gemma2": 4096, "llama4": 8192}
"""Windows of architectures whose files need not name them. Source: load_arch_hparams in src/models."""

SHARED_FROM: Final = {"gemma3n": 20}
"""Blocks from which on the earlier ones' caches are read, where a file need not say so. Source: the same."""

FULL_FIRST: Final = frozenset({"cohere2moe", "laguna", "smallthinker"})
"""Architectures of which the first block of each pattern attends fully, not the last."""

PARALLEL: Final = frozenset({"falcon-h1"})
"""Architectures whose every layer has both a KV cache and recurrent state."""

APART: Final = frozenset({"nemotron_h", "nemotron_h_moe"})
"""Architectures whose blocks are attention, recurrence or feed-forward alone. Source: llama_hparams of each."""

GUESSING: Final = frozenset({"glm4moe", "glm-dsa"})
"""Architectures whose GGUF files hold blocks that guess further tokens; of the others the converter leaves them out."""

EXPANDED: Final = frozenset({"minicpm3"})
"""Architectures with latent attention of which llama.cpp keeps the heads' own keys and values, not the latent row.

Source: the graph of src/models/minicpm3.cpp, which joins each head's parts before the cache.
"""

EXPANDED_KEY: Final = "attention.expanded"
"""A key of ours in the further ones: this model's cache holds heads although its attention is latent."""

INDEXED: Final = frozenset({"glm-dsa", "deepseek32", "minimax-m3"})
"""Architectures whose indexer llama.cpp keeps a cache for."""

INDEXERS_BELOW: Final = 1 << 20
"""GLM's models of a shorter context than this choose their tokens anew in every block. Source: load_arch_hparams of
src/models/glm-dsa.cpp."""

TYPE_NAMES: Final = {"f16": "F16", "bf16": "BF16", "f32": "F32", "q8_0": "Q8_0", "q4_0": "Q4_0", "q4_1": "Q4_1",
                     "q5_0": "Q5_0", "q5_1": "Q5_1", "iq4_nl": "IQ4_NL"}  # fmt: skip

LayerKind = Literal["full", "window", "recurrent", "none"]


@dataclass(frozen=True, slots=True)
class LayerCache:
    """What one layer keeps."""

    kind: LayerKind
    key_elements: int = 0
    """Elements of K a cell: KV heads x key length, or the latent row."""
    value_elements: int = 0
    state_elements: int = 0
    """Elements of recurrent state, 32 bits each, whatever the context."""
    index_elements: int = 0
    """Elements a cell of the one key by which sparse attention chooses its tokens."""
    compressed_elements: int = 0
    """Elements of a row that stands for so many tokens together, beside a window of single ones."""
    ratio: int = 1
    """Tokens that share a compressed row, and the indexer's key with it."""


@dataclass(frozen=True, slots=True)
class KvCache:
    """The caches of all layers; bytes follow from the context."""

    layers: tuple[LayerCache, ...]
    window: int = 0
    """Tokens that a sliding-window layer sees; 0: there is none."""
    groups: tuple[tuple[int, LayerCache], ...] = ()
    """Equal layers with their count."""

    def bytes_at(
        self, context: int, cache_type: str = "f16", *, ubatch: int = DEFAULT_UBATCH, full: bool = False
    ) -> int:
        """Bytes of one sequence at this context, as llama.cpp allocates them.

        Per full layer cells x (row(kv_heads x key_length) + row(kv_heads x value_length)), the cells being the context
        rounded up to 256; per window layer min(cells, window + ubatch) rounded up to 256, or all cells when the
        full-size window cache is asked for. Source: llama_kv_cache and llama_kv_cache_iswa in llama.cpp.
        """
        cells = padded(context)
        windowed = cells if full or not self.window else min(cells, padded(self.window + ubatch))
        return sum(count * layer_bytes(layer, cells, windowed, cache_type) for count, layer in self.groups)

    def exact_bytes_at(self, context: int, bytes_per_element: float = 2.0) -> int:
        """Bytes at so many tokens without padding, windows exact: what Transformers, MLX and vLLM keep."""
        total = 0.0
        for count, layer in self.groups:
            cells = min(context, self.window) if layer.kind == "window" and self.window else context
            total += count * cells * cell_bytes(layer, bytes_per_element)
            total += count * (context // layer.ratio) * layer.compressed_elements * bytes_per_element
            total += count * layer.state_elements * 4
        return int(total)

    def layer_at(self, index: int, context: int, cache_type: str = "f16", *, ubatch: int = DEFAULT_UBATCH) -> int:
        """Bytes of one layer, for splitting a model."""
        cells = padded(context)
        windowed = min(cells, padded(self.window + ubatch)) if self.window else cells
        return layer_bytes(self.layers[index], cells, windowed, cache_type)


def padded(context: int) -> int:
    """Cells that llama.cpp makes for so many tokens."""
    return -(-context // PADDING) * PADDING


def layer_bytes(layer: LayerCache, cells: int, windowed: int, cache_type: str) -> int:
    """Bytes of one layer's cache."""
    if layer.kind == "none":
        return 0
    if layer.kind == "recurrent":
        return layer.state_elements * 4
    kind = TENSOR_TYPES[TYPE_NAMES[cache_type]]
    if layer.compressed_elements:
        # DeepSeek V4. Source: llama_kv_cache_dsv4, whose compressed caches have rows in steps of 256 too.
        shared = (layer.compressed_elements, layer.index_elements)
        compressed = padded(-(-cells // layer.ratio)) * sum(kind.row_bytes(elements) for elements in shared if elements)
        return windowed * kind.row_bytes(layer.key_elements) + compressed + layer.state_elements * 4
    kept = (layer.key_elements, layer.value_elements, layer.index_elements)
    rows = sum(kind.row_bytes(elements) for elements in kept if elements)
    state = layer.state_elements * 4
    return (windowed if layer.kind == "window" else cells) * rows + state


def cell_bytes(layer: LayerCache, bytes_per_element: float) -> float:
    """Bytes of one token in one layer, where an engine keeps tokens and not padded cells.

    vLLM and SGLang keep the indexer's key at 8 bits, with a scale of four bytes for 128 elements.
    """
    kept = layer.key_elements + layer.value_elements
    return kept * bytes_per_element + layer.index_elements * 132 / 128


def per_layer(value: int | tuple[int, ...] | None, index: int) -> int | None:
    """The value of one layer where the file gives one for all or one a layer."""
    if value is None or isinstance(value, int):
        return value
    return value[index] if index < len(value) else (value[-1] if value else None)


def whole(extra: object) -> int | None:
    """A whole number out of a file's further keys, or None."""
    return extra if isinstance(extra, int) and not isinstance(extra, bool) and extra >= 0 else None


@lru_cache(maxsize=4096)
def kv_cache(architecture: Architecture) -> KvCache | None:
    """The caches of a model; None when block count, heads or head length are not known."""
    blocks = architecture.block_count
    if not blocks or blocks > 10_000:
        return None
    every = period(architecture)
    first: list[LayerCache] = []
    one_each: dict[LayerCache, LayerCache] = {}  # equal layers are one object, so that they can be told by identity
    counted: dict[LayerCache, int] = {}
    for index in range(every):
        layer = _layer(architecture, index)
        if layer is None:
            return None
        layer = one_each.setdefault(layer, layer)
        first.append(layer)
        counted[layer] = counted.get(layer, 0) + len(range(index, blocks, every))
    known = (tuple(first) * -(-blocks // every))[:blocks]
    return KvCache(known, window_of(architecture), tuple((count, layer) for layer, count in counted.items()))


BY_BLOCK: Final = (
    "attention.compress_ratios",
    "attention.cross_attention_layers",
    "attention.indexer.types",
    "attention.shared_kv_layers",
    "attention.sliding_window_pattern",
    "layer_kv_from_start",
)
"""Further keys that set blocks apart by their numbers."""


def period(architecture: Architecture) -> int:
    """After how many blocks their kinds of attention repeat; all of them where a file tells blocks apart otherwise.

    Asking one block of each kind instead of every one is what makes a catalog's first judging quick.
    """
    blocks = architecture.block_count or 1
    name = architecture.architecture or ""
    lists = (architecture.head_count, architecture.head_count_kv, architecture.feed_forward_length)
    if any(value is not None and not isinstance(value, int) for value in lists):
        return blocks
    extra = architecture.extra
    if name in GUESSING or name in INDEXED or name in SHARED_FROM or (extra and any(key in extra for key in BY_BLOCK)):
        return blocks
    interval = architecture.full_attention_interval
    pattern = None
    if window_of(architecture):
        pattern = architecture.sliding_window_pattern
        pattern = WINDOW_PATTERNS.get(name) if pattern is None else pattern
    if interval and pattern:
        return blocks
    return min(blocks, abs(interval or pattern or 1))


def recurrent_elements(architecture: Architecture) -> int | None:
    """Elements of one recurrent layer's state.

    (d_conv - 1) x (d_inner + 2 x groups x d_state) + d_state x d_inner. Source: n_embd_r and n_embd_s in llama.cpp's
    src/llama-hparams.cpp.
    """
    extra = architecture.extra
    heads = per_layer(architecture.head_count, 0) or 0
    embedding = architecture.embedding_length or 0
    wkv = whole(extra.get("wkv.head_size"))
    if wkv:
        return (whole(extra.get("token_shift_count")) or 2) * embedding + embedding * wkv
    short = whole(extra.get("shortconv.l_cache"))
    if short:
        return embedding * (short - 1)
    kda = whole(extra.get("kda.head_dim"))
    if kda:
        kernel = architecture.ssm_conv_kernel or 4
        return 3 * (kernel - 1) * heads * kda + kda * kda * heads
    inner, state = architecture.ssm_inner_size, architecture.ssm_state_size
    if not inner or not state:
        return None
    kernel = architecture.ssm_conv_kernel or 0
    groups = architecture.ssm_group_count or 0
    return max(kernel - 1, 0) * (inner + 2 * groups * state) + state * inner


def guesses(architecture: Architecture, index: int) -> bool:
    """Whether a block guesses the token after the next one: no cache is kept for it in an ordinary context."""
    if architecture.architecture not in GUESSING:
        return False
    guessing = whole(architecture.extra.get("nextn_predict_layers")) or 0
    return index >= (architecture.block_count or 0) - guessing


def window_of(architecture: Architecture) -> int:
    """Tokens that a sliding-window layer sees; 0: there is none."""
    name = architecture.architecture or ""
    if name == "exaone4" and architecture.block_count == 64:
        return architecture.sliding_window or 4096
    return architecture.sliding_window or WINDOWS.get(name, 0)


def layer_kind(architecture: Architecture, index: int) -> LayerKind:
    """Whether a layer attends fully, through a window, or is recurrent."""
    name = architecture.architecture or ""
    if guesses(architecture, index):
        return "none"
    interval = architecture.full_attention_interval
    if interval:
        return "full" if (index + 1) % interval == 0 else "recurrent"
    heads = per_layer(architecture.head_count_kv, index)
    if heads is None and per_layer(architecture.head_count, index) == 0:
        heads = 0  # Mamba and RWKV: the converter writes no heads and leaves out those of K and V
    if architecture.architecture in APART and per_layer(architecture.feed_forward_length, index):
        return "none"
    if heads == 0:
        recurrent = recurrent_elements(architecture) is not None or architecture.ssm_inner_size
        return "recurrent" if recurrent else "none"
    crossing = architecture.extra.get("attention.cross_attention_layers")
    if isinstance(crossing, tuple) and index in crossing:
        return "none"  # keys and values are an image's, and there are none without one
    from_start = whole(architecture.extra.get("layer_kv_from_start")) or SHARED_FROM.get(name)
    shared = whole(architecture.extra.get("attention.shared_kv_layers"))
    if shared and architecture.block_count:
        from_start = architecture.block_count - shared
    if from_start and index >= from_start:
        return "none"
    return "window" if is_windowed(architecture, index) else "full"


def is_latent(architecture: Architecture) -> bool:
    """Whether the cache holds one latent row for all heads.

    Files of before April 2025 hold attn_kv_b in one piece; of those llama.cpp keeps the heads' own keys and values.
    """
    if architecture.architecture in EXPANDED or architecture.extra.get(EXPANDED_KEY):
        return False
    return bool(architecture.kv_lora_rank)


def expanded(architecture: Architecture) -> Architecture:
    """The same model where an engine keeps each head's keys and values although the attention is latent."""
    if not is_latent(architecture):
        return architecture
    heads = architecture.head_count
    return replace(architecture, head_count_kv=heads, extra={**architecture.extra, EXPANDED_KEY: True})


def is_windowed(architecture: Architecture, index: int) -> bool:
    """Whether a layer attends through a window, be the cache that it reads its own or an earlier layer's."""
    if not window_of(architecture):
        return False
    name = architecture.architecture or ""
    listed = architecture.extra.get("attention.sliding_window_pattern")
    if isinstance(listed, (list, tuple)) and index < len(listed):
        return bool(listed[index])
    pattern = architecture.sliding_window_pattern
    if pattern is None:
        pattern = WINDOW_PATTERNS.get(name)
    if pattern is None:
        # llama.cpp caches the whole context where its source names no pattern: Mistral, Qwen2, Phi-3.
        return False
    if pattern == 0:
        return True
    full_at = 0 if name in FULL_FIRST else pattern - 1
    return index % pattern != full_at


def index_elements(architecture: Architecture, index: int) -> int:
    """Elements of the key by which a block's sparse attention chooses its tokens; 0: it has none of its own.

    llama.cpp keeps it for all cells beside the ordinary cache: 2688 MiB logged for the 21 of GLM-5.2's 78 blocks that
    choose anew, at 524,288 tokens. Source: llama_kv_cache_dsa and llama_kv_cache_msa.
    """
    each = whole(architecture.extra.get("attention.indexer.key_length"))
    if not each or architecture.architecture not in INDEXED:
        return 0
    types = architecture.extra.get("attention.indexer.types")
    if isinstance(types, (list, tuple)):
        return each if index < len(types) and types[index] else 0
    if architecture.architecture == "minimax-m3":
        # Its indexer's cache has a row of values, too, which nobody reads: only latent attention goes without.
        return 2 * each if index >= (architecture.leading_dense_block_count or 0) else 0
    trained = whole(architecture.extra.get("context_length")) or 0
    if architecture.architecture == "glm-dsa" and trained >= INDEXERS_BELOW:
        return each if index < 2 or index % 4 == 2 else 0
    return each


def _layer(architecture: Architecture, index: int) -> LayerCache | None:
    kind = layer_kind(architecture, index)
    if kind == "none":
        return LayerCache("none")
    if kind == "recurrent":
        state = recurrent_elements(architecture)
        # An interval without the state's sizes: the state is some MB, and leaving it out is nearer than a KV cache.
        return LayerCache("recurrent", state_elements=state or 0)
    if architecture.architecture == "deepseek4":
        return _compressed(architecture, index)
    chosen = index_elements(architecture, index)
    if is_latent(architecture):
        # One row for all heads, and V is read out of it.
        row = (architecture.kv_lora_rank or 0) + (architecture.rope_dimension_count or 64)
        return LayerCache(kind, row, index_elements=chosen)
    heads_kv = per_layer(architecture.head_count_kv, index)
    heads = per_layer(architecture.head_count, index)
    if heads_kv is None:
        heads_kv = heads
    key = architecture.key_length
    if key is None and architecture.embedding_length and heads:
        key = architecture.embedding_length // heads
    if heads_kv is None or key is None:
        return None
    value = architecture.value_length if architecture.value_length is not None else key
    if kind == "window":
        key = whole(architecture.extra.get("attention.key_length_swa")) or key
        value = whole(architecture.extra.get("attention.value_length_swa")) or value
    state = 0
    if architecture.architecture in PARALLEL:
        state = recurrent_elements(architecture) or 0
    return LayerCache(kind, heads_kv * key, heads_kv * value, state, chosen)


def _compressed(architecture: Architecture, index: int) -> LayerCache | None:
    """DeepSeek V4: a window of keys in every block, and in most of them rows that stand for 4 or 128 tokens.

    The compressor's own state holds values and scores of twice 4, or 128, tokens in 32 bits; where 4 share a row the
    indexer chooses among the rows by a key of its own. Source: llama_kv_cache_dsv4 in llama.cpp.
    """
    key = architecture.key_length
    ratios = architecture.extra.get("attention.compress_ratios")
    if not key or not isinstance(ratios, (list, tuple)):
        return None
    ratio = ratios[index] if index < len(ratios) else 0
    chosen = whole(architecture.extra.get("attention.indexer.key_length")) or 0
    if ratio == 4:
        return LayerCache("window", key, 0, 2 * 8 * 2 * (key + chosen), chosen, key, 4)
    if ratio == 128:
        return LayerCache("window", key, 0, 2 * 128 * key, 0, key, 128)
    return LayerCache("window", key)
