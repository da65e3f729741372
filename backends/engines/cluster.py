"""How a model is laid over the cards of several machines: tensor parallel inside one, pipeline parallel across them."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backends.engines import installed
from backends.errors import EngineError, EngineMissing

if TYPE_CHECKING:
    from backends.memory.demand import Demand

SHARE: Final = 0.9
"""Of a card that vLLM takes whole: its gpu_memory_utilization."""
CARD_OVERHEAD_BYTES: Final = 1840 << 20
"""CUDA, activations and graphs of one worker; as the estimate of vLLM counts them (backends/memory/vllm.py)."""
CARD_BYTES: Final = 80_000_000_000
MACHINE_CARDS: Final = 8
"""The usual machine of a cluster: eight A100 or H100 of 80 GB."""
ASK_SECONDS: Final = 20
"""How long a machine of the cluster may take to name its cards."""
KNOCK_SECONDS: Final = 5.0
_NUMBERS: Final = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of a cluster."""

    address: str
    cards: int
    card_bytes: int | None = None
    """Memory of its smallest card; None: not known."""
    kind: str | None = None
    """The cards' name, as "NVIDIA H100 80GB HBM3"; None: not known."""


@dataclass(frozen=True, slots=True)
class Load:
    """What has to be laid out."""

    weights_bytes: int
    heads: int
    """Attention heads: tensor_parallel must divide them."""
    heads_kv: int | None = None
    """None: as many as heads. With fewer than tensor_parallel each is kept by several cards."""
    blocks: int | None = None
    """Layers, which pipeline stages share; None: not known."""
    kv_cache_bytes: int = 0
    """Of the conversation that must fit."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How many cards work together, and how."""

    tensor_parallel: int
    pipeline_parallel: int
    machines: int
    card_need_bytes: int
    """What the fullest card must give, share and overhead counted."""
    checked: bool = True
    """False: the cards' memory is not known, so all of them are taken."""

    @property
    def cards(self) -> int:
        return self.tensor_parallel * self.pipeline_parallel


def load_of(demand: Demand, context: int) -> Load:
    """What an estimate for vLLM asks for at this context."""
    heads, heads_kv = demand.parallel_heads or (1, 1)
    return Load(demand.weights_bytes, heads, heads_kv, len(demand.block_bytes) or None, demand.kv_bytes(context, "f16"))


def lay_out(nodes: Sequence[Node], load: Load) -> Layout | None:
    """The layout on the fewest machines, then with the fewest cards, that holds the load; None: nothing here does.

    Inside a machine the cards share every layer (tensor parallel, by powers of two), since stages would wait for one
    another; over several, each machine is one stage (pipeline parallel), so that only the activations between two
    stages cross the network. Where that does not hold it, as with heads that do not divide or six cards, a machine is
    cut into stages too. Source: vLLM's guide to parallelism and scaling.
    """
    usable = [node for node in nodes if node.cards > 0]
    if not usable:
        return None
    if any(node.card_bytes is None for node in usable):
        return _all_of(usable, load)
    most = max(node.cards for node in usable)
    whole = [(tensor, 1) for tensor in _powers(most)]
    cut = [(tensor, stages) for tensor in _powers(most) for stages in range(2, most // tensor + 1)]
    cut.sort(key=lambda shape: (shape[0] * shape[1], shape[1]))
    for machines in range(1, len(usable) + 1):
        for tensor, stages in (*whole, *cut):
            holders = [node.card_bytes or 0 for node in usable if node.cards >= tensor * stages]
            if len(holders) < machines:
                continue
            room = sorted(holders, reverse=True)[machines - 1] * SHARE
            need = card_need(load, tensor, stages * machines)
            if need is not None and need <= room:
                return Layout(tensor, stages * machines, machines, int(need / SHARE))
    return None


def card_need(load: Load, tensor: int, pipeline: int) -> int | None:
    """Bytes that the fullest card must hold; None: the model cannot be cut so.

    A stage holds whole layers, the fullest one the rounded-up share of them.
    """
    if load.heads % tensor or (load.blocks is not None and pipeline > load.blocks):
        return None
    heads_kv = load.heads_kv or load.heads
    if heads_kv % tensor and tensor % heads_kv:
        return None
    stage = 1 / pipeline if load.blocks is None else -(-load.blocks // pipeline) / load.blocks
    weights = load.weights_bytes * stage / tensor
    cache = load.kv_cache_bytes * stage / min(tensor, heads_kv)
    return round(weights + cache) + CARD_OVERHEAD_BYTES


def requirement(load: Load, *, bits: int = 16, card_bytes: int = CARD_BYTES, machine_cards: int = MACHINE_CARDS) -> str:
    """What a model takes of machines with such cards: "810 GB at 16 bits: 16 cards of 80 GB, two machines of eight"."""
    what = f"{_gigabytes(load.weights_bytes)} GB at {bits} bits"
    layout = _on_such(load, card_bytes, machine_cards)
    if layout is None:
        machine = f"machines of {count_words(machine_cards)} cards of {_gigabytes(card_bytes)} GB"
        return f"{what}: it cannot be cut for {machine}"
    return f"{what}: {words(layout, card_bytes)}"


def machines_needed(load: Load, *, card_bytes: int = CARD_BYTES, machine_cards: int = MACHINE_CARDS) -> int | None:
    """How many machines with such cards hold it; None: it cannot be cut for them."""
    layout = _on_such(load, card_bytes, machine_cards)
    return layout.machines if layout is not None else None


def _on_such(load: Load, card_bytes: int, machine_cards: int) -> Layout | None:
    most = max(1, -(-2 * (load.weights_bytes + load.kv_cache_bytes) // (card_bytes * machine_cards)) + 2)
    return lay_out([Node(str(number), machine_cards, card_bytes) for number in range(most)], load)


def words(layout: Layout, card_bytes: int | None) -> str:
    """A layout for the eye: "16 cards of 80 GB, two machines of eight"."""
    size = f" of {_gigabytes(card_bytes)} GB" if card_bytes else ""
    cards = f"{layout.cards} {'card' if layout.cards == 1 else 'cards'}{size}"
    if layout.machines == 1:
        return cards if layout.cards == 1 else f"{cards} in one machine"
    return f"{cards}, {count_words(layout.machines)} machines of {count_words(layout.cards // layout.machines)}"


def count_words(number: int) -> str:
    """A small number in letters."""
    return _NUMBERS[number] if 0 <= number < len(_NUMBERS) else str(number)


def connect(ray_address: str) -> Any:
    """Join a Ray cluster, unless this process belongs to it already; the ray module.

    Raises:
        EngineMissing: Ray is not installed.
        EngineError: No cluster answers there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise EngineMissing("a cluster needs Ray beside vLLM", installed.extra_line("vllm-ray")) from error
    if not ray.is_initialized():
        _knock(ray_address)
        try:
            ray.init(address=ray_address, log_to_driver=False, configure_logging=False)
        except Exception as error:  # ConnectionError, ValueError, RuntimeError by version
            line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise EngineError(f"no Ray cluster answers at {ray_address}", line.strip()) from error
    return ray


def _knock(ray_address: str) -> None:
    """Refuse an address at which nothing listens: Ray itself would try for minutes and then end the process."""
    host, _, port = ray_address.rpartition(":")
    if not host or not port.isdigit():
        return  # "auto" and "local" are looked up on this machine
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
    except OSError as error:
        line = error.strerror or str(error)
        raise EngineError(f"no Ray cluster answers at {ray_address}", line) from error


def cluster_cards(ray_address: str, *, ask_memory: bool = True) -> tuple[Node, ...]:
    """The machines of a Ray cluster with the cards that Ray counts there, the one that asks first.

    Ray knows how many cards a machine has and not how large they are, so each machine's nvidia-smi is asked.
    """
    ray = connect(ray_address)
    here = ray.get_runtime_context().get_node_id()
    found = [one for one in ray.nodes() if one["Alive"] and one["Resources"].get("GPU", 0) >= 1]
    found.sort(key=lambda one: (one["NodeID"] != here, one["NodeManagerAddress"]))
    asked = {one["NodeID"]: _ask_cards(ray, one["NodeID"]) for one in found} if ask_memory else {}
    nodes = []
    for one in found:
        cards: list[tuple[str, int]] = []
        if one["NodeID"] in asked:
            try:
                cards = ray.get(asked[one["NodeID"]], timeout=ASK_SECONDS)
            except Exception:  # noqa: BLE001 a machine that does not answer is one whose cards are not known
                cards = []
        smallest = min(cards, key=lambda card: card[1], default=None)
        name = smallest[0] if smallest else _accelerator(one["Resources"])
        address = str(one["NodeManagerAddress"])
        nodes.append(Node(address, int(one["Resources"]["GPU"]), smallest[1] if smallest else None, name))
    return tuple(nodes)


def _ask_cards(ray: Any, node_id: str) -> Any:
    """A promise of the names and bytes of one machine's cards."""

    def cards() -> list[tuple[str, int]]:
        # Sent by value: that machine need not have modeldeck.
        import subprocess

        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
        try:
            told = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return []
        rows = [line.rpartition(",") for line in told.splitlines()]
        return [(name.strip(), int(size) << 20) for name, _, size in rows if size.strip().isdigit()]

    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
    return ray.remote(cards).options(num_cpus=0, scheduling_strategy=strategy).remote()


def _accelerator(resources: dict[str, float]) -> str | None:
    kinds = [name.partition(":")[2] for name in resources if name.startswith("accelerator_type:")]
    return kinds[0] if kinds else None


def _all_of(nodes: Sequence[Node], load: Load) -> Layout | None:
    """Every machine with as many cards as all of them have, where nobody knows how large they are."""
    cards = min(node.cards for node in nodes)
    for tensor in reversed(_powers(cards)):
        pipeline = cards // tensor * len(nodes)
        need = card_need(load, tensor, pipeline)
        if need is not None:
            return Layout(tensor, pipeline, len(nodes), int(need / SHARE), checked=False)
    return None


def _powers(most: int) -> list[int]:
    """1, 2, 4, 8 … up to the most."""
    return [1 << exponent for exponent in range(most.bit_length())]


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.0f}" if size >= 10e9 else f"{size / 1e9:.1f}"
