"""The reader of model pages in reStructuredText, of every era of the catalog that they come from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from specs.engines import engine_name
from specs.model import HUGGINGFACE, MODELSCOPE, HubSource, ModelFamily, ModelSpec, SpecError
from specs.readers import values
from specs.readers.building import make_spec
from specs.readers.values import Note, Reading, Wrong
from specs.text import one_line, printable

if TYPE_CHECKING:
    from docutils import nodes

_BULLET: Final = re.compile(r"\s*\*\*\s*(?P<key>[^*]+?)\s*(?::\s*\*\*|\*\*\s*:)\s*:?\s*(?P<value>.*)", re.DOTALL)
_SPEC_TITLE: Final = re.compile(
    r"\s*model\s+specs?\b[^(]*\(\s*(?P<format>[^,()]+?)\s*,\s*(?P<size>[\d._]+)\s*billions?\s*\)", re.IGNORECASE
)
_LABEL: Final = re.compile(r"^\.\.\s+_models?_(?P<kind>[A-Za-z]+)_(?P<name>[^\n]+?):[ \t]*$", re.MULTILINE)
_RESTRICTION: Final = re.compile(
    r"[(（]\s*(?P<engines>[^()]*?)\s+(?:is|are)?\s*only\s+available\s+for\s+quantizations?\s*:?\s*(?P<names>[^()]*?)\s*[)）]",
    re.IGNORECASE,
)
_LINK: Final = re.compile(r"`(?P<text>[^`<]*?)\s*<(?P<url>[^<>`]+)>`_{1,2}")
_AND: Final = re.compile(r"\s*(?:,|;|&|\band\b|\bor\b)\s*", re.IGNORECASE)
_KEYS: Final = {
    "context length": "context_length",
    "context": "context_length",
    "model context length": "context_length",
    "model name": "name",
    "name": "name",
    "languages": "languages",
    "language": "languages",
    "model languages": "languages",
    "model language": "languages",
    "model lang": "languages",
    "abilities": "abilities",
    "ability": "abilities",
    "model abilities": "abilities",
    "model ability": "abilities",
    "description": "description",
    "model description": "description",
    "license": "license",
    "model format": "format",
    "format": "format",
    "model size (in billions)": "size",
    "model size": "size",
    "size (in billions)": "size",
    "quantizations": "quantizations",
    "quantization": "quantizations",
    "engines": "engines",
    "engine": "engines",
    "model engines": "engines",
    "model id": "id",
    "model hubs": "hubs",
    "model hub": "hubs",
    "hubs": "hubs",
    "dimensions": "dimensions",
    "max tokens": "max_tokens",
    "model family": "kind",
    "multilingual": "multilingual",
    "available controlnet": "controlnet",
}
"""What each spelling of a bullet means, in lower case."""
_SPEC_KEYS: Final = frozenset({"format", "size", "quantizations"})
_KINDS: Final = {
    "embedding": "an embedding model",
    "embed": "an embedding model",
    "rerank": "a rerank model",
    "image": "an image model",
    "audio": "an audio model",
    "video": "a video model",
    "flexible": "a flexible model",
    "text2image": "an image model",
    "image2image": "an image model",
    "inpainting": "an image model",
    "ocr": "an image model",
    "text2video": "a video model",
    "image2video": "a video model",
    "text2audio": "an audio model",
    "audio2text": "an audio model",
    "text-to-audio": "an audio model",
    "audio-to-text": "an audio model",
    "text_to_audio": "an audio model",
    "audio_to_text": "an audio model",
}
"""Kinds of models that are not ours, by the word of the label or of the abilities."""
_HOSTS: Final = {
    "huggingface.co": HUGGINGFACE,
    "www.huggingface.co": HUGGINGFACE,
    "hf.co": HUGGINGFACE,
    "hf-mirror.com": HUGGINGFACE,
    "modelscope.cn": MODELSCOPE,
    "www.modelscope.cn": MODELSCOPE,
    "modelscope.ai": MODELSCOPE,
    "www.modelscope.ai": MODELSCOPE,
}


@dataclass(slots=True)
class _Bullets:
    """One list of bullets: the head of a family, or a spec."""

    line: int | None
    """Where it begins."""
    title: str
    """The section's title above it."""
    text: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int | None] = field(default_factory=dict)

    def line_of(self, key: str) -> int | None:
        return self.lines.get(key, self.line)


def read(text: str, file: str, source: str) -> Reading:
    """The family of a model page; the families, where several pages stand in one file.

    Args:
        text: the page.
        file: how messages name it.
        source: what the family says about its origin.

    Raises:
        SpecError: no page of a language model.
    """
    notes: list[Note] = []
    heads: list[tuple[_Bullets, list[_Bullets]]] = []
    for bullets in _bullet_lists(text, file):
        if bullets.text.keys() & _SPEC_KEYS:
            if not heads:
                heads.append((_Bullets(bullets.line, ""), []))
            heads[-1][1].append(bullets)
        elif not heads or ("name" in bullets.text and heads[-1][1]):
            heads.append((bullets, []))
        else:
            heads[-1][0].text.update(bullets.text | heads[-1][0].text)
            heads[-1][0].lines.update(bullets.lines | heads[-1][0].lines)
    if not heads:
        raise SpecError(
            file, None, 'this is no model page: expected bullets such as "- **Model Name:** …" and a section a spec'
        )
    labels = list(_LABEL.finditer(text))
    families = []
    for place, (head, specs) in enumerate(heads):
        label = labels[place] if len(labels) == len(heads) else (labels[0] if labels and len(heads) == 1 else None)
        families.append(_family(head, specs, label, file, source=source, notes=notes))
    return Reading(tuple(families), tuple(notes))


def _bullet_lists(text: str, file: str) -> list[_Bullets]:
    """Every list of "**Key:** value" bullets with the title above it, in the page's order."""
    from docutils import nodes  # 60 ms that only pages need

    document = _parse(text, file)
    found: list[_Bullets] = []
    title = ""
    for node in document.findall(lambda node: isinstance(node, (nodes.title, nodes.bullet_list))):
        if isinstance(node, nodes.title):
            title = node.astext()
            continue
        bullets = _Bullets(None, title)
        for item in node.children:
            paragraph = item.children[0] if item.children else None
            if not isinstance(paragraph, nodes.paragraph):
                continue
            match = _BULLET.match(paragraph.rawsource)
            if match is None:
                continue
            key = _KEYS.get(" ".join(match["key"].lower().rstrip(":").split()))
            line = _line(paragraph)
            bullets.line = bullets.line or line
            if key and key not in bullets.text:
                bullets.text[key] = _unescaped(match["value"])
                bullets.lines[key] = line
        if bullets.text:
            found.append(bullets)
    return found


def _parse(text: str, file: str) -> nodes.document:
    """The page as docutils sees it: no file is included, nothing raw passes, nothing is printed."""
    from docutils.frontend import get_default_settings
    from docutils.parsers.rst import Parser
    from docutils.utils import new_document

    settings = get_default_settings(Parser)
    settings.update(
        {
            "file_insertion_enabled": False,
            "raw_enabled": False,
            "report_level": 5,
            "halt_level": 5,
            "warning_stream": False,
            "syntax_highlight": "none",
            "line_length_limit": len(text) + 1,
            "smart_quotes": False,
        },
        _no_lists(),
    )
    document = new_document(file, settings)
    try:
        Parser(inliner=_Plain()).parse(text, document)  # type: ignore[arg-type]  # all of it that the parser calls
    except RecursionError as error:
        raise SpecError(file, None, "this is no model page: it is nested too deeply") from error
    except Exception as error:  # directives of docutils raise whatever their arguments provoke
        what = one_line(str(error)) or type(error).__name__
        raise SpecError(file, None, f"this is no reStructuredText that docutils can read: {what[:200]}") from error
    return document


class _Plain:
    """Leaves inline markup as it is written.

    Values are taken from the source anyway, and docutils needs minutes for a paragraph of a hundred thousand stars.
    """

    def init_customizations(self, settings: object) -> None:
        """Part of docutils' inliner; nothing to prepare."""

    def parse(self, text: str, *_: object) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The text as one node, and no messages."""
        from docutils import nodes

        return [nodes.Text(text.replace("\x00", "\\"))], []


def _no_lists() -> Any:
    """docutils wants an option parser beside an update of settings; none of ours are lists."""
    from types import SimpleNamespace

    return SimpleNamespace(lists={})


def _line(node: nodes.Node | None) -> int | None:
    while node is not None:
        if node.line:
            return int(node.line)
        node = node.parent
    return None


def _unescaped(value: str) -> str:
    """A value without reStructuredText's backslashes and literal quotes, on one line."""
    plain = " ".join(value.replace("\x00", "\\").split())
    plain = re.sub(r"\\(.)", r"\1", plain)
    if len(plain) > 4 and plain.startswith("``") and plain.endswith("``"):
        plain = plain[2:-2]
    return plain


def _family(
    head: _Bullets, specs: Sequence[_Bullets], label: re.Match[str] | None, file: str, *, source: str, notes: list[Note]
) -> ModelFamily:
    abilities = _words(head.text.get("abilities", ""))
    _refuse_other_kinds(head, specs, abilities, label, file)
    name = _name(head, label, file)
    if not specs:
        raise SpecError(
            file, head.line, f'{values.shown(name)} has no specs: expected sections "Model Spec 1 (pytorch, 7 Billion)"'
        )
    built = tuple(_spec(bullets, file, notes) for bullets in specs)
    return ModelFamily(
        name=name,
        context_length=_context_length(head, file),
        languages=_words(head.text.get("languages", "")),
        abilities=abilities,
        specs=built,
        description=printable(head.text.get("description", "")),
        license=printable(head.text["license"]) if head.text.get("license") else None,
        source=source,
    )


def _refuse_other_kinds(
    head: _Bullets, specs: Sequence[_Bullets], abilities: tuple[str, ...], label: re.Match[str] | None, file: str
) -> None:
    """Say politely that a page of another kind of model is not for us."""
    kind = _KINDS.get(label["kind"].lower()) if label else None
    lower = {word.lower() for word in abilities}
    if kind is None and not lower & {"chat", "generate"}:
        kind = next((words for word, words in _KINDS.items() if word in lower), None)
    if kind is None and not specs:
        if "dimensions" in head.text:
            kind = "an embedding model"
        elif "max_tokens" in head.text:
            kind = "a rerank model"
        elif "controlnet" in head.text:
            kind = "an image model"
        elif "multilingual" in head.text:
            kind = "an audio model"
        elif "kind" in head.text:
            kind = "an image, audio or video model"
    if kind is not None:
        name = f" ({values.shown(head.text['name'])})" if head.text.get("name") else ""
        raise SpecError(
            file, head.line, f"this is the page of {kind}{name}, and modeldeck browses language models (chat, generate)"
        )


def _name(head: _Bullets, label: re.Match[str] | None, file: str) -> str:
    name = head.text.get("name") or ("" if _SPEC_TITLE.match(head.title) else head.title)
    if not name and label:
        name = label["name"]
    try:
        return values.name({"Model Name": one_line(name) or None}, "Model Name")
    except Wrong as error:
        raise SpecError(file, head.line_of("name"), error.what) from error


def _context_length(head: _Bullets, file: str) -> int | None:
    written = head.text.get("context_length", "")
    if not written or written.lower() in {"none", "unknown", "n/a"}:
        return None
    digits = re.sub(r"[,_ ]", "", written)
    if not re.fullmatch(r"\d{1,10}", digits, re.ASCII) or not 1 <= int(digits) <= values.MAX_CONTEXT:
        raise SpecError(
            file,
            head.line_of("context_length"),
            f"expected Context Length as a number of tokens, found {values.shown(written)}",
        )
    return int(digits)


def _spec(bullets: _Bullets, file: str, notes: list[Note]) -> ModelSpec:
    title = _SPEC_TITLE.match(bullets.title)
    key = "format"
    try:
        model_format = values.model_format(
            {"Model Format": bullets.text.get("format") or (title and title["format"])}, "Model Format"
        )
        key = "size"
        size = values.size({"Model Size": bullets.text.get("size") or (title and title["size"])}, "Model Size")
        if size is None:
            raise Wrong("Model Size is missing: expected a number of billions, such as 7 or 1_8")
        key = "quantizations"
        names = _words(bullets.text.get("quantizations", "")) or ("none",)
        listed = values.quantizations({"Quantizations": list(names)}, "Quantizations") or ()
        key = "id"
        hubs = _hubs(bullets, notes)
        engines = _engines(bullets.text.get("engines", ""))
        return make_spec(model_format, size, listed, hubs, engines=engines)
    except Wrong as error:
        raise SpecError(file, bullets.line_of("hubs" if "hubs" in error.path else key), error.what) from error


def _hubs(bullets: _Bullets, notes: list[Note]) -> list[HubSource]:
    """Hubs with the IDs that their links lead to; the oldest pages name only the Model ID, which is Hugging Face's."""
    written = bullets.text.get("id", "")
    stated = values.model_id(written) if written else None
    found: dict[str, HubSource] = {}
    for link in _LINK.finditer(bullets.text.get("hubs", "")):
        hub, model_id = _repository(link["url"])
        if hub is None:
            named = one_line(link["text"]) or link["url"]
            notes.append(Note(bullets.line_of("hubs"), f"modeldeck does not carry the hub {values.shown(named)}"))
            continue
        if stated and model_id.lower() == stated.lower():
            model_id = stated
        found.setdefault(hub, HubSource(hub=hub, id=values.model_id(model_id, "hubs")))
    if not found and stated and not bullets.text.get("hubs"):
        found[HUGGINGFACE] = HubSource(hub=HUGGINGFACE, id=stated)
    if not found and not stated:
        raise Wrong("Model ID is missing: expected a repository as owner/name")
    return list(found.values())


def _repository(url: str) -> tuple[str | None, str]:
    """The hub and the ID behind a link; no hub for hosts that modeldeck does not carry."""
    try:
        parsed = urlsplit(url.strip())
    except ValueError:
        return None, ""
    hub = _HOSTS.get((parsed.hostname or "").lower())
    steps = [step for step in unquote(parsed.path).split("/") if step]
    if steps and steps[0].lower() == "models":
        steps = steps[1:]
    for stop in ("tree", "blob", "resolve", "summary", "files", "file"):
        if stop in steps[2:]:
            steps = steps[: steps.index(stop, 2)]
    return hub, "/".join(steps)


def _engines(written: str) -> Mapping[str, Sequence[str] | None] | None:
    """Engines with the quantizations that a restriction leaves them; None for those without one."""
    restricted: dict[str, tuple[str, ...]] = {}
    for restriction in _RESTRICTION.finditer(written):
        for name in _AND.split(restriction["engines"]):
            restricted[engine_name(name)] = tuple(word for word in _AND.split(restriction["names"]) if word)
    plain = re.sub(r"[(（][^()]*[)）]", " ", written)
    names = [engine_name(one_line(name)) for name in plain.split(",") if name.strip()]
    return {name: restricted.get(name) for name in names} or None


def _words(written: str) -> tuple[str, ...]:
    """A comma-separated list, each word once."""
    return tuple(dict.fromkeys(printable(word.strip()) for word in written.split(",") if word.strip()))


def looks_like_page(text: str) -> bool:
    """Whether a text of unknown ending is a model page."""
    return _LABEL.search(text) is not None or re.search(r"^[-*+] \*\*[^*\n]+\*\*", text, re.MULTILINE) is not None
