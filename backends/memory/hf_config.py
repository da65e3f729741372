"""The hyper-parameters in a repository's config.json, in GGUF's names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from backends.errors import BadWeights
from specs.contradictions import contradiction
from specs.model import Architecture

MAX_CONFIG_BYTES: Final = 16 << 20

NAMES: Final = {
    "llama": "llama", "mistral": "llama", "mixtral": "llama", "qwen2": "qwen2", "qwen2_moe": "qwen2moe",
    "qwen2_vl": "qwen2vl", "qwen2_5_vl": "qwen2vl", "qwen3": "qwen3", "qwen3_moe": "qwen3moe",
    "qwen3_next": "qwen3next", "qwen3_5": "qwen35", "qwen3_5_text": "qwen35", "qwen3_5_moe": "qwen35moe",
    "qwen3_5_moe_text": "qwen35moe", "qwen3_vl": "qwen3vl", "qwen3_vl_text": "qwen3vl", "qwen3_vl_moe": "qwen3vlmoe",
    "gemma": "gemma", "gemma2": "gemma2", "gemma3": "gemma3", "gemma3_text": "gemma3", "gemma3n": "gemma3n",
    "gemma3n_text": "gemma3n", "gemma4": "gemma4", "gemma4_text": "gemma4", "phi": "phi2", "phi3": "phi3",
    "phimoe": "phimoe", "deepseek_v2": "deepseek2", "deepseek_v3": "deepseek2", "cohere": "command-r",
    "cohere2": "cohere2", "falcon": "falcon", "gpt_bigcode": "starcoder", "starcoder2": "starcoder2", "glm": "chatglm",
    "chatglm": "chatglm", "glm4": "glm4", "glm4_moe": "glm4moe", "internlm2": "internlm2", "gpt2": "gpt2",
    "gpt_oss": "gpt-oss", "olmo2": "olmo2", "exaone4": "exaone4", "stablelm": "stablelm", "llama4": "llama4",
    "llama4_text": "llama4", "granite": "granite", "granitemoehybrid": "granitehybrid", "falcon_h1": "falcon-h1",
    "mamba2": "mamba2", "seed_oss": "seed_oss", "minimax_m2": "minimax-m2", "orion": "orion", "baichuan": "baichuan",
    "deepseek_v32": "deepseek32", "glm_moe_dsa": "glm-dsa", "glm4_moe_lite": "deepseek2", "minicpm3": "minicpm3",
}  # fmt: skip
"""llama.cpp's architecture by Transformers' model_type. Source: llama.cpp's convert_hf_to_gguf.py."""


@dataclass(frozen=True, slots=True)
class HfConfig:
    """What a config.json says that an estimate needs."""

    architecture: Architecture
    model_type: str
    dtype: str | None
    """"bfloat16"; None: it does not say."""
    quantization: Mapping[str, Any] | None
    """quantization_config as it stands; None: unquantized."""
    context_length: int | None

    @property
    def quantization_method(self) -> str | None:
        """ "gptq", "awq", "fp8", "bitsandbytes", "mxfp4"; None: unquantized."""
        if self.quantization is None:
            return None
        method = self.quantization.get("quant_method")
        return str(method) if method else "mlx" if "group_size" in self.quantization else None

    @property
    def quantization_bits(self) -> int | None:
        """Bits of the quantized matrices; None: unquantized, or not said."""
        if self.quantization is None:
            return None
        bits = self.quantization.get("bits") or self.quantization.get("w_bit")
        if isinstance(bits, int) and 1 <= bits <= 16:
            return bits
        if self.quantization.get("load_in_4bit"):
            return 4
        if self.quantization.get("load_in_8bit"):
            return 8
        return {"fp8": 8, "mxfp4": 4}.get(str(self.quantization.get("quant_method")))


def _count(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40:
        return value
    return None


def read_config(data: bytes | str) -> HfConfig:
    """The hyper-parameters of a config.json; those of its text part where it describes more than text.

    Raises:
        BadWeights: it is no configuration of a model.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise BadWeights("config.json is larger than any that is published")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadWeights("config.json is no JSON") from error
    if not isinstance(document, dict):
        raise BadWeights("config.json is no JSON object")
    text = next(
        (
            document[key]
            for key in ("text_config", "llm_config", "language_config")
            if isinstance(document.get(key), dict)
        ),
        document,
    )

    def first(*keys: str) -> int | None:
        for key in keys:
            for source in (text, document):
                found = _count(source.get(key))
                if found is not None:
                    return found
        return None

    model_type = str(text.get("model_type") or document.get("model_type") or "")
    values: dict[str, Any] = {
        "architecture": NAMES.get(model_type, model_type.replace("_", "-") or None),
        "block_count": first("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
        "embedding_length": first("hidden_size", "n_embd", "d_model"),
        "feed_forward_length": first("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim"),
        "head_count": first("num_attention_heads", "n_head", "n_heads"),
        "head_count_kv": first("num_key_value_heads", "num_kv_heads", "multi_query_group_num"),
        "key_length": first("head_dim", "kv_channels"),
        "vocab_size": first("vocab_size", "padded_vocab_size"),
        "expert_count": first("num_experts", "num_local_experts", "n_routed_experts"),
        "expert_used_count": first("num_experts_per_tok", "num_experts_per_token"),
        "expert_feed_forward_length": first("moe_intermediate_size"),
        "leading_dense_block_count": first("first_k_dense_replace"),
        "kv_lora_rank": first("kv_lora_rank"),
        "q_lora_rank": first("q_lora_rank"),
        "full_attention_interval": first("full_attention_interval"),
        "sliding_window_pattern": first("sliding_window_pattern"),
    }
    if values["head_count_kv"] is None:
        values["head_count_kv"] = 1 if text.get("multi_query") is True else values["head_count"]
    heads, width = values["head_count"], values["embedding_length"]
    if not values["key_length"] and heads and width:
        values["key_length"] = width // heads
    values["value_length"] = first("v_head_dim") or values["key_length"]
    if values["kv_lora_rank"]:
        nope, rope = first("qk_nope_head_dim") or 128, first("qk_rope_head_dim") or 64
        values["key_length"], values["rope_dimension_count"] = nope + rope, rope
        shared = first("n_shared_experts")
        if shared and values["expert_feed_forward_length"]:
            values["expert_shared_feed_forward_length"] = shared * values["expert_feed_forward_length"]
    shared_length = first("shared_expert_intermediate_size")
    if shared_length:
        values["expert_shared_feed_forward_length"] = shared_length
    if not values["expert_count"]:
        values["expert_count"] = None
    values.update(_indexer(text))
    values.update(_windows(text, values))
    values.update(_recurrent(first))
    tied = text.get("tie_word_embeddings", document.get("tie_word_embeddings"))
    if isinstance(tied, bool):
        values["tied_embeddings"] = tied
    quantization = (
        document.get("quantization_config") or document.get("quantization") or text.get("quantization_config")
    )
    dtype = document.get("dtype") or document.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    architecture = Architecture(**{key: value for key, value in values.items() if value is not None})
    found = contradiction(architecture)
    if found is not None:
        raise BadWeights(f"config.json contradicts itself: expected {found[1]}")
    return HfConfig(
        architecture,
        model_type,
        dtype if isinstance(dtype, str) else None,
        quantization if isinstance(quantization, dict) else None,
        first("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"),
    )


def _indexer(text: Mapping[str, Any]) -> dict[str, Any]:
    """What chooses the tokens of DeepSeek's sparse attention, where the configuration has it."""
    heads, each = _count(text.get("index_n_heads")), _count(text.get("index_head_dim"))
    if not heads or not each:
        return {}
    extra: dict[str, object] = {"attention.indexer.head_count": heads, "attention.indexer.key_length": each}
    kinds = text.get("indexer_types")
    if isinstance(kinds, list) and kinds:
        extra["attention.indexer.types"] = tuple(1 if kind == "full" else 0 for kind in kinds)
    return {"extra": extra}


def _windows(text: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Sliding windows, where the configuration uses them."""
    window = _count(text.get("sliding_window"))
    if not window or text.get("use_sliding_window") is False:
        return {}
    kinds = text.get("layer_types")
    if isinstance(kinds, list) and kinds:
        listed = [1 if kind == "sliding_attention" else 0 for kind in kinds]
        if not any(listed):
            return {}
        extra: dict[str, object] = {"attention.sliding_window_pattern": tuple(listed)}
        found: dict[str, Any] = {"sliding_window": window, "extra": extra}
        shared = _count(text.get("num_kv_shared_layers"))
        if shared:
            extra["attention.shared_kv_layers"] = shared
        wide = _count(text.get("global_head_dim"))
        if wide:
            # Gemma 4: the layers that attend fully have heads of their own.
            extra["attention.key_length_swa"] = extra["attention.value_length_swa"] = values["key_length"]
            found |= {"key_length": wide, "value_length": wide}
            few, usual = _count(text.get("num_global_key_value_heads")), values["head_count_kv"]
            if few and usual:
                found["head_count_kv"] = tuple(usual if windowed else few for windowed in listed)
        return found
    if values["architecture"] == "llama":
        # Mistral 7B v0.1: every layer sees a window.
        return {"sliding_window": window}
    return {"sliding_window": window}


def _recurrent(first: Any) -> dict[str, Any]:
    """Sizes of recurrent layers: Qwen's gated delta nets, and Mamba."""
    heads_v, dim_v = first("linear_num_value_heads"), first("linear_value_head_dim")
    if heads_v and dim_v:
        return {
            "ssm_inner_size": heads_v * dim_v,
            "ssm_state_size": first("linear_key_head_dim"),
            "ssm_group_count": first("linear_num_key_heads"),
            "ssm_conv_kernel": first("linear_conv_kernel_dim"),
        }
    inner = first("mamba_d_ssm", "intermediate_size") if first("mamba_d_state") else None
    heads, each = first("mamba_n_heads"), first("mamba_d_head")
    if heads and each:
        inner = heads * each
    state = first("mamba_d_state", "state_size")
    if inner and state:
        return {
            "ssm_inner_size": inner,
            "ssm_state_size": state,
            "ssm_group_count": first("mamba_n_groups", "n_groups"),
            "ssm_conv_kernel": first("mamba_d_conv", "conv_kernel"),
        }
    return {}
