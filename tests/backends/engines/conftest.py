"""Engines under test: every adapter that can run here, on real weights where they are small enough."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.engines.engine import Adapter, Engine, LoadOptions, Weights
from backends.engines.registry import adapter
from backends.engines.vllm_arguments import CPU_BLOCK_TOKENS
from specs.model import LLAMA_CPP, MLX, TRANSFORMERS, VLLM
from tests.backends.engines import make_weights
from tests.conftest import weights_cache


@dataclass(frozen=True)
class Subject:
    """One adapter with weights that it takes."""

    adapter: Adapter
    weights: Weights
    context: int = 2048
    exact: bool = True
    """Whether the same seed promises the same text."""
    aborts_prefill: bool = True
    """Whether a stop ends a prefill before it is through."""
    logprobs: bool = True
    long_prompt_words: int = 1200
    """A prompt that keeps it busy for a second or so."""
    cache_block: int = 1
    """Tokens that a cached prefix is counted in."""
    many_bytes: str = "灯台守は夜明けに七隻の船を数え、その名を"
    """A text whose continuation is made of parts of characters."""
    hot: float = 2.0
    """A temperature at which the choice strays. 1 where the library divides by it before top-p and min-p choose."""
    rounding: float = 0.02
    """By so much a probability may differ with the batches that a prompt was computed in."""
    quiet: bool = True
    """Whether descriptors 1 and 2 are left alone; the app has both on its log file in any case."""

    def load(self, context: int | None = None) -> Engine:
        return self.adapter.load(self.weights, LoadOptions(context=context or self.context))


def llama_cpp_subject(gguf: Path) -> Subject:
    return Subject(
        adapter(LLAMA_CPP),
        Weights(gguf, "gemma-3-270m", "ggufv2", "Q4_K_M"),
        many_bytes="𐎀𐎁𐎂𐎃 " * 4 + "𐎀",
        rounding=0.08,
    )


def transformers_subject(quantization: str, form: str = "pytorch") -> Callable[[Path], Subject]:
    """8-bit rounds activations by the whole batch's outliers, so that its text depends on how a prompt was cut."""

    def make(folder: Path) -> Subject:
        weights = Weights(folder, folder.name, form, quantization)
        # gptqmodel and torchao print while they are imported, past all loggers.
        quiet = form not in ("gptq", "awq")
        return Subject(adapter(TRANSFORMERS), weights, exact=quantization != "8-bit", quiet=quiet)

    return make


def mlx_subject(folder: Path) -> Subject:
    return Subject(adapter(MLX), Weights(folder, folder.name, "mlx", "none"))


def vllm_subject(folder: Path) -> Subject:
    """A stop in prefill is shown apart: this model's is over before one can come."""
    weights = Weights(folder, folder.name, "pytorch", "none")
    return Subject(adapter(VLLM), weights, aborts_prefill=False, cache_block=CPU_BLOCK_TOKENS, hot=1.0)


SUBJECTS: dict[str, tuple[str, Callable[..., Subject], str]] = {
    LLAMA_CPP: ("llama_cpp", llama_cpp_subject, "gemma_gguf"),
    VLLM: ("vllm", vllm_subject, "tiny_folder"),
    f"{TRANSFORMERS} none": ("transformers", transformers_subject("none"), "tiny_folder"),
    f"{TRANSFORMERS} 4-bit": ("bitsandbytes", transformers_subject("4-bit"), "tiny_folder"),
    f"{TRANSFORMERS} 8-bit": ("bitsandbytes", transformers_subject("8-bit"), "tiny_folder"),
    f"{TRANSFORMERS} bnb 4-bit": ("bitsandbytes", transformers_subject("4-bit", "bnb"), "tiny_bnb_4bit_folder"),
    f"{TRANSFORMERS} bnb 8-bit": ("bitsandbytes", transformers_subject("8-bit", "bnb"), "tiny_bnb_8bit_folder"),
    f"{TRANSFORMERS} fp8": ("accelerate", transformers_subject("fp8", "fp8"), "tiny_fp8_folder"),
    f"{TRANSFORMERS} gptq": ("gptqmodel", transformers_subject("Int4", "gptq"), "tiny_gptq_folder"),
    f"{TRANSFORMERS} awq": ("gptqmodel", transformers_subject("Int4", "awq"), "tiny_awq_folder"),
    MLX: ("mlx_lm", mlx_subject, "tiny_mlx_folder"),
    f"{MLX} 4bit": ("mlx_lm", mlx_subject, "tiny_mlx_4bit_folder"),
}
"""By name: the library that it needs, how to make it, and the fixture of its weights."""


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    """A tiny model in safetensors."""
    return make_weights.tiny_folder(weights_cache())


@pytest.fixture(scope="session")
def tiny_bnb_4bit_folder(tiny_folder: Path) -> Path:
    """The tiny model as bitsandbytes saves it in nf4."""
    return make_weights.bnb_folder(weights_cache(), tiny_folder, 4)


@pytest.fixture(scope="session")
def tiny_bnb_8bit_folder(tiny_folder: Path) -> Path:
    """The same in int8."""
    return make_weights.bnb_folder(weights_cache(), tiny_folder, 8)


@pytest.fixture(scope="session")
def tiny_fp8_folder(tiny_folder: Path) -> Path:
    """The tiny model in fine-grained fp8, which transformers computes in bf16 where there is no card."""
    return make_weights.fp8_folder(weights_cache(), tiny_folder)


@pytest.fixture(scope="session")
def tiny_gptq_folder(tiny_folder: Path) -> Path:
    """The tiny model as GPTQ in 4 bits."""
    return make_weights.gptqmodel_folder(weights_cache(), tiny_folder, "gptq")


@pytest.fixture(scope="session")
def tiny_awq_folder(tiny_folder: Path) -> Path:
    """The tiny model as AWQ in 4 bits."""
    return make_weights.gptqmodel_folder(weights_cache(), tiny_folder, "awq")


@pytest.fixture(scope="session")
def tiny_mlx_folder() -> Path:
    """The tiny model as mlx-lm writes it."""
    return make_weights.tiny_mlx_folder(weights_cache())


@pytest.fixture(scope="session")
def tiny_mlx_4bit_folder() -> Path:
    """The same, quantized in groups of 64."""
    return make_weights.tiny_mlx_folder(weights_cache(), bits=4)


@pytest.fixture(scope="session")
def gemma_folder(gemma_gguf: Path) -> Path:
    """Gemma 3 270M in safetensors."""
    return make_weights.gemma_folder(weights_cache(), gemma_gguf)


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(
            name,
            marks=[
                pytest.mark.weights,
                pytest.mark.skipif(importlib.util.find_spec(library) is None, reason=f"{library} is not installed"),
            ],
        )
        for name, (library, _, _) in SUBJECTS.items()
    ],
)
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each adapter in turn."""
    _, make, weights = SUBJECTS[request.param]
    return make(request.getfixturevalue(weights))


@pytest.fixture(scope="session")
def loaded(subject: Subject) -> Iterator[Engine]:
    """An engine that stays loaded for all tests that leave it usable."""
    engine = subject.load()
    yield engine
    engine.close()
