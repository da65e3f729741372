"""Headers of safetensors files, and configurations."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.errors import BadWeights
from backends.memory.hf_config import read_config
from backends.memory.kv_cache import kv_cache
from backends.memory.safetensors import folder_bytes, read_header, read_index
from backends.memory.tensors import parameter_count
from backends.memory.weights_file import knowledge_of


def write(path: Path, tensors: dict[str, tuple[str, list[int], int]]) -> Path:
    document, offset = {}, 0
    for name, (dtype, shape, size) in tensors.items():
        document[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    data = json.dumps({"__metadata__": {"format": "pt"}, **document}).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data + bytes(offset))
    return path


def test_a_header_gives_every_tensor(tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", {"a": ("BF16", [8, 4], 64), "b": ("F8_E4M3", [16], 16)})
    header = read_header(path)
    assert header.tensors_bytes == 80
    assert header.metadata == {"format": "pt"}
    assert folder_bytes(tmp_path) == 80


@pytest.mark.parametrize(
    "data",
    [
        b"",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a": 1}\n',
        struct.pack("<Q", 5) + b"{nope",
        struct.pack("<Q", 62) + b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4]}}   ',
    ],
)
def test_a_bad_header_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(BadWeights):
        read_header(path)


def test_a_file_that_is_cut_off_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", {"a": ("F32", [100], 400)})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadWeights, match="10 bytes are missing"):
        read_header(path)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_header_or_bad_weights(data: bytes) -> None:
    for candidate in (data, struct.pack("<Q", len(data)) + data):
        try:
            read_header(lambda start, stop, whole=candidate: whole[start:stop], file_bytes=len(candidate))
        except BadWeights:
            continue


def test_an_index_names_files_and_bytes() -> None:
    index = read_index(json.dumps({"metadata": {"total_size": 12}, "weight_map": {"a": "x", "b": "y"}}).encode())
    assert index.files == ("x", "y")
    assert index.total_bytes == 12
    with pytest.raises(BadWeights):
        read_index(b"{}")


QWEN3_8B = {
    "model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    "tie_word_embeddings": False, "sliding_window": None, "use_sliding_window": False, "torch_dtype": "bfloat16",
    "max_position_embeddings": 40960,
}  # fmt: skip


def test_a_configuration_becomes_hyper_parameters() -> None:
    config = read_config(json.dumps(QWEN3_8B))
    assert config.architecture.architecture == "qwen3"
    assert config.context_length == 40_960
    assert config.quantization_method is None
    # 8,190,735,360 parameters as the hub counts them.
    assert parameter_count(config.architecture) == 8_190_735_360


def test_the_text_part_of_a_vision_model_is_taken() -> None:
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "intermediate_size": 10240, "vocab_size": 262208,
            "sliding_window": 1024, "sliding_window_pattern": 6}  # fmt: skip
    config = read_config(json.dumps({"model_type": "gemma3", "text_config": text}))
    cache = kv_cache(config.architecture)
    assert cache is not None
    assert sum(1 for layer in cache.layers if layer.kind == "full") == 5


def test_latent_attention_is_recognized() -> None:
    config = read_config(
        json.dumps(
            {
                "model_type": "deepseek_v3",
                "hidden_size": 7168,
                "num_hidden_layers": 61,
                "kv_lora_rank": 512,
                "q_lora_rank": 1536,
                "qk_nope_head_dim": 128,
                "qk_rope_head_dim": 64,
                "v_head_dim": 128,
                "num_attention_heads": 128,
                "num_key_value_heads": 128,
                "n_routed_experts": 256,
                "num_experts_per_tok": 8,
                "moe_intermediate_size": 2048,
                "n_shared_experts": 1,
                "intermediate_size": 18432,
                "first_k_dense_replace": 3,
                "vocab_size": 129280,
                "tie_word_embeddings": False,
            }
        )
    )
    cache = kv_cache(config.architecture)
    assert cache is not None
    assert cache.exact_bytes_at(1) == 61 * 576 * 2
    # Published: 671 billion parameters.
    assert parameter_count(config.architecture) == pytest.approx(671e9, rel=0.002)


def test_quantized_configurations_say_how() -> None:
    config = read_config(json.dumps({**QWEN3_8B, "quantization_config": {"quant_method": "awq", "bits": 4}}))
    assert (config.quantization_method, config.quantization_bits) == ("awq", 4)
    config = read_config(json.dumps({**QWEN3_8B, "quantization": {"group_size": 64, "bits": 4}}))
    assert (config.quantization_method, config.quantization_bits) == ("mlx", 4)


@pytest.mark.parametrize("data", [b"", b"[]", b"nope", b"[" * 100_000])
def test_what_is_no_configuration_is_refused(data: bytes) -> None:
    with pytest.raises(BadWeights):
        read_config(data)


def test_a_configuration_that_contradicts_itself_gives_unknowns() -> None:
    config = read_config(json.dumps({"model_type": "llama", "num_hidden_layers": -3, "hidden_size": "wide",
                                     "num_attention_heads": 1e99, "vocab_size": True}))  # fmt: skip
    assert config.architecture.block_count is None
    assert config.architecture.embedding_length is None
    assert kv_cache(config.architecture) is None


def test_a_folder_tells_weights_and_architecture(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", {"a": ("BF16", [8, 4], 64)})
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_8B))
    known = knowledge_of(tmp_path)
    assert known.weights_bytes == 64
    assert known.architecture is not None
    assert known.architecture.block_count == 36
