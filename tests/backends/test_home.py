"""Where files go: where the platform's own conventions say."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from backends import home


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("config", lambda: home.config_file().parent),
        ("data", lambda: home.specs_folder().parent),
        ("cache", home.cache_folder),
        ("log", lambda: home.log_file().parent),
    ],
)
def test_the_folders_are_those_of_platformdirs(
    kind: str, found: object, moved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELDECK_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONFIG", "DATA", "CACHE", "STATE"):
        if moved:
            monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
        else:
            monkeypatch.delenv(f"XDG_{name}_HOME", raising=False)
    assert callable(found)
    assert found() == getattr(platformdirs, f"user_{kind}_path")("modeldeck", appauthor=False)
