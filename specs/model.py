"""Values of a catalog: families, their specs, and the variants that one can download."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from specs.errors import SpecError as SpecError  # noqa: PLC0414 - those who read specs look for it here

HUGGINGFACE: Final = "huggingface"
MODELSCOPE: Final = "modelscope"
HUBS: Final = (HUGGINGFACE, MODELSCOPE)

LLAMA_CPP: Final = "llama.cpp"
TRANSFORMERS: Final = "Transformers"
VLLM: Final = "vLLM"
SGLANG: Final = "SGLang"
MLX: Final = "MLX"
ENGINES: Final = (LLAMA_CPP, TRANSFORMERS, VLLM, SGLANG, MLX)
"""Engines that modeldeck carries, in the spelling of the spec pages."""

FORMATS: Final = ("ggufv2", "pytorch", "gptq", "awq", "fp8", "fp4", "bnb", "mlx")
"""Weight formats that an engine of ours takes; "ggmlv3" is read and runs nowhere."""

Number = int | float
"""A size in billions: an int where the publisher wrote a whole number."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Hyper-parameters of one model, in GGUF's metadata names without their prefix.

    Every field may be None: not known. Lengths are elements, counts are layers, heads or experts.
    """

    architecture: str | None = None
    """llama.cpp's name of the architecture, such as "llama" or "qwen3moe"."""
    block_count: int | None = None
    embedding_length: int | None = None
    feed_forward_length: int | tuple[int, ...] | None = None
    """One value, or one a layer."""
    head_count: int | tuple[int, ...] | None = None
    head_count_kv: int | tuple[int, ...] | None = None
    """One value, or one a layer; 0 where a layer has no KV cache."""
    key_length: int | None = None
    """Elements of one head's key; with latent attention nope + rope."""
    value_length: int | None = None
    vocab_size: int | None = None
    tied_embeddings: bool | None = None
    """Whether the output matrix is the token embedding."""
    expert_count: int | None = None
    expert_used_count: int | None = None
    expert_feed_forward_length: int | None = None
    expert_shared_feed_forward_length: int | None = None
    leading_dense_block_count: int | None = None
    kv_lora_rank: int | None = None
    q_lora_rank: int | None = None
    rope_dimension_count: int | None = None
    sliding_window: int | None = None
    """Tokens that a sliding-window layer sees."""
    sliding_window_pattern: int | None = None
    """Of every n blocks the last one attends fully."""
    full_attention_interval: int | None = None
    """Of every n blocks the last one attends, the others are recurrent."""
    ssm_conv_kernel: int | None = None
    ssm_state_size: int | None = None
    ssm_group_count: int | None = None
    ssm_inner_size: int | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)
    """Whatever else the file said, by GGUF's name without its prefix."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """Where one hub keeps the weights of a spec."""

    hub: str
    """"huggingface" or "modelscope"."""
    id: str
    """owner/name; may hold {quantization}."""
    file: str | None = None
    """GGUF file name with {quantization}; None: found by listing the repository."""
    split_file: str | None = None
    """File name with {quantization} and {part}, for the quantizations in parts."""
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Names of the parts by quantization."""
    revision: str | None = None
    """Branch, tag or commit; None: the hub's default."""
    quantizations: tuple[str, ...] | None = None
    """This hub's list where it differs from the spec's."""
    projectors: tuple[str, ...] = ()
    """Files of the vision projector, not needed for text."""

    def model_id(self, quantization: str) -> str:
        """The repository that holds this quantization."""
        return self.id.replace("{quantization}", quantization)

    def file_names(self, quantization: str) -> tuple[str, ...] | None:
        """Files of this quantization in the repository; None when only a listing can tell."""
        named = next((n for n in self.parts if n.lower() == quantization.lower()), None)
        if named is not None and self.split_file:
            template = self.split_file.replace("{quantization}", named)
            return tuple(template.replace("{part}", part) for part in self.parts[named])
        if self.file:
            return (self.file.replace("{quantization}", quantization),)
        return None

    def carries(self, quantization: str) -> bool:
        """Whether this hub lists the quantization."""
        wanted = quantization.lower()
        return self.quantizations is None or any(q.lower() == wanted for q in self.quantizations)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One format of one size of a family, with its quantizations."""

    format: str
    size_in_billions: Number
    quantizations: tuple[str, ...]
    hubs: tuple[HubSource, ...] = ()
    active_size_in_billions: Number | None = None
    """Parameters that one token reads; None for dense models or when not published."""
    engines: Mapping[str, tuple[str, ...]] | None = field(default=None, hash=False)
    """Quantizations by engine as the file says; None: the file does not say, our rules do."""
    parameters: int | None = None
    """Exact count of parameters, when known."""
    architecture: Architecture | None = None
    path: str | None = None
    """A local file or folder that holds the weights, for specs that name one."""

    @property
    def model_id(self) -> str:
        """The first hub's ID with its placeholder, or the local path."""
        return self.hubs[0].id if self.hubs else (self.path or "")


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """A family of models: what it is called and can do, and all its specs in the file's order."""

    name: str
    context_length: int | None
    """Tokens that it was trained for; None: the file does not say."""
    languages: tuple[str, ...]
    abilities: tuple[str, ...]
    specs: tuple[ModelSpec, ...]
    description: str = ""
    license: str | None = None
    source: str = "bundled"
    """"bundled", or the path of the spec file."""
    chat_template: str | None = None
    """A Jinja template that stands above the one in the weights; None: theirs."""
    stop: tuple[str, ...] = ()
    reasoning_start_tag: str | None = None
    reasoning_end_tag: str | None = None

    @property
    def chats(self) -> bool:
        """Whether prompts go through a chat template; base models are completed instead."""
        return "chat" in self.abilities

    @property
    def sizes_in_billions(self) -> tuple[Number, ...]:
        """Every size once, ascending."""
        return tuple(sorted({spec.size_in_billions for spec in self.specs}))

    @property
    def formats(self) -> tuple[str, ...]:
        """Every format once, in the file's order."""
        return tuple(dict.fromkeys(spec.format for spec in self.specs))

    def variants(self) -> Iterator[Variant]:
        """Every downloadable thing of this family, in the file's order."""
        for spec in self.specs:
            for quantization in spec.quantizations:
                yield Variant(self, spec, quantization)


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """One downloadable thing: family, size, format, quantization and model ID together.

    Two variants are equal when their keys are.
    """

    family: ModelFamily
    spec: ModelSpec
    quantization: str

    @property
    def model_id(self) -> str:
        """The repository of the first hub that lists this quantization."""
        source = self.source()
        return source.model_id(self.quantization) if source else (self.spec.path or "")

    def source(self, hub: str | None = None) -> HubSource | None:
        """Where this quantization lies: on the hub asked for, else on the first that lists it."""
        for source in self.spec.hubs:
            if (hub is None or source.hub == hub) and source.carries(self.quantization):
                return source
        return None

    @property
    def hub_names(self) -> tuple[str, ...]:
        """Hubs that list this quantization, in the file's order."""
        return tuple(source.hub for source in self.spec.hubs if source.carries(self.quantization))

    @property
    def key(self) -> str:
        """A stable name of this variant for files, databases and messages."""
        size = f"{self.spec.size_in_billions}B"
        return "/".join((self.family.name, size, self.spec.format, self.quantization, self.model_id))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Variant) and self.key == other.key

    def __hash__(self) -> int:
        return hash((self.family.name, self.spec.size_in_billions, self.spec.format, self.quantization))
