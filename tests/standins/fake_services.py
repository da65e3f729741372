"""Backends for tests of the screens: a catalog, a machine and verdicts by simple rules; nothing blocks, nothing waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backends.downloads import Job, Plan, PlannedFile, Progress
from backends.engines.engine import EngineStatus
from backends.fit import DEFAULT_CONTEXT, Knowledge, Option, Speed, Wish
from backends.machine.model import Accelerator, Cpu, Machine, Memory
from backends.memory.estimate import MemoryEstimate
from specs.model import HubSource, ModelFamily, ModelSpec, Variant
from tui.services import Measured, Services

GIB = 1 << 30
BITS = {"IQ1_M": 1.9, "IQ2_XS": 2.4, "IQ3_M": 3.7, "Q4_K_M": 4.9, "Q5_K_M": 5.7, "Q6_K": 6.6, "Q8_0": 8.5}
BITS |= {"4-bit": 5.6, "8-bit": 9.0, "none": 16.1, "Int4": 5.7, "4bit": 4.6}


def gguf(size: float, *quantizations: str, name: str = "model") -> ModelSpec:
    source = HubSource("huggingface", f"publisher/{name}-{size}B-GGUF", file=f"{name}-{{quantization}}.gguf")
    return ModelSpec("ggufv2", size, quantizations, (source,))


def spec(format_name: str, size: float, *quantizations: str, name: str = "model") -> ModelSpec:
    sources = (
        HubSource("huggingface", f"publisher/{name}-{size}B-{format_name}"),
        HubSource("modelscope", f"publisher/{name}-{size}B-{format_name}"),
    )
    return ModelSpec(format_name, size, quantizations, sources)


def family(name: str, *specs: ModelSpec, abilities: tuple[str, ...] = ("chat",), **rest: object) -> ModelFamily:
    rest = {"context_length": 8192, "languages": ("en",), **rest}
    return ModelFamily(name, abilities=abilities, specs=specs, **rest)  # type: ignore[arg-type]


LLAMA3 = family(
    "llama-3-instruct",
    spec("pytorch", 8, "4-bit", "8-bit", "none", name="Meta-Llama-3"),
    spec("pytorch", 70, "4-bit", "8-bit", "none", name="Meta-Llama-3"),
    gguf(8, "IQ3_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", name="Meta-Llama-3"),
    gguf(70, "IQ1_M", "IQ2_XS", "Q4_K_M", name="Meta-Llama-3"),
    spec("gptq", 8, "Int4", name="Meta-Llama-3"),
    spec("mlx", 8, "4-bit", "8-bit", "none", name="Meta-Llama-3"),
)
FAMILIES = (
    family("codellama-instruct", gguf(7, "Q4_K_M", "Q8_0"), gguf(13, "Q4_K_M", "Q8_0"), gguf(34, "Q4_K_M", "Q8_0")),
    family(
        "gemma-3-it",
        gguf(0.27, "Q4_K_M"),
        gguf(4, "Q4_K_M", "Q8_0"),
        gguf(27, "Q4_K_M"),
        abilities=("chat", "vision"),
        context_length=131072,
    ),
    LLAMA3,
    family(
        "llama-3.1",
        gguf(8, "Q4_K_M"),
        gguf(70, "Q4_K_M"),
        gguf(405, "Q4_K_M"),
        abilities=("generate",),
        context_length=131072,
    ),
    family(
        "qwen3",
        gguf(0.6, "Q8_0"),
        gguf(1.7, "Q8_0"),
        gguf(4, "Q4_K_M"),
        gguf(8, "Q4_K_M"),
        gguf(14, "Q4_K_M"),
        gguf(32, "Q4_K_M"),
        abilities=("chat", "reasoning", "hybrid", "tools"),
        languages=("en", "zh", "de", "fr", "it", "es"),
        context_length=40960,
    ),
    family("giant", spec("pytorch", 671, "none"), abilities=("generate",)),
)


@dataclass(frozen=True)
class FakeCatalog:
    families: tuple[ModelFamily, ...] = FAMILIES
    problems: tuple[str, ...] = ()

    def search(self, query: str, **_: object) -> tuple[ModelFamily, ...]:
        words = query.lower().split()
        return tuple(f for f in self.families if all(word in f.name.lower() for word in words))


MACHINE = Machine(
    "linux",
    "x86_64",
    Cpu("AMD Ryzen 9 7950X", 16, 32),
    Memory(62 * GIB, 41 * GIB),
    (
        Accelerator(0, "cuda", "NVIDIA GeForce RTX 4090", "GPU-1", 24 * GIB, int(15.2 * GIB), "8.9"),
        Accelerator(1, "cuda", "NVIDIA GeForce RTX 3050", "GPU-2", 8 * GIB, int(6.3 * GIB), "8.6"),
    ),
)
PRESET = Machine(
    "linux",
    "x86_64",
    Cpu(None, 16, 32),
    Memory(128 * GIB, 120 * GIB),
    tuple(Accelerator(i, "cuda", "NVIDIA H100", f"GPU-{i}", 80 * GIB, 79 * GIB, "9.0") for i in range(8)),
    label="8x H100",
)
STATUSES = {
    "llama.cpp": EngineStatus("ready", version="0.3.36"),
    "Transformers": EngineStatus(
        "not-installed", "Transformers is not installed", "pip install 'modeldeck[transformers]'"
    ),
    "vLLM": EngineStatus("not-installed", "vLLM is not installed", "pip install 'modeldeck[vllm]'"),
    "MLX": EngineStatus("unsupported", "MLX needs Apple Silicon; this is Linux"),
}
TAKES = {"ggufv2": ("llama.cpp", "vLLM"), "mlx": ("MLX",)}


def weights_bytes(variant: Variant) -> int:
    return int(variant.spec.size_in_billions * BITS.get(variant.quantization, 5) / 8 * 1e9)


def judge_one(
    variant: Variant,
    engine: str,
    machine: Machine,
    wish: Wish,
    statuses: Mapping[str, EngineStatus],
    known: Knowledge | None,
) -> Option:
    context = wish.context or DEFAULT_CONTEXT
    weights = weights_bytes(variant)
    cache = int(variant.spec.size_in_billions**0.6 * context * 38_000)
    memory = MemoryEstimate(weights, cache, 300 << 20, 820 << 20, "file" if known else "catalog")
    card = max((a.free_bytes or 0 for a in machine.accelerators), default=0)
    if machine.label:
        card = sum(a.free_bytes or 0 for a in machine.accelerators)
    host = machine.memory.available_bytes or 0
    need = memory.total_bytes
    status = statuses[engine].status
    reason = statuses[engine].reason
    verdict, budget, where = "gpu", card, "on the RTX 4090, all 33 layers"
    if status == "unsupported":
        verdict, where = "no", "nowhere on this machine"
    elif need > card:
        verdict, budget, where = "split", card + host, "split: 19 of 33 layers on the RTX 4090, the rest in RAM"
        if engine != "llama.cpp" or need > card + host:
            verdict, budget, where = "no", card, "nowhere on this machine"
            reason = f"{(need - card) / GIB:.1f} GiB too much for the RTX 4090; a context of 2,048 or the next smaller quantization would fit"
    return Option(
        variant,
        engine,
        status,
        verdict,
        reason,
        where,
        context,
        71_680 if verdict != "no" else None,
        33,
        33,  # type: ignore[arg-type]
        weights,
        Speed(128.0 if verdict == "gpu" else 7.3, "predicted") if verdict != "no" else None,
        memory,
        budget,
    )


def options(
    variants: Sequence[Variant],
    machine: Machine,
    wish: Wish,
    statuses: Mapping[str, EngineStatus],
    knowledge: Mapping[str, Knowledge],
    measured: Measured = Measured(),
) -> list[Option]:
    return [
        judge_one(variant, engine, machine, wish, statuses, knowledge.get(variant.key))
        for variant in variants
        for engine in TAKES.get(variant.spec.format, ("Transformers", "vLLM"))
    ]


def answered_options(
    variants: Sequence[Variant],
    machine: Machine,
    wish: Wish,
    statuses: Mapping[str, EngineStatus],
    knowledge: Mapping[str, Knowledge],
    measured: Measured = Measured(),
) -> list[Option]:
    """Options that tell whose figure the compute buffers are, as the judge's do."""
    found = []
    for option in options(variants, machine, wish, statuses, knowledge, measured):
        known = knowledge.get(option.variant.key)
        by = known.compute.library if known and known.compute and option.engine == "llama.cpp" else None
        found.append(replace(option, compute_by=by))
    return found


ORDER = ("no", "cpu", "split", "gpu")


def best_option(found: Sequence[Option]) -> Option:
    return max(found, key=lambda option: (ORDER.index(option.verdict), option.engine_status == "ready"))


def quick_verdicts(
    variants: Sequence[Variant],
    machine: Machine,
    wish: Wish,
    statuses: Mapping[str, EngineStatus],
    measured: Measured = Measured(),
) -> list[str]:
    return [best_option(options([variant], machine, wish, statuses, {})).verdict for variant in variants]


class FakeLibrary:
    how = "sum"

    def __init__(self, *keys: str) -> None:
        self.keys = set(keys)

    def checked(self, variant: Variant) -> str | None:
        return self.how if variant.key in self.keys else None

    def path(self, variant: Variant) -> Path | None:
        return Path(f"/models/{variant.quantization}.gguf") if variant.key in self.keys else None


def plan(variant: Variant, hub: str | None = None) -> Plan:
    total = weights_bytes(variant)
    files = (PlannedFile("model.gguf", total, None, 0),)
    return Plan(variant, hub or variant.hub_names[0], variant.model_id, "0" * 40, files, Path("/models/model.gguf"))


@dataclass
class FakeQueue:
    """A queue that moves only when a test says so."""

    on_change: Callable[[Job], None]
    calls: list[tuple[object, ...]] = field(default_factory=list)
    entries: list[Job] = field(default_factory=list)
    closed: bool = False

    def add(self, planned: Plan) -> Job:
        job = Job(f"job-{len(self.entries) + 1}", planned, Progress("queued", 0, planned.total_bytes))
        self.entries.append(job)
        self.on_change(job)
        return job

    def progress(self, job_id: str, **change: object) -> None:
        at = next(i for i, job in enumerate(self.entries) if job.id == job_id)
        job = self.entries[at]
        self.entries[at] = replace(job, progress=replace(job.progress, **change))
        self.on_change(self.entries[at])

    def pause(self, job_id: str) -> None:
        self.calls.append(("pause", job_id))
        self.progress(job_id, state="paused")

    def resume(self, job_id: str) -> None:
        self.calls.append(("resume", job_id))
        self.progress(job_id, state="running")

    def retry_now(self, job_id: str) -> None:
        self.calls.append(("retry_now", job_id))
        self.progress(job_id, note=None, next_try_seconds=None)

    def cancel(self, job_id: str) -> None:
        self.calls.append(("cancel", job_id))
        self.progress(job_id, state="cancelled")

    def move(self, job_id: str, places: int) -> None:
        self.calls.append(("move", job_id, places))
        at = next(i for i, job in enumerate(self.entries) if job.id == job_id)
        self.entries.insert(max(0, at + places), self.entries.pop(at))
        for job in self.entries:
            self.on_change(job)

    def forget(self, job_id: str) -> None:
        self.entries = [job for job in self.entries if job.id != job_id]

    def jobs(self) -> tuple[Job, ...]:
        return tuple(self.entries)

    def close(self) -> None:
        self.closed = True


def services(
    *,
    families: tuple[ModelFamily, ...] = FAMILIES,
    problems: tuple[str, ...] = (),
    machine: Machine = MACHINE,
    on_disk: tuple[Variant, ...] = (),
    **rest: object,
) -> Services:
    """Everything faked; what runs in the background runs at once."""
    queues: list[FakeQueue] = []

    def open_queue(on_change: Callable[[Job], None]) -> FakeQueue:
        queues.append(FakeQueue(on_change))
        return queues[-1]

    library = FakeLibrary(*(variant.key for variant in on_disk))
    chosen: dict[str, object] = {
        "load_catalog": lambda: FakeCatalog(families, problems),
        "detect_machine": lambda: machine,
        "statuses": lambda: STATUSES,
        "options": options,
        "best_option": best_option,
        "quick_verdicts": quick_verdicts,
        "local_index": lambda: library,
        "knowledge": lambda variants: {v.key: Knowledge(on_disk=True) for v in variants if library.path(v)},
        "hub_knowledge": lambda variants: {},
        "engine_answer": lambda variant, known, path, cache_type: None,
        "measured": lambda machine: Measured(),
        "record_load": lambda machine, load: None,
        "as_built": lambda option, *rest: option,
        "forget_loads": lambda machine, engine, format_name: 0,
        "plan": plan,
        "open_queue": open_queue,
        "measure_bandwidth": lambda machine: None,
        "open_watch": lambda machine: FakeWatch(machine),
        "presets": lambda: [PRESET],
        "load_machine": load_machine,
        "disk_free_bytes": lambda: 212_000_000_000,
        "background": lambda work: work(),
        "settle_seconds": 0.0,
        "refresh_seconds": 0.0,
        **rest,
    }
    return Services(**chosen)  # type: ignore[arg-type]


@dataclass
class FakeWatch:
    machine: Machine

    def sample(self) -> Machine:
        return self.machine

    def close(self) -> None:
        pass


def load_machine(text: str) -> Machine:
    if text == "M4 Pro 48 GB":
        return Machine(
            "darwin",
            "arm64",
            Cpu("Apple M4 Pro", 14, 14),
            Memory(48 * GIB, 40 * GIB),
            (Accelerator(0, "metal", "Apple M4 Pro", None, 36 * GIB, 36 * GIB, unified=True),),
            label=text,
        )
    raise ValueError(f'no machine is called "{text}"; write for example "2x RTX 3090"')


def variant(chosen: ModelFamily, size: float, quantization: str, format_name: str = "ggufv2") -> Variant:
    """A variant of a family by what its cell says."""
    return next(
        v
        for v in chosen.variants()
        if (v.spec.size_in_billions, v.quantization, v.spec.format) == (size, quantization, format_name)
    )
