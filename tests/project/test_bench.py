"""The table that `make bench` ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchrow import ROWS_VARIABLE, row


def test_a_row_keeps_its_bound_or_says_that_it_was_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ROWS_VARIABLE, str(tmp_path / "rows"))
    assert row("start", 300, 200, "ms", at_most=1.5)
    assert not row("decode", 90, 100, "tok/s", at_least=0.95)
    assert row("load", 5, 1, "s")
    ok, missed, told = capsys.readouterr().out.splitlines()
    assert ok.endswith("ok")
    assert missed.endswith("MISSED")
    assert "told, not bound" in told
    kept = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert [(one["name"], one["ratio"], one["good"]) for one in kept] == [
        ("start", 1.5, True),
        ("decode", 0.9, False),
        ("load", 5.0, True),
    ]
