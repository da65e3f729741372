"""A real Ray cluster of two machines with eight logical cards each, up to the arguments that vLLM gets."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.engines import vllm_arguments
from backends.engines.cluster import Load, Node, cluster_cards, connect, lay_out
from backends.engines.engine import LoadOptions, Weights
from backends.errors import EngineError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed; make test-vllm runs these"
)
GB = 10**9
NOT_MEASURED = "nvidia-smi is not there, as on any machine without cards"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two nodes in processes of this machine; Ray counts eight cards on each."""
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "num_gpus": 8, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(num_cpus=1, num_gpus=8, object_store_memory=80_000_000)
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


def test_ray_names_its_machines_and_their_cards(address: str) -> None:
    nodes = cluster_cards(address)
    assert [node.cards for node in nodes] == [8, 8]
    assert all(node.address for node in nodes)
    assert {node.card_bytes for node in nodes} == {None}, NOT_MEASURED


def test_the_405_billion_row_reaches_vllm_s_arguments(address: str, tmp_path: Path) -> None:
    load = Load(810 * GB, heads=128, heads_kv=8, blocks=126)
    nodes = [Node(node.address, node.cards, 80 * GB) for node in cluster_cards(address, ask_memory=False)]
    layout = lay_out(nodes, load)
    assert layout is not None
    weights = Weights(tmp_path, "llama-3.1-instruct", "pytorch", "none")
    options = LoadOptions(
        8192,
        tensor_parallel=layout.tensor_parallel,
        pipeline_parallel=layout.pipeline_parallel,
        ray_address=address,
        memory_share=0.9,
    )
    told = vllm_arguments.engine_arguments(weights, options, context=8192, cpu=False, known=frozenset())
    assert told["tensor_parallel_size"] == 8
    assert told["pipeline_parallel_size"] == 2
    assert told["distributed_executor_backend"] == "ray"


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed; make test-vllm runs this")
def test_vllm_itself_places_these_arguments_on_both_machines(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own initialize_ray_cluster, told that its platform has cards; the workers' start is what is not run."""
    vllm_arguments.prepare_environment(LoadOptions(8192), cpu=True)
    import vllm.platforms
    from vllm.config import ParallelConfig
    from vllm.v1.executor.ray_utils import initialize_ray_cluster

    ray = connect(address)
    monkeypatch.setattr(type(vllm.platforms.current_platform), "ray_device_key", "GPU")
    told: dict[str, Any] = {"tensor_parallel_size": 8, "pipeline_parallel_size": 2}
    parallel = ParallelConfig(**told, distributed_executor_backend="ray")
    initialize_ray_cluster(parallel, ray_address=address)
    group = parallel.placement_group
    table = ray.util.placement_group_table(group)
    places = list(table["bundles_to_node_id"].values())
    ray.util.remove_placement_group(group)
    assert len(places) == 16
    assert sorted(places.count(node) for node in set(places)) == [8, 8]


def test_a_cluster_that_does_not_answer_is_an_error_in_one_line(address: str) -> None:
    import ray

    ray.shutdown()
    # Ray by itself would try for minutes here.
    with pytest.raises(EngineError, match=r"no Ray cluster answers at 127\.0\.0\.1:9: .+") as caught:
        connect("127.0.0.1:9")
    assert "\n" not in str(caught.value)
    assert not ray.is_initialized()
