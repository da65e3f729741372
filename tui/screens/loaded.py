"""The models in memory: what each holds, who uses it, and a key to let it go."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.strip import Strip
from textual.widgets import Static

from backends.loaded import LoadedModel, LoadedModels
from tui import units
from tui.glyphs import glyphs
from tui.screens.dialog import Dialog
from tui.widgets.line_list import LineList
from tui.widgets.lines import clean, fitted, line, plain


class ModelList(LineList):
    """Models by row."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"model-list--muted"}

    def __init__(self, models: tuple[LoadedModel, ...]) -> None:
        super().__init__()
        self.models = models

    @property
    def row_count(self) -> int:
        return len(self.models)

    def draw_row(self, row: int, width: int, base: Style) -> Strip:
        model = self.models[row]
        muted = self.get_component_rich_style("model-list--muted", partial=True)
        measured = model.measured_bytes()
        held = units.memory(measured if measured is not None else model.request.predicted_bytes)
        basis = "measured" if measured is not None else "predicted"
        state = "answering" if model.busy else model.state
        panes = "1 pane " if model.users == 1 else f"{model.users} panes"
        where = model.engine.where if model.engine is not None else model.request.where
        tail = f"{held:>9} {basis}  {panes}  {state:<9} "
        words = f" {glyphs().dot} ".join(clean(word) for word in (model.name, model.request.engine, where) if word)
        name = fitted(words, max(8, width - len(tail) - 1), glyphs().ellipsis)
        return line([(f" {name}", Style.null()), (tail, muted)], width, base)


class Loaded(Dialog[LoadedModel | None]):
    """Gives back the model to unload; None: none."""

    holds = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("u,x,delete", "unload", "unload", id="loaded.unload"),
        Binding("escape,q,f4", "leave", "close", id="loaded.close"),
    ]
    DEFAULT_CSS = """
    Loaded {
        .box { width: 96; }
        ModelList {
            height: auto; min-height: 1; max-height: 12; background: $surface;
            scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0;
            .line-list--cursor { background: $cursor; text-style: bold; }
            .model-list--muted { color: $muted; }
        }
        #total { color: $muted; margin-top: 1; height: auto; }
    }
    """

    def __init__(self, models: LoadedModels) -> None:
        super().__init__()
        self._models = models

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = plain("Models in memory")
            box.border_subtitle = plain("u unloads   esc closes")
            yield ModelList(self._models.models())
            yield Static(id="total")

    def on_mount(self) -> None:
        self._show()
        self.set_interval(0.5, self._show)

    def _show(self) -> None:
        rows = self.query_one(ModelList)
        rows.models = self._models.models()
        rows.rows_changed()
        total = units.memory(self._models.held_bytes())
        self.query_one("#total", Static).update(
            plain(f"{total} together" if rows.models else "Nothing is loaded; f5 chooses a model")
        )

    def action_unload(self) -> None:
        rows = self.query_one(ModelList)
        if rows.cursor < len(rows.models):
            rows.models[rows.cursor].close()

    def action_leave(self) -> None:
        self.dismiss(None)
