"""What one pane is told: system prompt, how tokens are chosen, whether to think."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Input, Static, TextArea

from backends.engines.engine import Sampling
from backends.presets import CHOOSING, preset_of, presets, save_preset
from tui.screens.ask_line import AskLine
from tui.screens.dialog import Dialog
from tui.widgets.lines import plain
from tui.widgets.typing_line import TypingLine

OWN = "your own"


@dataclass(frozen=True, slots=True)
class Told:
    """What the screen gives back."""

    system: str
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Field:
    """One number of the sampling."""

    name: str
    label: str
    hint: str
    least: float
    most: float
    whole: bool = False
    optional: bool = False
    """Whether empty means None."""

    def parse(self, text: str) -> float | int | None:
        """The number.

        Raises:
            ValueError: with what was expected.
        """
        text = text.strip()
        if not text and self.optional:
            return None
        kind = "a whole number" if self.whole else "a number"
        try:
            value: float | int = int(text) if self.whole else float(text)
        except ValueError:
            raise ValueError(f"{self.label}: expected {kind}") from None
        if not self.least <= value <= self.most:
            raise ValueError(f"{self.label}: expected {kind} from {self.least:g} to {self.most:g}")
        return value


FIELDS = (
    Field("temperature", "temperature", "0 always takes the likeliest", 0, 5),
    Field("top_k", "top k", "so many candidates; 0 all", 0, 100_000, whole=True),
    Field("top_p", "top p", "candidates up to this share", 0, 1),
    Field("min_p", "min p", "at least this share of the best", 0, 1),
    Field("repetition_penalty", "repetition", "1 none", 0.5, 2),
    Field("max_tokens", "max tokens", "empty: what the context holds", 1, 10_000_000, whole=True, optional=True),
    Field("seed", "seed", "empty: another answer each time", 0, 2**31 - 1, whole=True, optional=True),
)
THINKING: tuple[tuple[str, bool | None], ...] = (("as the model does", None), ("on", True), ("off", False))


class Cycle(Static, can_focus=True):
    """One of a few words; left and right change it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "step(-1)", "before", show=False),
        Binding("right,l,space,enter", "step(1)", "next", show=False),
    ]
    at: reactive[int] = reactive(0)

    class Changed(Message):
        """Another word is chosen."""

        def __init__(self, cycle: Cycle) -> None:
            super().__init__()
            self.cycle = cycle

    def __init__(self, words: tuple[str, ...], at: int, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.words = words
        self.set_reactive(Cycle.at, at)

    def render(self) -> Content:
        return Content.assemble("‹ ", (self.words[self.at], "bold"), " ›")

    def action_step(self, step: int) -> None:
        self.at = (self.at + step) % len(self.words)
        self.post_message(self.Changed(self))


class ChatSettings(Dialog[Told | None]):
    """Gives back what the pane is told from now on; None: as before."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave", id="settings.leave"),
        Binding("ctrl+n", "keep", "keep as a preset", id="settings.keep", priority=True),
        Binding("ctrl+s,f2", "take", "take over", id="settings.take", priority=True),
    ]
    DEFAULT_CSS = """
    ChatSettings {
        .box { width: 78; }
        TextArea { height: 5; border: none; padding: 0; background: $panel; margin-bottom: 1; }
        TextArea:focus { border: none; }
        .row { height: 1; }
        .label { width: 14; color: $muted; }
        .hint { color: $muted; width: 1fr; padding-left: 2; }
        Input { width: 14; border: none; padding: 0 1; height: 1; background: $panel; }
        Input:focus { border: none; background: $cursor; }
        Cycle { width: 26; height: 1; }
        Cycle:focus { background: $cursor; }
        #wrong { color: $error; height: auto; margin-top: 1; display: none; }
        #wrong.-some { display: block; }
    }
    """

    def __init__(self, title: str, system: str, sampling: Sampling, *, completes: bool = False) -> None:
        super().__init__()
        self._title = title
        self._system = system
        self._sampling = sampling
        self._completes = completes
        self._presets = presets()

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = plain(f"What {self._title} is told")
            box.border_subtitle = plain("ctrl+s takes it over   ctrl+n keeps a preset   esc leaves")
            if not self._completes:
                yield Static("system prompt", classes="label")
                system = TextArea(self._system, soft_wrap=True, tab_behavior="focus")
                system.cursor_blink = False
                yield system
            preset = preset_of(self._sampling, self._presets)
            words = (*self._presets, OWN)
            with Horizontal(classes="row"):
                yield Static("preset", classes="label")
                yield Cycle(words, words.index(preset or OWN), id="preset")
                yield Static("← → chooses", classes="hint")
            for field in FIELDS:
                value = getattr(self._sampling, field.name)
                with Horizontal(classes="row"):
                    yield Static(field.label, classes="label")
                    yield TypingLine(
                        "" if value is None else f"{value:g}" if not field.whole else str(value), id=field.name
                    )
                    yield Static(field.hint, classes="hint")
            if not self._completes:
                with Horizontal(classes="row"):
                    yield Static("thinking", classes="label")
                    at = [value for _, value in THINKING].index(self._sampling.thinking)
                    yield Cycle(tuple(word for word, _ in THINKING), at, id="thinking")
                    yield Static("where the model's template knows how", classes="hint")
            yield Static(id="wrong")

    def on_cycle_changed(self, event: Cycle.Changed) -> None:
        word = event.cycle.words[event.cycle.at]
        if event.cycle.id != "preset" or word == OWN:
            return
        preset = self._presets[word]
        for name in CHOOSING:
            self.query_one(f"#{name}", Input).value = f"{getattr(preset, name):g}"

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say which preset the numbers are now."""
        event.stop()
        try:
            values = {f.name: f.parse(self.query_one(f"#{f.name}", Input).value) for f in FIELDS if f.name in CHOOSING}
        except ValueError:
            return  # half typed
        cycle = self.query_one("#preset", Cycle)
        sampling = replace(self._sampling, **values)  # type: ignore[arg-type]
        shown = self._presets.get(cycle.words[cycle.at])
        if shown is None or preset_of(sampling, {"": shown}) is None:  # two may be alike
            cycle.at = cycle.words.index(preset_of(sampling, self._presets) or OWN)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_take()

    def _values(self) -> dict[str, float | int | None] | None:
        """The numbers; None: one is wrong, and the screen says which."""
        values: dict[str, float | int | None] = {}
        try:
            for field in FIELDS:
                values[field.name] = field.parse(self.query_one(f"#{field.name}", Input).value)
        except ValueError as error:
            self._say_wrong(str(error))
            self.query_one(f"#{field.name}", Input).focus()
            return None
        return values

    def _say_wrong(self, what: str) -> None:
        wrong = self.query_one("#wrong", Static)
        wrong.update(Content(what))
        wrong.add_class("-some")

    def action_keep(self) -> None:
        """Keep what stands here as a preset of the user's."""
        values = self._values()
        if values is None:
            return

        def named(name: str | None) -> None:
            if not name or not name.strip():
                return
            name = name.strip()
            sampling = Sampling(**{key: values[key] for key in CHOOSING})  # type: ignore[arg-type]
            try:
                save_preset(name, sampling)
            except (ValueError, OSError) as error:
                self._say_wrong(str(error))
                return
            self._presets = presets()
            cycle = self.query_one("#preset", Cycle)
            cycle.words = (*self._presets, OWN)
            cycle.at = cycle.words.index(name)
            cycle.refresh()

        self.app.push_screen(AskLine("Keep these settings as a preset", placeholder="its name"), named)

    def action_take(self) -> None:
        """Give back what stands here, if it can be."""
        values = self._values()
        if values is None:
            return
        thinking = self._sampling.thinking
        system = self._system
        if not self._completes:
            thinking = THINKING[self.query_one("#thinking", Cycle).at][1]
            system = self.query_one(TextArea).text
        sampling = replace(self._sampling, thinking=thinking, **values)  # type: ignore[arg-type]
        self.dismiss(Told(system, sampling))

    def action_leave(self) -> None:
        self.dismiss(None)
