"""`config` and the flags of `list` that choose order and columns."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any


def config_path() -> Path:
    return Path(os.environ["MODELDECK_HOME"]) / "config.toml"


def test_init_writes_the_commented_file_once(modeldeck: Any) -> None:
    ran = modeldeck("config", "--init")
    path = Path(ran.out.strip())
    assert ran.code == 0 and "# theme" in path.read_text()
    path.write_text("context = 2048\n")
    again = modeldeck("config", "--init")
    assert again.code == 1 and "is there already" in again.error_line
    assert path.read_text() == "context = 2048\n"
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0


def test_what_is_in_force_is_shown_with_where_it_comes_from(modeldeck: Any) -> None:
    path = Path(modeldeck("config", "--init").out.strip())
    path.write_text('context = 2048\nthem = "nord"\n')
    ran = modeldeck("config", MODELDECK_MOUSE="false")
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in ran.out.splitlines()[2:]}
    assert lines["context"] == "2048"
    assert lines["mouse"] == "false  (MODELDECK_MOUSE)"
    assert "did you mean theme?" in ran.err
    assert modeldeck("config", "--json").json["settings"]["context"] == 2048


def test_list_sorts_and_shows_the_columns_that_are_asked_for(modeldeck: Any) -> None:
    ran = modeldeck("list", "--sort", "context", "--reverse", "--columns", "context,name")
    title, *rows = ran.out.splitlines()
    assert title.split() == ["CONTEXT", "NAME"]
    known = [int(row.split()[0].replace(",", "")) for row in rows if not row.lstrip().startswith("unknown")]
    assert known == sorted(known, reverse=True) and len(set(known)) > 5
    names = [one["name"] for one in modeldeck("list", "--sort", "name", "--json").json["families"]]
    assert names == sorted(names, key=str.lower)


def test_list_sorts_by_a_column_under_its_own_name(modeldeck: Any) -> None:
    by_size = modeldeck("list", "--sort", "size", "--json").out
    assert modeldeck("list", "--sort", "SIZES", "--json").out == by_size
    languages = [one["languages"] for one in modeldeck("list", "--sort", "languages", "--json").json["families"]]
    known = [one for one in languages if one]
    assert known == sorted(known)
    assert known == languages[: len(known)]


def test_a_column_that_is_not_there_is_wrong_usage_with_the_nearest(modeldeck: Any) -> None:
    ran = modeldeck("list", "--columns", "nmae")
    assert ran.code == 2
    assert "did you mean name?" in ran.err


def test_every_binding_id_is_listed_with_the_keys_in_force(modeldeck: Any) -> None:
    Path(modeldeck("config", "--init").out.strip()).write_text('[keys]\n"matrix.download" = "d,insert"\n')
    keys = {one["id"]: one["keys"] for one in modeldeck("config", "--keys", "--json").json["keys"]}
    assert keys["matrix.download"] == ["d", "insert"]
    assert keys["app.palette"] == ["ctrl+p"]
    assert len(modeldeck("config", "--keys").out.splitlines()) == len(keys) + 1
