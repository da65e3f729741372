"""llama.cpp's own quantizer, asked for sizes only: what a file of each mix would take, without any weights.

Run as a program it reads a GGUF file's path and prints a JSON object of MiB by mix; a process of its own, because the
library logs to the whole process.
"""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
from pathlib import Path

FILE_TYPES = {
    "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13,
    "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ2_XXS": 19, "IQ2_XS": 20, "Q2_K_S": 21,
    "IQ3_XS": 22, "IQ3_XXS": 23, "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26, "IQ3_M": 27, "IQ2_S": 28, "IQ2_M": 29,
    "IQ4_XS": 30, "IQ1_M": 31, "TQ1_0": 36, "TQ2_0": 37, "MXFP4_MOE": 38,
}  # fmt: skip
"""llama_ftype's numbers. Source: include/llama.h."""


def sizes(path: Path) -> dict[str, float]:
    """MiB of all tensors by mix, as a dry run of the quantizer counts them."""
    done = subprocess.run([sys.executable, __file__, str(path)], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(path: str) -> int:
    """Print the sizes; 1 when the library refuses the file."""
    import llama_cpp as library

    lines: list[str] = []

    @library.llama_log_callback
    def listen(_level: int, text: bytes, _user: object) -> None:
        lines.append(text.decode("utf-8", "replace"))

    library.llama_log_set(listen, ctypes.c_void_p(0))
    library.llama_backend_init()
    found = {}
    for name, number in FILE_TYPES.items():
        lines.clear()
        parameters = library.llama_model_quantize_default_params()
        parameters.ftype, parameters.dry_run, parameters.nthread = number, True, 1
        refused = library.llama_model_quantize(path.encode(), b"/dev/null", ctypes.byref(parameters))
        size = re.search(r"quant size\s*=\s*([0-9.]+) MiB", "".join(lines))
        if refused or size is None:
            print("".join(lines)[-500:], file=sys.stderr)
            return 1
        found[name] = float(size[1])
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
