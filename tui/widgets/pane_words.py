"""What a pane's head, foot and notice say."""

from __future__ import annotations

from typing import Literal

from rich.cells import cell_len
from textual.content import Content

from backends.conversation import Node
from backends.duel import Duel
from backends.failures import about
from backends.loaded import LoadedModel, LoadRequest
from specs.text import printable
from tui import units
from tui.glyphs import bar, glyphs
from tui.widgets.frame_line import Part
from tui.widgets.generation import Generation

State = Literal[
    "empty", "loading", "ready", "waiting", "reading", "answering", "summarising", "scoring", "failed", "unloaded"
]
WORDS: dict[State, str] = {
    "empty": "no model",
    "loading": "loading",
    "ready": "ready",
    "waiting": "waits for the other pane",
    "reading": "reading the prompt",
    "answering": "answering",
    "summarising": "summarising what was said",
    "scoring": "scoring the answer",
    "failed": "failed",
    "unloaded": "unloaded",
}
_STYLES: dict[State, str] = {"failed": "error", "answering": "accent", "reading": "accent", "waiting": "accent"}
NEARLY_FULL = 0.85
"""Share of the context from which on its count warns."""
NO_BREAK = "\u00a0"
CONTEXT_FULL = "context"
"""Why an answer ended that took the last token of the context."""
CUT_OFF = "modeldeck ended before this answer did · ctrl+g goes on"
REASONS = {
    "cancelled": "stopped · ctrl+g goes on",
    "length": "cut at the token limit · ctrl+g goes on",
    CONTEXT_FULL: "the context is full · ctrl+g asks how to make room and goes on",
    "error": "the engine ended here",
}


def head_words(title: str, request: LoadRequest | None, model: LoadedModel | None, *, completes: bool) -> list[Part]:
    """Model, quantization, engine and where it runs."""
    parts: list[Part] = [(title, "text")]
    if request is not None:
        engine = model.engine if model is not None else None
        where = engine.where if engine is not None else request.where
        parts += [(" · ", "muted"), (request.engine, "muted")]
        if where:
            parts += [(" · ", "muted"), (where, "muted")]
        if completes:
            parts += [(" · completion", "accent")]
    return parts


def state_words(state: State, generation: Generation | None, *, running: bool, duel: Duel | None) -> list[Part]:
    """What it does, how fast, and how long the first token took.

    Args:
        generation: The running answer or the latest one.
        running: Whether it still comes.
        duel: Stands there instead of the conversation.
    """
    if duel is not None and state != "scoring":
        return [(duel.words, "text")]
    parts: list[Part] = []
    if state in ("summarising", "scoring"):
        generation = None  # its figures are of the answer before
    speed = generation.tokens_per_second if generation is not None else None
    if state != "ready" or speed is None:
        parts.append((WORDS[state], _STYLES.get(state, "muted")))
    if running and generation is not None and generation.thinking:
        parts[-1:] = [("thinking", "accent")]
    if speed is not None:
        parts += [(" · ", "muted")] if parts else []
        parts.append((units.tokens_per_second(speed), "text"))
    if generation is not None and generation.first_seconds is not None:
        parts.append((f" · first {generation.first_seconds:.2f} s", "muted"))
    return parts


def context_words(used: int, context: int) -> list[Part]:
    """Tokens of the context that are used, in figures and as a bar."""
    share = used / context
    style = "error" if share >= 1 else "warning" if share >= NEARLY_FULL else "muted"
    signs = glyphs()
    return [
        (f"{units.count(used)} of {units.count(context)} ", style),
        (f"{signs.bar_start}{bar(share, 8, signs)}{signs.bar_end}", style),
    ]


def alternatives_words(rows: list[tuple[str, str, float]], *, tall: bool) -> Content:
    """What else could have stood at the token cursor.

    Args:
        rows: Digit, token and probability of each.
        tall: One below the other; else in one line.
    """
    if not tall:
        parts = [f"{digit} {token} {share * 100:.0f} %" for digit, token, share in rows]
        return Content(f"a digit goes on from   {'   '.join(part.replace(' ', NO_BREAK) for part in parts)}")
    signs = glyphs()
    wide = max(cell_len(token) for _, token, _ in rows)
    lines = [Content("instead of this token; its digit goes on from there")]
    for digit, token, share in rows:
        gap = " " * (wide - cell_len(token))
        lines.append(
            Content.assemble(
                (f" {digit} ", "bold $accent"),
                (f" {token}{gap}", "$foreground"),
                f"  {share * 100:3.0f} %  ",
                (bar(share, 20, signs).rstrip(), "$primary"),
            )
        )
    return Content("\n").join(lines)


def loading_words(model: LoadedModel) -> str:
    """How far loading is."""
    signs = glyphs()
    filled = bar(model.share, 24, signs)
    doing = printable(model.doing) or f"loading {model.name}"
    return f"{doing}  {signs.bar_start}{filled}{signs.bar_end} {model.share * 100:.0f} %"


def note_of(turn: Node) -> tuple[str, bool]:
    """What to say below a turn, and whether it is a warning."""
    if turn.role != "assistant":
        return "", False
    if turn.error:
        smaller = "the model smaller" if about(turn.error) == "memory" else "the model again"
        return (
            f"{turn.error}\nwhat came is kept · ctrl+l loads {smaller}, then ctrl+g goes on · ctrl+r begins anew",
            True,
        )
    if turn.stop_reason is None:
        return (CUT_OFF, True) if turn.text or turn.reasoning else ("", False)
    return REASONS.get(turn.stop_reason, ""), turn.stop_reason in ("length", CONTEXT_FULL)
