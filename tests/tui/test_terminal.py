"""The screen stays whole whatever native code prints: in a real pseudo-terminal."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

from ttybench import TtySession

ROOT = Path(__file__).parents[2]

NOISY_APP = """
    import ctypes, os, sys, time
    sys.path[:0] = [{root!r}, {standins!r}]
    from pathlib import Path
    from tui.terminal import claim_terminal

    release = claim_terminal(Path({log!r}))
    import fake_services as fake
    from tui.app import Deck
    from tui.services import in_thread

    libc = ctypes.CDLL(None)

    def noisy_plan(variant, hub=None):
        for number in range(200):
            libc.puts(b"native noise on descriptor one")
        libc.fflush(None)
        for number in range(200):
            os.write(2, b"native noise on descriptor two\\r\\n")
            print("python noise")
            print("python noise", file=sys.stderr)
        # As llama-cpp-python does while it loads without being verbose.
        null = os.open(os.devnull, os.O_WRONLY)
        saved = os.dup(1), os.dup(2)
        os.dup2(null, 1), os.dup2(null, 2)
        time.sleep(1.5)
        os.dup2(saved[0], 1), os.dup2(saved[1], 2)
        raise OSError("the hub has no such file")

    Deck(fake.services(plan=noisy_plan, background=in_thread)).run()
    release()
    print("after the end")
"""


def test_native_output_goes_to_the_log_and_the_screen_stays_whole(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "modeldeck.log"
    path = tmp_path / "noisy.py"
    script = NOISY_APP.format(root=str(ROOT), standins=str(ROOT / "tests" / "standins"), log=str(log))
    path.write_text(textwrap.dedent(script))
    environment = {"LANG": "C.UTF-8", "TEXTUAL_ANIMATIONS": "none", "PYTHONPATH": str(ROOT)}
    with TtySession([sys.executable, str(path)], 100, 30, env=environment) as session:
        assert session.wait_for("[●◐] llama-3-instruct") is not None, session.dump_text()
        session.send(b"\r")  # into the matrix
        assert session.wait_for("↵ chat") is not None
        session.send(b"d")
        assert session.wait_for("asking the hub") is not None
        # The screen is still drawn while descriptors 1 and 2 lead nowhere.
        session.send(b"]")
        assert session.wait_for("ctx 16,384") is not None, session.dump_text()
        assert session.wait_for("the hub has no such file") is not None, session.dump_text()
        lines = session.dump_text().splitlines()
        assert not any("noise" in line for line in lines)
        assert lines[0].startswith(" modeldeck")
        assert lines[1].startswith("╭─ 6 families")
        assert lines[28].startswith("╰")
        assert "ctrl+q quit" in lines[29]
        session.send(b"\x11")
        assert session.wait_for("after the end") is not None, session.dump_text()
    content = log.read_text()
    assert content.count("native noise on descriptor one") == 200
    assert content.count("native noise on descriptor two") == 200
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_long_log_is_moved_aside_at_the_start(tmp_path: Path) -> None:
    log = tmp_path / "modeldeck.log"
    log.write_bytes(b"x" * 5_000_001)
    answer = run(
        f"""
        from pathlib import Path
        from tui.terminal import claim_terminal
        release = claim_terminal(Path({str(log)!r}))
        print("into the log")
        release()
        print("onto the terminal")
        """
    )
    assert answer.stdout == "onto the terminal\n"
    assert log.read_text() == "into the log\n"
    assert (tmp_path / "modeldeck.old.log").stat().st_size == 5_000_001


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    answer = run(
        f"""
        from pathlib import Path
        from tui.terminal import claim_terminal
        release = claim_terminal(Path({str(blocked / "modeldeck.log")!r}))
        print("nowhere")
        release(); release()
        print("done")
        """
    )
    assert answer.stdout == "done\n"


def test_what_stands_before_the_first_key_is_light() -> None:
    """No SDK, no hub client, no engine and no probe is imported for the first frame."""
    answer = run(
        """
        import sys
        import tui.start, tui.app, tui.screens.browse
        heavy = {"huggingface_hub", "modelscope_hub", "psutil", "pynvml", "llama_cpp", "torch", "transformers", "mlx",
                 "openai", "docutils", "http.client", "urllib.request", "sqlite3", "backends.downloads"}
        print(sorted(heavy & set(sys.modules)))
        """
    )
    assert answer.stdout == "[]\n", answer.stdout + answer.stderr
