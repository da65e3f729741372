"""Memory that threads free is used again by others."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys, threading
from backends.allocator import keep_together
if sys.argv[1] == "together":
    keep_together()

def work():
    blocks = [bytearray(100_000) for _ in range(20)]
    barrier.wait(60)
    blocks.clear()

for _ in range(3):
    barrier = threading.Barrier(12)
    threads = [threading.Thread(target=work) for _ in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
regions = [line for line in open("/proc/self/maps") if " 00:00 0" in line]
print(sum(1 for line in regions if int(line.split("-")[0], 16) % (64 << 20) == 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone has arenas")
def test_threads_share_two_arenas() -> None:
    apart, together = (
        int(subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True).stdout)
        for how in ("apart", "together")
    )
    assert together <= 2 <= apart
