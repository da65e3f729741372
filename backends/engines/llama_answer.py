"""llama.cpp's own answer to what a load would take, given in a process of its own.

Run as python -m backends.engines.llama_answer.
Reads one JSON line from standard input and writes one to standard output. The weights are not read: a GGUF's header in
a file as long as the real one is enough. A shape that llama.cpp does not expect aborts this process, not the app.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from typing import Any, Final

BUFFER: Final = re.compile(r"(\S+)\s+(compute|output|KV|RS|model) buffer size\s*=\s*([0-9.]+) MiB")
TYPES: Final = {"f16": 1, "q4_0": 2, "q8_0": 8}


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Buffers by device that a load with these parameters reserves; only compute and output ones are real."""
    import llama_cpp as library  # takes most of a second

    lines: list[str] = []

    @library.llama_log_callback  # type: ignore[untyped-decorator]
    def listen(_level: int, text: bytes, _user: object) -> None:
        lines.append(text.decode("utf-8", "replace"))

    library.llama_log_set(listen, ctypes.c_void_p(0))
    library.llama_backend_init()
    model_parameters = library.llama_model_default_params()
    model_parameters.no_alloc = True
    model_parameters.load_mode = library.LLAMA_LOAD_MODE_NONE
    model_parameters.use_extra_bufts = False
    if question.get("gpu_layers") is not None:
        model_parameters.n_gpu_layers = int(question["gpu_layers"])
    model = library.llama_model_load_from_file(str(question["path"]).encode(), model_parameters)
    if not model:
        return {"error": _reason(lines)}
    context_parameters = library.llama_context_default_params()
    context_parameters.n_ctx = int(question["context"])
    ubatch = min(int(question.get("ubatch", 512)), int(question["context"]))
    context_parameters.n_batch = context_parameters.n_ubatch = ubatch
    context_parameters.n_seq_max = 1
    context_parameters.n_outputs_max = int(question.get("outputs", 1))
    context_parameters.type_k = context_parameters.type_v = TYPES[question.get("cache_type", "f16")]
    on = bool(question.get("flash_attention", True))
    context_parameters.flash_attn_type = (
        library.LLAMA_FLASH_ATTN_TYPE_ENABLED if on else library.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    context_parameters.swa_full = bool(question.get("full_windows", False))
    context = library.llama_init_from_model(model, context_parameters)
    if not context:
        return {"error": _reason(lines)}
    buffers = [
        {"device": device, "kind": kind, "bytes": round(float(size) * 2**20)}
        for line in lines
        for device, kind, size in BUFFER.findall(line)
    ]
    return {"buffers": buffers}


def _reason(lines: list[str]) -> str:
    told = [line.strip() for line in lines if "error" in line.lower() or "fail" in line.lower()]
    return told[0] if told else "llama.cpp did not say why"


def main() -> None:
    """Answer one question."""
    question = json.loads(sys.stdin.readline())
    sys.stdout.write(json.dumps(answer(question)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
