"""The parts of the documents that are made from the program itself: `make documents` writes them anew.

A part stands between `<!-- made: NAME -->` and `<!-- made -->`. tests/project/test_documents.py holds that all of them
are as this program would write them.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]
PART = re.compile(r"(<!-- made: (?P<name>[a-z-]+) -->\n)(?P<text>.*?)(?P<end><!-- made -->)", re.DOTALL)


def documents() -> list[Path]:
    """Every page, the README first."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def made(text: str, besides: Collection[str] = ()) -> str:
    """A page with its made parts made anew, besides those that are to stay as they are."""

    def anew(part: re.Match[str]) -> str:
        inside = part["text"] if part["name"] in besides else f"{PARTS[part['name']]()}\n"
        return f"{part[1]}{inside}{part['end']}"

    return PART.sub(anew, text)


def rows(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    told = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in told)


def keys() -> str:
    """Every key by screen, with the ID that config.toml knows it by."""
    from tui.keys import GUIDE

    parts = []
    for title, bindings in GUIDE:
        lines, seen = [], set()
        for binding in bindings:
            if binding.id in seen:
                continue
            seen.add(binding.id)
            what = binding.description
            if binding.tooltip and binding.tooltip != what:
                what = f"{what}: {binding.tooltip[:1].lower()}{binding.tooltip[1:]}"
            spelled = " or ".join(f"`{_spelled(key)}`" for key in binding.key.split(","))
            lines.append((spelled, f"`{binding.id or ''}`", what))
        parts.append(f"## {title}\n\n{rows(('key', 'binding ID', 'what it does'), lines)}")
    return "\n\n".join(parts)


def _spelled(key: str) -> str:
    names = {
        "question_mark": "?", "slash": "/", "left_square_bracket": "[", "right_square_bracket": "]",
        "greater_than_sign": ">", "less_than_sign": "<", "plus": "+", "minus": "-",
    }  # fmt: skip
    return names.get(key, key)


def settings() -> str:
    """Every key of config.toml."""
    from tui.settings import _KEYS, PREFIX

    lines = []
    for name, (what, example, _) in _KEYS.items():
        variable = "the file only" if name == "keys" else f"`{PREFIX}{name.upper()}`"
        written = f"`[keys]` `{example}`" if name == "keys" else f"`{name} = {example}`"
        lines.append((f"`{name}`", what, written, variable))
    return rows(("key", "what it is for", "as in", "variable above it"), lines)


def configuration_file() -> str:
    """The commented file as `modeldeck config --example` prints it."""
    from tui.settings import commented_example

    return f"```toml\n{commented_example()}```"


def accuracy() -> str:
    """What `make bench` says of the estimates, without colours."""
    command = [sys.executable, str(ROOT / "tests" / "benchmarks" / "bench_accuracy.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return f"```text\n{done.stdout.rstrip()}\n```"


def formats() -> str:
    """Which engine takes which format, from the rules that judging uses."""
    from specs.engines import RULES
    from specs.model import ENGINES, FORMATS

    lines = []
    for model_format in FORMATS:
        cells = []
        for engine in ENGINES:
            rule = next((one for one in RULES if (one.engine, one.format) == (engine, model_format)), None)
            cells.append("" if rule is None else _condition(rule))
        lines.append((f"`{model_format}`", *cells))
    return rows(("format", *ENGINES), lines)


def _condition(rule: object) -> str:
    from specs.engines import Rule

    assert isinstance(rule, Rule)
    parts = []
    if rule.quantizations:
        parts.append(" ".join(f"`{one}`" for one in rule.quantizations))
    if rule.bits:
        parts.append(f"{', '.join(map(str, rule.bits))} bits")
    if rule.single_file:
        parts.append("one file")
    if rule.min_capability:
        parts.append(f"from compute capability {rule.min_capability[0]}.{rule.min_capability[1]}")
    if rule.needs_cuda:
        parts.append("CUDA only")
    return ", ".join(parts) or "yes"


def presets() -> str:
    """Names of machines that can be judged for."""
    from backends.machine.presets import PRESETS

    return ", ".join(f"`{name}`" for name in PRESETS)


NOT_HERE = {
    "gptqmodel": "Apache-2.0 (7.7.0)",
    "optimum": "Apache Software License (2.3.0)",
    "ray": "Apache 2.0 (2.60.0)",
    "sglang": "Apache Software License (0.5.23)",
    "vllm": "Apache-2.0 (0.33.0)",
    "vllm-bnb-plugin": "not told by its metadata (0.0.3)",
    "vllm-gguf-plugin": "Apache-2.0 (0.0.5)",
}
"""What the metadata of a version in the package index says of packages that no environment of the tests holds."""


def licences() -> str:
    """Every package that an installation brings, with the licence that its own metadata names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = []
    seen: set[str] = set()
    groups = {"modeldeck itself": project["dependencies"]}
    groups |= {f"with the extra `{name}`": lines for name, lines in project["optional-dependencies"].items()}
    for title, requirements in groups.items():
        found, missing = _closure(requirements)
        lines = [(name, _licence(name)) for name in sorted(found - seen - {project["name"]}, key=str.lower)]
        seen |= found
        parts.append(f"## {title[:1].upper()}{title[1:]}\n")
        if lines:
            parts.append(rows(("package", "licence"), lines) + "\n")
        if missing:
            table = rows(("package", "licence"), [(name, NOT_HERE[name]) for name in sorted(missing)])
            parts.append(f"Not in the environment that this page is made in, and without what it brings:\n\n{table}\n")
    return "\n".join(parts).rstrip()


def _closure(requirements: Iterable[str]) -> tuple[set[str], set[str]]:
    """Names of what these bring on this platform, and of what of the first step is not installed here."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    missing: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(Requirement(line), True) for line in requirements]
    while waiting:
        requirement, first = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            there = importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            if first:
                missing.add(requirement.name)
            continue
        name = there.metadata["Name"]
        step = (name, frozenset(requirement.extras))
        if step in seen:
            continue
        seen.add(step)
        found.add(name)
        for line in there.requires or ():
            inner = Requirement(line)
            extras = requirement.extras or {""}
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                inner.marker = None
                waiting.append((inner, False))
    return found, missing


def _licence(name: str) -> str:
    """What a distribution says of its licence: an expression, a short word, or its classifiers."""
    about = importlib.metadata.metadata(name)
    said = about["License-Expression"] or ""
    classified = [
        line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if line.startswith("License")
    ]
    word = (about["License"] or "").strip()
    if not said and word and "\n" not in word and len(word) < 60:
        said = word
    said = said or ", ".join(one for one in classified if one != "OSI Approved") or _from_file(name)
    return said or "not told by its metadata"


def _from_file(name: str) -> str:
    """The first line of its licence file that names one."""
    for file in importlib.metadata.files(name) or ():
        if re.search(r"LICEN[CS]E", file.name, re.IGNORECASE):
            text = Path(str(file.locate())).read_text(encoding="utf-8", errors="replace")[:3000]
            for mark, licence in (("Apache License", "Apache-2.0"), ("MIT License", "MIT"), ("Redistribution", "BSD")):
                if mark in text:
                    return licence
    return ""


PARTS: dict[str, Callable[[], str]] = {
    "keys": keys,
    "settings": settings,
    "configuration-file": configuration_file,
    "accuracy": accuracy,
    "formats": formats,
    "presets": presets,
    "licences": licences,
}


def main() -> int:
    """Write every page whose made parts have changed."""
    for page in documents():
        before = page.read_text()
        after = made(before)
        if after != before:
            page.write_text(after)
            print(page.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
