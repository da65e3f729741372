"""The GGUF header reader: real, partial, cut off and hostile headers."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf_writer
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from known_models import DEEPSEEK_V2_LITE, LLAMA3_8B, QWEN35_9B

from backends.errors import BadWeights
from backends.memory.gguf import check_length, read_header

SMALL = {"general.architecture": "llama", "llama.block_count": 2, "llama.attention.head_count": 4}
TENSORS = [("token_embd.weight", (64, 32), 1, 64 * 32 * 2), ("output_norm.weight", (64,), 0, 256)]


def small(tmp_path: Path) -> Path:
    return gguf_writer.write(tmp_path / "small.gguf", SMALL, TENSORS)


class Ranged:
    """A reader of ranges that counts."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def __call__(self, start: int, stop: int) -> bytes:
        self.asked.append((start, stop))
        return self.data[start:stop]


def test_a_header_gives_tensors_and_hyper_parameters(tmp_path: Path) -> None:
    header = read_header(small(tmp_path))
    assert [tensor.name for tensor in header.tensors] == ["token_embd.weight", "output_norm.weight"]
    assert header.tensors[0].tensor_bytes == 4096
    assert header.architecture.block_count == 2
    assert header.architecture.tied_embeddings is True
    assert header.architecture.vocab_size == 32
    assert header.parameters == 64 * 32 + 64


@pytest.mark.parametrize("architecture", [LLAMA3_8B, DEEPSEEK_V2_LITE])
def test_what_is_written_is_read_back(architecture: object, tmp_path: Path) -> None:
    path = synthetic.write(architecture, tmp_path / "model.gguf")  # type: ignore[arg-type]
    found = read_header(path).architecture
    for field in ("block_count", "embedding_length", "head_count", "key_length", "value_length", "vocab_size",
                  "expert_count", "kv_lora_rank", "tied_embeddings"):  # fmt: skip
        assert getattr(found, field) == getattr(architecture, field), field


def test_a_hybrid_names_its_recurrent_layers(tmp_path: Path) -> None:
    found = read_header(synthetic.write(QWEN35_9B, tmp_path / "model.gguf")).architecture
    assert found.full_attention_interval == 4
    assert found.ssm_inner_size == 4096


def test_hyper_parameters_need_one_small_range_before_a_vocabulary() -> None:
    words = [f"word{number}" for number in range(60_000)]
    data = gguf_writer.header({**SMALL, "tokenizer.ggml.tokens": words}, TENSORS)
    ranged = Ranged(data)
    header = read_header(ranged, whole=False)
    assert header.architecture.vocab_size == 60_000
    assert ranged.asked == [(0, 65_536)]
    assert not header.whole


def test_at_most_three_ranges_and_512_kib_are_asked_for() -> None:
    data = gguf_writer.header({**SMALL, "general.description": "x" * 300_000, "tokenizer.ggml.tokens": ["a"]}, TENSORS)
    ranged = Ranged(data)
    read_header(ranged, whole=False)
    assert len(ranged.asked) <= 3
    assert sum(stop - start for start, stop in ranged.asked) <= 512 << 10
    far = Ranged(gguf_writer.header({"general.description": "x" * 900_000, **SMALL}, TENSORS))
    with pytest.raises(BadWeights, match="512 KiB"):
        read_header(far, whole=False)
    assert len(far.asked) <= 3


def test_the_whole_header_comes_by_ranges_too(tmp_path: Path) -> None:
    path = small(tmp_path)
    data = path.read_bytes()
    assert read_header(Ranged(data), file_bytes=len(data)).tensors == read_header(path).tensors


def test_long_vocabularies_are_skipped_and_counted(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(5000)]
    path = gguf_writer.write(tmp_path / "model.gguf", {**SMALL, "tokenizer.ggml.tokens": words}, TENSORS)
    header = read_header(path)
    assert "tokenizer.ggml.tokens" not in header.metadata
    assert header.metadata["tokenizer.ggml.tokens#length"] == 5000
    assert header.whole


def test_a_file_that_is_cut_off_says_by_how_much(tmp_path: Path) -> None:
    path = small(tmp_path)
    header = read_header(path)
    with path.open("r+b") as file:
        file.truncate(header.end_bytes - 100)
    with pytest.raises(BadWeights, match="100 of"):
        check_length(path, header)


def test_a_header_that_is_cut_off_is_no_header(tmp_path: Path) -> None:
    path = small(tmp_path)
    data = path.read_bytes()
    for length in (0, 3, 10, 23, 24, 60, 200):
        path.write_bytes(data[:length])
        with pytest.raises(BadWeights):
            read_header(path)


def head(tensors: int, pairs: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)


KEY = gguf_writer.text("general.architecture")
HOSTILE = {
    "a billion tensors": head(10**9, 0) + bytes(1000),
    "more keys than bytes": head(0, 10**12) + bytes(1000),
    "a string beyond the file": head(0, 1) + KEY + struct.pack("<IQ", 8, 1 << 60),
    "a key of 10 MB": head(0, 1) + struct.pack("<Q", 10_000_000) + b"k" * 10_000_000,
    "a tensor's name of 10 MB": head(1, 0) + struct.pack("<Q", 10_000_000) + b"n" * 10_000_000,
    "an array of arrays of arrays of arrays": head(0, 1) + KEY + struct.pack("<IIQ", 9, 9, 1)
    + struct.pack("<IQ", 9, 1) * 50 + bytes(100),
    "an array of 2^60 numbers": head(0, 1) + KEY + struct.pack("<IIQ", 9, 4, 1 << 60) + bytes(100),
    "an array of 2^40 strings": head(0, 1) + KEY + struct.pack("<IIQ", 9, 8, 1 << 40) + bytes(100),
    "a value of no type": head(0, 1) + KEY + struct.pack("<I", 77) + bytes(100),
    "an array of no type": head(0, 1) + KEY + struct.pack("<IIQ", 9, 77, 1) + bytes(100),
    "a tensor of 200 dimensions": head(1, 0) + gguf_writer.text("t") + struct.pack("<I", 200) + bytes(2000),
    "a tensor of unknown type": head(1, 0) + gguf_writer.text("t") + struct.pack("<IQIQ", 1, 32, 999, 0) + bytes(64),
    "a tensor larger than any disk": head(1, 0) + gguf_writer.text("t")
    + struct.pack("<IQQIQ", 2, 1 << 40, 1 << 40, 0, 0),
    "a file of big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "a file of version 1": head(0, 0, version=1),
    "no GGUF at all": b"PK\x03\x04" + bytes(1000),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_header_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(HOSTILE[what])
    with pytest.raises(BadWeights) as raised:
        read_header(path)
    assert "\n" not in str(raised.value)
    with pytest.raises(BadWeights):
        read_header(Ranged(HOSTILE[what]), file_bytes=len(HOSTILE[what]))
    with pytest.raises(BadWeights):
        read_header(Ranged(HOSTILE[what]), whole=True)


def test_a_string_array_cannot_run_through_a_sparse_file(tmp_path: Path) -> None:
    path = tmp_path / "sparse.gguf"
    with path.open("wb") as file:
        file.write(head(0, 1) + KEY + struct.pack("<IIQ", 9, 8, 1 << 33))
        file.truncate(1 << 40)
    with pytest.raises(BadWeights, match="array of"):
        read_header(path)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 30), st.integers(0, 255))
def test_any_bytes_are_a_header_or_bad_weights(data: bytes, at: int, value: int) -> None:
    real = bytearray(gguf_writer.header(SMALL, TENSORS))
    real[at * 7 % len(real)] = value
    for candidate in (data, b"GGUF" + data, head(2, 2) + data, bytes(real), bytes(real[: at * 10])):
        try:
            header = read_header(Ranged(candidate), file_bytes=len(candidate))
        except BadWeights:
            continue
        assert header.whole


@pytest.mark.weights
def test_the_header_of_gemma_3_270m_is_read(gemma_gguf: Path) -> None:
    header = read_header(gemma_gguf)
    assert header.header_bytes == 6_525_120
    assert header.end_bytes == 253_113_024
    assert header.parameters == 268_098_176
    assert header.architecture.vocab_size == 262_144
    assert header.architecture.sliding_window == 512
    assert header.chat_template is None
    check_length(gemma_gguf, header)
