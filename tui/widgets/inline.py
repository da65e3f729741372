"""Inline Markdown parsed to runs of text with style bits, and wrapped to a width by cells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from tui.widgets.palette import CODE, EMPHASIS, LINK, MATH, MUTED, STRIKE, STRONG, Palette

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline

Run = tuple[str, int]
"""A text and its style bits."""

_MATH = re.compile(r"\\\((.+?)\\\)|\\\[(.+?)\\\]|\$\$(.+?)\$\$|\$(?=[^\s$])([^$\n]*?[^\s$\\])\$(?!\d)", re.DOTALL)
_MARKED = re.compile(r"[*_`\[\]!\\$~&<]|https?:")
_WORDS = re.compile(r"\s+|[^\s]+")


def _math(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in "\\$":
        return False
    match = _MATH.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        token = state.push("math", "", 0)
        token.content = next(group for group in match.groups() if group is not None)
    state.pos = match.end()
    return True


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # 20 ms that only a shown answer needs

    parser = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    parser.inline.ruler.before("escape", "math", _math)
    return parser


@lru_cache(maxsize=4096)
def runs(text: str) -> tuple[Run, ...]:
    """Runs of one paragraph's inline Markdown; line ends stay line ends."""
    if not _MARKED.search(text):
        return ((text, 0),)
    children = _parser().parseInline(text)[0].children or []
    found: list[Run] = []
    bits = 0
    target = ""
    label_at = 0
    for token in children:
        match token.type:
            case "text" | "text_special":
                if token.content:
                    found.append((token.content, bits))
            case "softbreak" | "hardbreak":
                found.append(("\n", bits))
            case "code_inline":
                found.append((token.content, bits | CODE))
            case "math":
                found.append((readable_math(token.content), bits | MATH))
            case "strong_open":
                bits |= STRONG
            case "strong_close":
                bits &= ~STRONG
            case "em_open":
                bits |= EMPHASIS
            case "em_close":
                bits &= ~EMPHASIS
            case "s_open":
                bits |= STRIKE
            case "s_close":
                bits &= ~STRIKE
            case "link_open":
                bits |= LINK
                target = str(token.attrs.get("href", ""))
                label_at = len(found)
            case "link_close":
                bits &= ~LINK
                label = "".join(part for part, _ in found[label_at:])
                # Where a link leads is said in words: a label alone can lie.
                if target and target not in (label, f"mailto:{label}"):
                    found.append((f" ({target})", bits | MUTED))
            case "image":
                found.append((f"[image: {token.content}] ({token.attrs.get('src', '')})", bits | MUTED))
            case _:
                if token.content:
                    found.append((token.content, bits))
    return tuple((_visible(part), style) for part, style in found)


def _visible(text: str) -> str:
    """Entities such as &#8238; are decoded by the parser, after the text was made printable."""
    if text.isprintable() or text == "\n":
        return text
    from specs.text import printable

    return printable(text, newlines=True).expandtabs(4)


def wrapped(pieces: Sequence[Run], width: int, palette: Palette, base: Style) -> list[list[Segment]]:
    """Lines of at most so many cells, broken at spaces, inside a word only where it is longer than a line."""
    lines: list[list[Segment]] = []
    for paragraph in _by_line(pieces):
        text = "".join(part for part, _ in paragraph)
        offsets = breaks(text, width)
        styled = ((part, palette.inline(bits, base) if bits else base) for part, bits in paragraph)
        lines.extend(cut(styled, offsets))
    return lines


def wrapped_plain(text: str, width: int, style: Style) -> list[list[Segment]]:
    """Lines of a text as it stands."""
    lines: list[list[Segment]] = []
    for line in text.expandtabs(4).split("\n"):
        lines.extend(cut([(line, style)], breaks(line, width)))
    return lines


def breaks(text: str, width: int) -> list[int]:
    """Offsets at which a line of text is broken so that no part is wider than width cells."""
    plain = text.isascii()
    if (len(text) if plain else cell_len(text)) <= width:
        return []
    width = max(1, width)
    offsets: list[int] = []
    column = 0
    for match in _WORDS.finditer(text):
        word = match.group()
        cells = len(word) if plain else cell_len(word)
        if column + cells <= width:
            column += cells
            continue
        if word.isspace():
            # Spaces hang over the edge and are trimmed; the next word begins the line.
            column = width
            continue
        if column:
            offsets.append(match.start())
            column = 0
        if cells <= width:
            column = cells
            continue
        for index, character in enumerate(word):
            size = 1 if plain else cell_len(character)
            if column + size > width and column:
                offsets.append(match.start() + index)
                column = 0
            column += size
    return offsets


def _by_line(pieces: Sequence[Run]) -> Iterable[list[Run]]:
    line: list[Run] = []
    for text, bits in pieces:
        first, *rest = text.split("\n")
        if first:
            line.append((first, bits))
        for part in rest:
            yield line
            line = [(part, bits)] if part else []
    yield line


def cut(styled: Iterable[tuple[str, Style]], offsets: list[int]) -> Iterable[list[Segment]]:
    """Styled text broken at these offsets, without the spaces that a line ends with."""
    line: list[Segment] = []
    at = 0
    remaining = iter(offsets)
    at_cut = next(remaining, None)
    for text, style in styled:
        rest = text
        while at_cut is not None and at + len(rest) > at_cut:
            head = rest[: at_cut - at]
            if head:
                line.append(Segment(head, style))
            yield _trimmed(line)
            line = []
            rest = rest[at_cut - at :]
            at = at_cut
            at_cut = next(remaining, None)
        if rest:
            line.append(Segment(rest, style))
        at += len(rest)
    yield _trimmed(line) if offsets else line


def _trimmed(line: list[Segment]) -> list[Segment]:
    while line:
        text = line[-1].text.rstrip(" ")
        if text == line[-1].text:
            break
        if text:
            line[-1] = Segment(text, line[-1].style)
            break
        line.pop()
    return line


_SIGNS = {
    r"\alpha": "α", r"\beta": "β", r"\gamma": "γ", r"\delta": "δ", r"\epsilon": "ε", r"\varepsilon": "ε",
    r"\zeta": "ζ", r"\eta": "η", r"\theta": "θ", r"\kappa": "κ", r"\lambda": "λ", r"\mu": "μ", r"\nu": "ν",
    r"\xi": "ξ", r"\pi": "π", r"\rho": "ρ", r"\sigma": "σ", r"\tau": "τ", r"\phi": "φ", r"\varphi": "φ", r"\chi": "χ",
    r"\psi": "ψ", r"\omega": "ω", r"\Gamma": "Γ", r"\Delta": "Δ", r"\Theta": "Θ", r"\Lambda": "Λ", r"\Pi": "Π",
    r"\Sigma": "Σ", r"\Phi": "Φ", r"\Psi": "Ψ", r"\Omega": "Ω", r"\times": "×", r"\cdot": "·", r"\div": "÷",
    r"\pm": "±", r"\le": "≤", r"\leq": "≤", r"\ge": "≥", r"\geq": "≥", r"\ne": "≠", r"\neq": "≠", r"\approx": "≈",
    r"\equiv": "≡", r"\infty": "∞", r"\to": "→", r"\rightarrow": "→", r"\Rightarrow": "⇒", r"\leftarrow": "←",
    r"\implies": "⇒", r"\iff": "⇔", r"\in": "∈", r"\notin": "∉", r"\subset": "⊂", r"\subseteq": "⊆", r"\cup": "∪",
    r"\cap": "∩", r"\forall": "∀", r"\exists": "∃", r"\partial": "∂", r"\nabla": "∇", r"\sum": "∑", r"\prod": "∏",
    r"\int": "∫", r"\sqrt": "√", r"\ldots": "…", r"\cdots": "⋯", r"\dots": "…", r"\quad": "  ", r"\left": "",
    r"\right": "", r"\,": " ", r"\;": " ", r"\!": "", r"\%": "%", r"\{": "{", r"\}": "}", r"\neg": "¬",
    r"\land": "∧", r"\lor": "∨", r"\emptyset": "∅", r"\circ": "∘", r"\degree": "°", r"\propto": "∝", r"\sim": "∼",
}  # fmt: skip
_COMMAND = re.compile(r"\\(?:[A-Za-z]+|[,;!%{}])")
_FRACTION = re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}")
_WORDING = re.compile(r"\\(?:text|mathrm|mathbf|mathit|operatorname|boxed)\{([^{}]*)\}")
_RAISED = re.compile(r"\^(?:\{([0-9+\-n]+)\}|([0-9n]))")
_LOWERED = re.compile(r"_(?:\{([0-9+\-]+)\}|([0-9]))")
_UP = str.maketrans("0123456789+-n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ")
_DOWN = str.maketrans("0123456789+-", "₀₁₂₃₄₅₆₇₈₉₊₋")


@lru_cache(maxsize=512)
def readable_math(text: str) -> str:
    """LaTeX as text: the signs that Unicode has, everything else as it was written."""
    text = _WORDING.sub(r"\1", text.strip())
    for _ in range(3):
        shorter = _FRACTION.sub(_fraction, text)
        if shorter == text:
            break
        text = shorter
    text = _RAISED.sub(lambda m: (m[1] or m[2]).translate(_UP), text)
    text = _LOWERED.sub(lambda m: (m[1] or m[2]).translate(_DOWN), text)
    return _COMMAND.sub(lambda m: _SIGNS.get(m[0], m[0]), text)


def _fraction(match: re.Match[str]) -> str:
    above, below = (part if re.fullmatch(r"\\?\w+", part) else f"({part})" for part in match.groups())
    return f"{above}/{below}"
