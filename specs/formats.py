"""Weight formats: tensor types with their block sizes, and what a quantization's name means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final


@dataclass(frozen=True, slots=True)
class TensorType:
    """How ggml packs a row: block_bytes for every block_elements elements."""

    name: str
    ggml_id: int
    block_elements: int
    block_bytes: int

    @property
    def bits_per_weight(self) -> float:
        """Bits one element takes, scales included."""
        return self.block_bytes * 8 / self.block_elements

    def row_bytes(self, elements: int) -> int:
        """Bytes of a row; a row that is no multiple of the block is counted as if it were padded."""
        return -(-elements // self.block_elements) * self.block_bytes


def _types(*rows: tuple[str, int, int, int]) -> dict[str, TensorType]:
    return {name: TensorType(name, ggml_id, elements, size) for name, ggml_id, elements, size in rows}


TENSOR_TYPES: Final = _types(
    ("F32", 0, 1, 4),
    ("F16", 1, 1, 2),
    ("Q4_0", 2, 32, 18),
    ("Q4_1", 3, 32, 20),
    ("Q5_0", 6, 32, 22),
    ("Q5_1", 7, 32, 24),
    ("Q8_0", 8, 32, 34),
    ("Q8_1", 9, 32, 36),
    ("Q2_K", 10, 256, 84),
    ("Q3_K", 11, 256, 110),
    ("Q4_K", 12, 256, 144),
    ("Q5_K", 13, 256, 176),
    ("Q6_K", 14, 256, 210),
    ("Q8_K", 15, 256, 292),
    ("IQ2_XXS", 16, 256, 66),
    ("IQ2_XS", 17, 256, 74),
    ("IQ3_XXS", 18, 256, 98),
    ("IQ1_S", 19, 256, 50),
    ("IQ4_NL", 20, 32, 18),
    ("IQ3_S", 21, 256, 110),
    ("IQ2_S", 22, 256, 82),
    ("IQ4_XS", 23, 256, 136),
    ("I8", 24, 1, 1),
    ("I16", 25, 1, 2),
    ("I32", 26, 1, 4),
    ("I64", 27, 1, 8),
    ("F64", 28, 1, 8),
    ("IQ1_M", 29, 256, 56),
    ("BF16", 30, 1, 2),
    ("TQ1_0", 34, 256, 54),
    ("TQ2_0", 35, 256, 66),
    ("MXFP4", 39, 32, 17),
    ("NVFP4", 40, 64, 36),
    ("Q1_0", 41, 128, 18),
    ("Q2_0", 42, 64, 18),
)
"""ggml's types by name. Source: the block structs in ggml/src/ggml-common.h and enum ggml_type in ggml.h."""

TYPES_BY_ID: Final = {kind.ggml_id: kind for kind in TENSOR_TYPES.values()}
"""The same by the number that a GGUF file stores."""

KV_CACHE_TYPES: Final = ("f16", "q8_0", "q4_0")
"""Types of the KV cache that a load may ask for."""

MIX_BASE_TYPES: Final = {
    "F32": "F32",
    "F16": "F16",
    "BF16": "BF16",
    "Q1_0": "Q1_0",
    "Q2_0": "Q2_0",
    "Q4_0": "Q4_0",
    "Q4_1": "Q4_1",
    "Q5_0": "Q5_0",
    "Q5_1": "Q5_1",
    "Q8_0": "Q8_0",
    "MXFP4_MOE": "MXFP4",
    "Q2_K": "Q2_K",
    "Q2_K_S": "Q2_K",
    "Q3_K_S": "Q3_K",
    "Q3_K_M": "Q3_K",
    "Q3_K_L": "Q3_K",
    "Q4_K_S": "Q4_K",
    "Q4_K_M": "Q4_K",
    "Q5_K_S": "Q5_K",
    "Q5_K_M": "Q5_K",
    "Q6_K": "Q6_K",
    "IQ1_S": "IQ1_S",
    "IQ1_M": "IQ1_M",
    "IQ2_XXS": "IQ2_XXS",
    "IQ2_XS": "IQ2_XS",
    "IQ2_S": "IQ2_XS",
    "IQ2_M": "IQ2_S",
    "IQ3_XXS": "IQ3_XXS",
    "IQ3_XS": "IQ3_S",
    "IQ3_S": "IQ3_S",
    "IQ3_M": "IQ3_S",
    "IQ4_XS": "IQ4_XS",
    "IQ4_NL": "IQ4_NL",
    "TQ1_0": "TQ1_0",
    "TQ2_0": "TQ2_0",
}
"""The type that a mix starts from. Source: llama_ftype_get_default_type in llama.cpp's src/llama-quant.cpp."""

TYPICAL_BITS: Final = {
    "F32": 32.0, "F16": 16.0, "BF16": 16.0, "Q8_0": 8.5, "Q6_K": 6.56, "Q5_K_M": 5.70, "Q5_K_S": 5.57, "Q5_1": 6.0,
    "Q5_0": 5.57, "Q4_1": 5.13, "Q4_K_M": 4.89, "Q4_K_S": 4.67, "Q4_0": 4.66, "IQ4_NL": 4.68, "IQ4_XS": 4.46,
    "Q3_K_L": 4.30, "Q3_K_M": 4.00, "IQ3_M": 3.76, "IQ3_S": 3.66, "Q3_K_S": 3.64, "IQ3_XS": 3.50, "IQ3_XXS": 3.25,
    "Q2_K": 3.16, "Q2_K_S": 2.97, "IQ2_M": 2.93, "IQ2_S": 2.74, "IQ2_XS": 2.59, "IQ2_XXS": 2.38, "IQ1_M": 2.15,
    "IQ1_S": 2.00, "TQ1_0": 1.9, "TQ2_0": 2.25, "MXFP4_MOE": 4.6, "Q1_0": 1.5, "Q2_0": 2.5,
}  # fmt: skip
"""Bits a weight of whole files, for models of which nothing but the parameter count is known.

Source: the table of Llama 3.1 8B in llama.cpp's tools/quantize/README.md; the last five by their block sizes.
"""

_ALIASES: Final = {
    "FP32": "F32", "FLOAT32": "F32", "FP16": "F16", "FLOAT16": "F16", "NONE": "F16", "": "F16", "BFLOAT16": "BF16",
    "Q2": "Q2_K", "Q3": "Q3_K_M", "Q3_K": "Q3_K_M", "Q4": "Q4_0", "Q4_K": "Q4_K_M", "Q5": "Q5_0", "Q5_K": "Q5_K_M",
    "Q6": "Q6_K", "Q8": "Q8_0", "Q8_K": "Q8_0", "Q2_K_XS": "Q2_K_S", "Q2_K_M": "Q2_K", "Q6_K_S": "Q6_K",
    "Q6_K_M": "Q6_K", "MXFP4": "MXFP4_MOE", "Q4_0_4_4": "Q4_0", "Q4_0_4_8": "Q4_0", "Q4_0_8_8": "Q4_0",
    "IQ4_NL_4_4": "IQ4_NL",
}  # fmt: skip
"""Other spellings of llama.cpp's mixes. Source: QUANT_OPTIONS in tools/quantize/quantize.cpp, and files in the wild."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """What a quantization's name says about the weights."""

    name: str
    """As published."""
    format: str
    bits_per_weight: float | None
    """Bits of a weight in the quantized matrices, scales included (GGUF: of the whole file); None: not known."""
    method: str
    """"none", "gguf", "gptq", "awq", "fp8", "mxfp4", "nvfp4", "nf4", "int8", "mlx" or "mlx-fp"."""
    mix: str | None = None
    """GGUF: llama.cpp's name of the mix; None for a name that nobody knows."""
    embedding_type: str | None = None
    """GGUF: type of token embedding and output where the uploader chose it; None: llama.cpp's own choice."""
    attention_type: str | None = None
    """GGUF: type of the attention matrices where the uploader raised them."""
    imatrix: bool | None = None
    """Whether an importance matrix changed the mix; None: the name does not say."""
    uploader_mix: bool = False
    """Whether sizes are approximate, because the mix is its author's own or the name is unknown."""
    group_size: int | None = None
    """Weights that share a scale; None: does not apply."""
    bits: int | None = None
    """Bits of a weight without scales; None: unquantized or mixed."""

    @property
    def quantized(self) -> bool:
        """Whether the matrices take fewer than 16 bits a weight."""
        return self.bits_per_weight is None or self.bits_per_weight < 16


@lru_cache(maxsize=4096)
def parse_quantization(weight_format: str, name: str) -> Quantization:
    """What this quantization's name means in this format; case does not matter, unknown names are approximate."""
    upper = name.strip().upper().replace(" ", "")
    if weight_format == "ggufv2":
        return _gguf(name, upper)
    if weight_format == "mlx":
        return _mlx(name, upper)
    return _torch(weight_format, name, upper)


def _gguf(name: str, upper: str) -> Quantization:
    imatrix: bool | None = None
    uploader = False
    text = upper.replace("-", "_")
    if text.startswith("UD_"):
        text, uploader, imatrix = text[3:], True, True
    elif text.startswith("I1_"):
        text, imatrix = text[3:], True
    mix = _ALIASES.get(text, text)
    embedding = attention = None
    if mix not in MIX_BASE_TYPES:
        # bartowski's _L (_XL beside a _L of llama.cpp's own): embeddings and output at Q8_0, the rest as usual.
        match = re.fullmatch(r"(I?Q\d_\w+?|Q\d_K|Q\d_\d|IQ\d_\w+?)_(XXL|XL|L)", text)
        if match:
            base = match[1]
            larger = {"Q2_K": "Q2_K", "Q3_K": "Q3_K_L", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "Q6_K": "Q6_K"}
            if match[2] == "XXL":
                uploader = True
            mix = larger.get(base, _ALIASES.get(base, base))
            embedding = "Q8_0"
            if base == "Q8_K":
                mix, embedding, attention = "Q8_0", "BF16", "BF16"
            if uploader:
                # Unsloth's sizes against the same base: +2 % at 4 bits, +11 % at 6, +26 % at 8 (Qwen3 8B).
                mix = {"Q3_K_L": "Q3_K_M"}.get(mix, mix)
                embedding = {"Q6_K": "Q8_0", "Q8_0": "BF16"}.get(mix, "Q6_K")
                attention = {"Q6_K": "Q8_0", "Q8_0": "BF16"}.get(mix)
    if mix not in MIX_BASE_TYPES:
        bits = re.search(r"(\d)", text)
        guess = float(bits[1]) + 0.6 if bits else None
        return Quantization(name, "ggufv2", guess, "gguf", None, imatrix=imatrix, uploader_mix=True)
    typical = TYPICAL_BITS[mix]
    if attention:
        typical *= 1.2 if mix == "Q8_0" else 1.1
    elif embedding:
        typical *= 1.03
    if re.fullmatch(r"Q4_0_\d_\d", text):
        # The repacked names of 2024, before which the quantizer raises no ffn_down.
        imatrix = False
    # The small IQ types cannot be made without an importance matrix.
    if imatrix is None and mix.startswith(("IQ1", "IQ2", "IQ3_XXS")):
        imatrix = True
    return Quantization(name, "ggufv2", typical, "gguf", mix, embedding, attention, imatrix, uploader)


def _mlx(name: str, upper: str) -> Quantization:
    if upper in {"NONE", "BF16", "FP16", "F16", ""}:
        return Quantization(name, "mlx", 16.0, "none")
    if upper in {"FP32", "F32"}:
        return Quantization(name, "mlx", 32.0, "none")
    floats = {"MXFP8": (8, 32), "MXFP4": (4, 32), "NVFP4": (4, 16)}
    for word, (bits, group) in floats.items():
        if word in upper:
            # One 8-bit scale a group and no bias.
            return Quantization(name, "mlx", bits + 8 / group, "mlx-fp", group_size=group, bits=bits)
    match = re.search(r"(\d+)[-_ ]?BITS?", upper) or re.search(r"INT(\d+)", upper) or re.search(r"Q(\d)", upper)
    if match and 1 <= int(match[1]) <= 8:
        bits = int(match[1])
        grouped = re.search(r"(?:G|GS|GROUP)[-_]?(\d+)", upper)
        group = int(grouped[1]) if grouped and grouped[1] in {"32", "64", "128"} else 64
        # A 16-bit scale and a 16-bit bias a group. Source: mlx.core.quantize.
        return Quantization(
            name, "mlx", bits + 32 / group, "mlx", group_size=group, bits=bits, uploader_mix="MIX" in upper
        )
    return Quantization(name, "mlx", None, "mlx", uploader_mix=True)


def _torch(weight_format: str, name: str, upper: str) -> Quantization:
    if weight_format == "fp8":
        # Block scales of 128 x 128 are two bytes in 16,384: nothing.
        return Quantization(name, weight_format, 8.0, "fp8", bits=8)
    if weight_format == "fp4":
        if "MXFP4" in upper:
            return Quantization(name, weight_format, 4.25, "mxfp4", group_size=32, bits=4)
        return Quantization(name, weight_format, 4.5, "nvfp4", group_size=16, bits=4)
    digits = re.search(r"(\d+)", upper)
    bits = int(digits[1]) if digits else None
    if weight_format in {"gptq", "awq"}:
        mixed = "MIX" in upper
        if bits is None or bits > 8:
            bits = 4
        # A 16-bit scale and a zero of `bits` bits for each group of 128.
        per_weight = bits + (16 + bits) / 128
        if mixed:
            # Some matrices at 8 or 16 bits beside 4: its author's own mix.
            per_weight = 6.0
        return Quantization(
            name, weight_format, per_weight, weight_format, group_size=128, bits=bits, uploader_mix=mixed
        )
    if "FP8" in upper:
        return Quantization(name, weight_format, 8.0, "fp8", bits=8)
    if "MXFP4" in upper:
        return Quantization(name, weight_format, 4.25, "mxfp4", group_size=32, bits=4)
    if weight_format == "bnb" or re.fullmatch(r"(INT)?[48][-_]?(BITS?)?|NF4|FP4|BNB.*", upper):
        if bits == 8 and upper != "NF4":
            return Quantization(name, weight_format, 8.0, "int8", bits=8)
        # A 32-bit absolute maximum for each block of 64. Source: bitsandbytes' quantize_4bit.
        return Quantization(name, weight_format, 4.5, "nf4", group_size=64, bits=4)
    if upper in {"NONE", "", "BF16", "FP16", "F16"}:
        return Quantization(name, weight_format, 16.0, "none")
    if upper in {"FP32", "F32"}:
        return Quantization(name, weight_format, 32.0, "none")
    return Quantization(name, weight_format, None, "none", uploader_mix=True)
