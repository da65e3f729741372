"""The user's settings: one commented TOML file, every key with a default, MODELDECK_* above it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from backends.home import config_file, private_folder

PREFIX: Final = "MODELDECK_"
LARGEST_FILE_BYTES: Final = 1 << 20
"""A configuration is a page of text; anything larger is another file by mistake."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user chose. Every field is a key of config.toml of the same name."""

    theme: str = "modeldeck"
    """Name of the colour theme; the command palette lists them."""
    keys: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Keys by binding ID, as [keys] "matrix.download" = "d,insert"; modeldeck config --keys lists the IDs."""
    context: int | None = None
    """Tokens of context to judge and load with; None: 8,192, or less where the family has less."""
    kv_cache_type: str = "f16"
    """f16, q8_0 or q4_0: the last two take half or a quarter of the memory."""
    send_key: str = "enter"
    """Sends the prompt."""
    newline_key: str = "alt+enter"
    """Starts a new line in the prompt; ctrl+j always does."""
    parallel_downloads: int = 1
    """Downloads that run at a time; one is the fastest on most lines."""
    library_folders: tuple[Path, ...] = ()
    """Further folders with weights that the library looks through."""
    engine_isolation: str = "thread"
    """thread: engines load inside the app; process: each in a process of its own, which survives their crashes."""
    unload_idle_minutes: int = 30
    """A model that nobody talked to for so long gives its memory back; 0: it stays."""
    ray_address: str = ""
    """The Ray cluster whose cards vLLM takes, as box:6379, or auto; "": this machine's cards."""
    remote_url: str = ""
    """The server that "talk to a server" offers first, as http://box:8000/v1."""
    remote_key_env: str = ""
    """Environment variable that holds the key of that server; the key itself stands in no file of ours."""
    low_bandwidth: bool = False
    """Fewer repaints and no animations, for slow lines."""
    ascii: bool | None = None
    """Glyphs of plain ASCII only; None: where the terminal is not UTF-8."""
    mouse: bool = True
    """Whether the app listens to the mouse."""
    problems: tuple[str, ...] = ()
    """What was wrong with the file or the variables, a line each; the defaults stand in for it."""


def load_settings(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Settings of a file and of MODELDECK_* variables above it; never raises, problems are in the result.

    Args:
        path: Another file than the user's own.
        environment: Another environment than the process's.
    """
    path = config_file() if path is None else path
    problems: list[str] = []
    chosen: dict[str, Any] = {}
    for key, value in _read(path, problems).items():
        _choose(key, value, f"{path}: {key}", chosen, problems)
    for name, text in (os.environ if environment is None else environment).items():
        if name.startswith(PREFIX):
            _override(name, text, chosen, problems)
    if chosen.get("send_key", "enter") == chosen.get("newline_key", "alt+enter"):
        problems.append(f"{path}: send_key and newline_key are the same key; both keep their defaults")
        chosen.pop("send_key", None)
        chosen.pop("newline_key", None)
    return Settings(**chosen, problems=tuple(problems))


def make_settings_file(path: Path) -> None:
    """Write the file with every key and its default in comments.

    Raises:
        FileExistsError: There is one, which stays as it is.
        OSError: It cannot be written.
    """
    private_folder(path.parent)
    with path.open("x", encoding="utf-8") as file:
        file.write(commented_example())


def commented_example() -> str:
    """A configuration file that changes nothing and says what every key does."""
    lines = ["# modeldeck's settings. A line without its # changes the default that it shows."]
    for name, (what, example, _) in _KEYS.items():
        lines += ["", f"# {what}"]
        lines += ["# [keys]", f"# {example}"] if name == "keys" else [f"# {name} = {example}"]
    return "\n".join(lines) + "\n"


def nearest(word: str, words: Mapping[str, object] | tuple[str, ...]) -> str | None:
    """The known word that was most likely meant; None when none is near."""
    import difflib  # 4 ms that only a mistake needs

    folded = {known.lower(): known for known in words}
    found = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def _read(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            problems.append(f"{path}: larger than 1 MiB, so it is no configuration; it is not read")
            return {}
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
        return {}
    import tomllib  # 5 ms that only a configured user pays

    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        problems.append(f"{path}: not UTF-8, so it is not read")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: not TOML, so it is not read: {error}")
    return {}


def _choose(key: str, value: object, where: str, chosen: dict[str, Any], problems: list[str]) -> None:
    if key not in _KEYS:
        near = nearest(key, _KEYS)
        problems.append(f"{where}: there is no such key" + (f"; did you mean {near}?" if near else ""))
        return
    try:
        chosen[key] = _KEYS[key][2](value)
    except ValueError as error:
        problems.append(f"{where}: expected {error}, not {value!r}; the default stays")


def _override(name: str, text: str, chosen: dict[str, Any], problems: list[str]) -> None:
    key = name.removeprefix(PREFIX).lower()
    if key in _NOT_SETTINGS:
        return
    if key == "keys":
        problems.append(f"{name}: keys are set in the file only")
        return
    value: object = text
    if text.lower() in _WORDS:
        value = _WORDS[text.lower()]
    elif key == "library_folders":
        value = [part for part in text.split(os.pathsep) if part]
    elif text.lstrip("-").isdecimal():
        value = int(text)
    if key in _KEYS:
        _choose(key, value, name, chosen, problems)
    elif near := nearest(key, _KEYS):  # other programs may have variables with this prefix; only slips are worth a line
        problems.append(f"{name}: there is no such setting; did you mean {PREFIX}{near.upper()}?")


_WORDS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NOT_SETTINGS: Final = frozenset({"home", "log", "test_cache"})


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a word in quotes")
    return value.strip()


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in (0, 1):
        return bool(value)
    raise ValueError("true or false")


def _whole(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"a whole number from {low:,} to {high:,}")
        return value

    return parse


def _one_of(*words: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in words:
            raise ValueError("one of " + ", ".join(words))
        return str(value)

    return parse


def _folders(value: object) -> tuple[Path, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError("a list of folders in quotes")
    return tuple(Path(one).expanduser() for one in value)


def _key_map(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError('a table such as [keys] with lines "binding.id" = "key"')
    flat: dict[str, str] = {}
    for name, keys in value.items():
        if isinstance(keys, dict):  # [keys] matrix.download = "d" is a table in a table to TOML
            flat.update({f"{name}.{inner}": _text(one) for inner, one in keys.items()})
        else:
            flat[name] = _text(keys)
    return flat


_KEYS: Final[Mapping[str, tuple[str, str, Callable[[object], Any]]]] = {
    "theme": ("Name of the colour theme; the command palette lists them.", '"modeldeck"', _text),
    "context": ("Tokens of context to judge and load with.", "8192", _whole(16, 100_000_000)),
    "kv_cache_type": (
        "Type of the KV cache: f16, q8_0 (half), q4_0 (a quarter).",
        '"f16"',
        _one_of("f16", "q8_0", "q4_0"),
    ),
    "send_key": ("Sends the prompt.", '"enter"', _text),
    "newline_key": ("Starts a new line in the prompt; ctrl+j always does.", '"alt+enter"', _text),
    "parallel_downloads": ("Downloads that run at a time.", "1", _whole(1, 8)),
    "library_folders": ("Further folders with weights.", '["~/models"]', _folders),
    "engine_isolation": (
        "thread: engines load inside the app where the screen does not feel it; process: each in one of its own.",
        '"thread"',
        _one_of("thread", "process"),
    ),
    "unload_idle_minutes": (
        "Minutes until a model that nobody talks to is unloaded; 0: never.",
        "30",
        _whole(0, 10_080),
    ),
    "ray_address": ("vLLM: the Ray cluster whose cards it takes; auto finds it.", '"box:6379"', _text),
    "remote_url": ("A server with OpenAI's protocol to talk to.", '"http://box:8000/v1"', _text),
    "remote_key_env": ("The environment variable that holds that server's key.", '"BOX_API_KEY"', _text),
    "low_bandwidth": ("Fewer repaints and no animations, for slow lines.", "false", _switch),
    "ascii": ("Glyphs of plain ASCII only; without it where the terminal is not UTF-8.", "false", _switch),
    "mouse": ("Whether the app listens to the mouse.", "true", _switch),
    "keys": ("Keys by binding ID; modeldeck config --keys lists the IDs.", '"matrix.download" = "d,insert"', _key_map),
}
"""What each key is for, an example, and how its value is read (ValueError says what was expected)."""

if {one.name for one in fields(Settings)} != {*_KEYS, "problems"}:  # pragma: no cover
    raise AssertionError("every field of Settings is a key of the file, and the other way round")
