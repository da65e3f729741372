"""The models that a server offers, to choose one from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList

from backends.engines.remote import RemoteModel
from tui import units
from tui.glyphs import glyphs
from tui.screens.dialog import Dialog
from tui.widgets.lines import clean, plain


class ServerModels(Dialog[RemoteModel | None]):
    """Choose a model; escape leaves things as they are."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "close", id="servers.close")]
    DEFAULT_CSS = """
    ServerModels OptionList { height: auto; max-height: 20; background: $surface; border: none; }
    ServerModels .box { height: auto; }
    """

    def __init__(self, url: str, models: Sequence[RemoteModel]) -> None:
        super().__init__()
        self._url = url
        self._models = tuple(models)

    def compose(self) -> ComposeResult:
        rows = []
        for model in self._models:
            context = f"  {glyphs().dot} {units.count(model.context)} tokens of context" if model.context else ""
            rows.append(Content(f"{clean(model.name)}{context}"))
        found = OptionList(*rows)
        found.add_class("box")
        found.border_title = plain(f"Models of {clean(self._url)}")
        found.border_subtitle = plain("enter talks to it   esc leaves")
        yield found

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(self._models[event.option_index])

    def action_leave(self) -> None:
        self.dismiss(None)
