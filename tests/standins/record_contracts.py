"""Reads what sglang's and vLLM's wheels promise out of their sources, without importing them.

    python tests/standins/record_contracts.py sglang-0.5.23-….whl vllm-0.33.0-….whl

writes engine_contracts.json beside itself: names of arguments and fields, which the stand-ins and the adapters are held
to. Record again when a new version comes out; a name that is gone fails the tests.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CONTRACTS = HERE / "engine_contracts.json"


def contract(library: str) -> dict[str, Any]:
    """What was recorded of one library."""
    told: dict[str, Any] = json.loads(CONTRACTS.read_text())[library]
    return told


def _classes(wheel: zipfile.ZipFile, path: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(wheel.read(path))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _fields(node: ast.ClassDef) -> list[str]:
    return [one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]


def _parameters(node: ast.ClassDef, method: str) -> list[str]:
    found = next(
        one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name == method
    )
    arguments = found.args
    return [one.arg for one in (*arguments.args, *arguments.kwonlyargs) if one.arg != "self"]


def _sglang(wheel: zipfile.ZipFile) -> dict[str, Any]:
    groups = [name for name in wheel.namelist() if re.fullmatch(r"sglang/srt/arg_groups/fields/\w+\.py", name)]
    arguments: set[str] = set(_fields(_classes(wheel, "sglang/srt/server_args.py")["ServerArgs"]))
    for name in groups:
        for node in _classes(wheel, name).values():
            arguments |= set(_fields(node))
    manager_path = "sglang/srt/managers/tokenizer_manager.py"
    manager = _classes(wheel, manager_path)["TokenizerManager"]
    engine = _classes(wheel, "sglang/srt/entrypoints/engine.py")["Engine"]
    source = wheel.read(manager_path).decode()
    return {
        "ServerArgs": sorted(arguments),
        "SamplingParams": _fields(_classes(wheel, "sglang/srt/sampling/sampling_params.py")["SamplingParams"]),
        "Engine.async_generate": _parameters(engine, "async_generate"),
        "TokenizerManager.abort_request": _parameters(manager, "abort_request"),
        "meta_info": [
            name
            for name in (
                "id", "finish_reason", "prompt_tokens", "completion_tokens", "cached_tokens", "output_token_logprobs",
                "output_top_logprobs",
            )
            if f'"{name}"' in source
        ],
        "output": [name for name in ("text", "output_ids", "meta_info") if f'"{name}"' in source],
    }  # fmt: skip


def _vllm(wheel: zipfile.ZipFile) -> dict[str, Any]:
    engine = _classes(wheel, "vllm/v1/engine/llm_engine.py")["LLMEngine"]
    outputs = _classes(wheel, "vllm/outputs.py")
    return {
        "EngineArgs": _fields(_classes(wheel, "vllm/engine/arg_utils.py")["EngineArgs"]),
        "SamplingParams": _fields(_classes(wheel, "vllm/sampling_params.py")["SamplingParams"]),
        "LLMEngine": [one.name for one in engine.body if isinstance(one, ast.FunctionDef)],
        "LLMEngine.add_request": _parameters(engine, "add_request"),
        "LLMEngine.abort_request": _parameters(engine, "abort_request"),
        "RequestOutput": _parameters(outputs["RequestOutput"], "__init__"),
        "CompletionOutput": _fields(outputs["CompletionOutput"]),
        "environment": sorted(set(re.findall(r'"(VLLM_\w+)": ?\(?', wheel.read("vllm/envs.py").decode()))),
    }


def main() -> None:
    """Record the wheels that are named."""
    told = json.loads(CONTRACTS.read_text()) if CONTRACTS.is_file() else {}
    for name in sys.argv[1:]:
        library, version = Path(name).name.split("-")[:2]
        with zipfile.ZipFile(name) as wheel:
            read = {"sglang": _sglang, "vllm": _vllm}[library]
            told[library] = {"version": version, **read(wheel)}
    CONTRACTS.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
