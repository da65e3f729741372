"""Checks of single values out of a spec file: each returns the value that we keep, or says what was expected."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from specs.model import FORMATS, ModelFamily, Number
from specs.text import one_line, printable

Table = Mapping[str, Any]
Key = str | int

MAX_SIZE_IN_BILLIONS: Final = 100_000
"""A hundred trillion parameters: forty times the largest model of today."""
MAX_CONTEXT: Final = 10**9
MAX_COUNT: Final = 10**15
"""Above every count of parameters, bytes or elements that a model can have."""
MAX_LAYERS: Final = 10_000
MAX_NAME: Final = 200
MAX_TEMPLATE: Final = 500
MAX_PARTS: Final = 99_999
READ_FORMATS: Final = (*FORMATS, "ggmlv3")

_ID: Final = re.compile(r"(?:[A-Za-z0-9_.-]|\{quantization\})+(?:/(?:[A-Za-z0-9_.-]|\{quantization\})+){1,2}")
_QUANTIZATION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,79}")
_REVISION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+/-]{0,199}")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth saying about a file that reads."""

    line: int | None
    what: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What one spec file holds."""

    families: tuple[ModelFamily, ...]
    notes: tuple[Note, ...] = ()


class Wrong(Exception):
    """A value that is not what was expected, at a path of keys and indices inside the file."""

    def __init__(self, what: str, *path: Key) -> None:
        super().__init__(what)
        self.what = what
        self.path: tuple[Key, ...] = path

    def under(self, *path: Key) -> Wrong:
        """The same, seen from further outside."""
        return Wrong(self.what, *path, *self.path)


def shown(value: object) -> str:
    """A value as an error message quotes it: safe and short."""
    text = printable(value) if isinstance(value, str) else printable(repr(value))
    text = text if len(text) <= 60 else f"{text[:57]}…"
    return f'"{text}"' if isinstance(value, str) else text


def wrong(expected: str, value: object, *path: Key) -> NoReturn:
    """Say what was expected, and what stands there."""
    raise Wrong(f"expected {expected}, found {shown(value)}", *path)


def text(table: Table, key: str, default: str | None = None) -> str | None:
    """A text on one line, safe to print."""
    value = table.get(key)
    if value is None:
        return default
    if type(value) is not str:
        wrong(f"{key} as a text", value, key)
    return value if value.isprintable() else one_line(value)


def raw_text(table: Table, key: str) -> str | None:
    """A text that is not for the screen, such as a chat template; empty ones count as unsaid."""
    value = table.get(key)
    if value is None or value == "":
        return None
    if type(value) is not str:
        wrong(f"{key} as a text", value, key)
    return value


def name(table: Table, key: str) -> str:
    """The name of a family."""
    value = text(table, key)
    if value is None:
        raise Wrong(f"{key} is missing: expected the family's name")
    value = value.strip()
    if not value or len(value) > MAX_NAME:
        wrong(f"{key} as a text of 1 to {MAX_NAME} letters", value, key)
    if "/" in value or "\\" in value or value.startswith("."):
        wrong(f'{key} without "/", "\\" and leading dots', value, key)
    return value


def texts(table: Table, key: str, *, single: bool = False) -> tuple[str, ...]:
    """A list of short texts, each once; single lets one text stand for a list of one."""
    value = table.get(key)
    if value is None:
        return ()
    if single and type(value) is str:
        value = [value]
    if type(value) is not list:
        wrong(f"{key} as a list of texts", value, key)
    for place, entry in enumerate(value):
        if type(entry) is not str:
            wrong(f"{key} as a list of texts", entry, key, place)
        if not entry.isprintable() or not entry or len(entry) > MAX_NAME:
            value = [one_line(item)[:MAX_NAME] if type(item) is str else item for item in value]
    return tuple(dict.fromkeys(entry for entry in value if entry))


def count(table: Table, key: str, least: int = 0, most: int = MAX_COUNT) -> int | None:
    """A whole number; None when the key is missing."""
    value = table.get(key)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        wrong(f"{key} as a whole number of {least:,} to {most:,}", value, key)
    return value


def size(table: Table, key: str) -> Number | None:
    """A size in billions, with "1_8" read as 1.8; None when the key is missing."""
    value = table.get(key)
    if value is None:
        return None
    number = billions(value)
    if number is None:
        wrong(f'{key} as a number of billions above 0, such as 7 or "1_8"', value, key)
    return number


def billions(value: object) -> Number | None:
    """A size in billions: 7, 1.8, "1_8" or "46_7"; None for everything else."""
    number: Number
    if type(value) is int or type(value) is float:
        number = value
    elif type(value) is str and re.fullmatch(r"\s*\d{1,7}(?:[_.]\d{1,9})?\s*", value, re.ASCII):
        plain = value.strip().replace("_", ".")
        number = float(plain) if "." in plain else int(plain)
    else:
        return None
    if not math.isfinite(number) or not 0 < number <= MAX_SIZE_IN_BILLIONS:
        return None
    return int(number) if isinstance(number, float) and number.is_integer() else number


def model_format(table: Table, key: str) -> str:
    """The format of the weights, in lower case."""
    value = table.get(key)
    if value is None:
        raise Wrong(f"{key} is missing: expected one of {', '.join(FORMATS)}")
    if type(value) is str:
        if value in READ_FORMATS:
            return value
        lower = value.strip().lower()
        if lower in READ_FORMATS:
            return lower
    wrong(f"{key} as one of {', '.join(FORMATS)}", value, key)


_good_quantizations: set[str] = set()


def quantization(value: object, *path: Key) -> str:
    """The name of a quantization: letters, digits, dot, plus, dash and underscore, since it goes into file names."""
    if type(value) is str and value in _good_quantizations:
        return value
    if type(value) is not str or not _QUANTIZATION.fullmatch(value) or ".." in value:
        wrong("the name of a quantization, such as Q4_K_M", value, *path)
    if len(_good_quantizations) < 10_000:
        _good_quantizations.add(value)
    return value


def quantizations(table: Table, key: str, *, single: bool = False) -> tuple[str, ...] | None:
    """A list of quantizations, each once in whatever case; None when the key is missing."""
    value = table.get(key)
    if value is None:
        return None
    if single and type(value) is str:
        value = [value]
    if type(value) is not list:
        wrong(f"{key} as a list of texts", value, key)
    kept: dict[str, str] = {}
    for place, entry in enumerate(value):
        kept.setdefault(quantization(entry, key, place).lower(), entry)
    return tuple(kept.values())


def model_id(value: object, *path: Key) -> str:
    """A repository on a hub: owner/name, where {quantization} may stand for the quantization."""
    if type(value) is not str or len(value) > MAX_NAME or not _ID.fullmatch(value) or ".." in value:
        wrong("a repository as owner/name", value, *path)
    if "./" in value or value[0] == "." or value[-1] == ".":
        wrong("a repository as owner/name", value, *path)
    return value


def file_template(table: Table, key: str, placeholders: tuple[str, ...]) -> str | None:
    """A file name inside a repository, relative and without "..", with its placeholders."""
    value = table.get(key)
    if value is None or value == "":
        return None
    return file_name(value, placeholders, key)


def file_name(value: object, placeholders: tuple[str, ...], *path: Key) -> str:
    """A file name inside a repository; only the named placeholders may stand in braces."""
    if type(value) is not str or not value or len(value) > MAX_TEMPLATE or not value.isprintable():
        wrong("a file name inside the repository", value, *path)
    if value[0] in "/~" or "\\" in value or ":" in value or any(step in {"", ".", ".."} for step in value.split("/")):
        wrong('a file name inside the repository, relative and without ".."', value, *path)
    if "{" in value or "}" in value:
        rest = _PLACEHOLDER.sub(lambda found: "" if found[1] in placeholders else "{", value)
        if "{" in rest or "}" in rest:
            words = " and ".join(f"{{{word}}}" for word in placeholders) or "no braces"
            wrong(f"a file name with {words} only", value, *path)
    return value


def revision(table: Table, key: str) -> str | None:
    """A branch, tag or commit; empty ones count as unsaid."""
    value = table.get(key)
    if value is None or value == "":
        return None
    if type(value) is not str or not _REVISION.fullmatch(value) or ".." in value:
        wrong(f"{key} as a branch, tag or commit", value, key)
    return value


def part_names(value: object, *path: Key) -> tuple[str, ...]:
    """Names of the parts of a file: a list, or the number n of "00001-of-0000n" and so on."""
    if type(value) is int:
        if not 1 <= value <= MAX_PARTS:
            wrong(f"the number of parts as 1 to {MAX_PARTS:,}", value, *path)
        return numbered_parts(value)
    if type(value) is not list or not value or len(value) > MAX_PARTS:
        wrong("a list of part names, or how many parts there are", value, *path)
    for place, entry in enumerate(value):
        if type(entry) is not str or not _QUANTIZATION.fullmatch(entry) or ".." in entry:
            wrong("the name of a part, such as 00001-of-00003", entry, *path, place)
    return tuple(value)


def numbered_parts(total: int) -> tuple[str, ...]:
    """The usual part names: ("00001-of-00002", "00002-of-00002")."""
    last = f"-of-{total:05d}"
    return tuple([f"{place:05d}{last}" for place in range(1, total + 1)])


def tables(table: Table, key: str) -> list[Table]:
    """A list of tables; none when the key is missing."""
    value = table.get(key)
    if value is None:
        return []
    if type(value) is not list:
        wrong(f"{key} as a list of tables", value, key)
    for place, entry in enumerate(value):
        if type(entry) is not dict:
            wrong(f"{key} as a list of tables", entry, key, place)
    return value


def subtable(table: Table, key: str) -> Table | None:
    """A table; None when the key is missing."""
    value = table.get(key)
    if value is not None and type(value) is not dict:
        wrong(f"{key} as a table", value, key)
    return value
