"""The search of the hubs: any repository, judged like the catalog's own families."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static

from backends.errors import AccessDenied, BackendError, HubError
from backends.hubs.hub import RepoSummary
from backends.hubs.repository import MOST_FOUND, Found
from specs.model import ModelFamily
from tui.glyphs import glyphs
from tui.keys import HUB_SEARCH
from tui.messages import FamilyShown
from tui.screens.steady import SteadyScreen
from tui.services import Services
from tui.widgets.cell_detail import HUB_WORDS
from tui.widgets.hardware_strip import HardwareStrip
from tui.widgets.hit_list import HitList
from tui.widgets.key_line import KeyLine
from tui.widgets.lines import clean, joined, wrapped
from tui.widgets.too_small import TooSmall

if TYPE_CHECKING:
    from tui.fetching import Fetching

logger = logging.getLogger("modeldeck")

FEWEST_LETTERS = 2
"""A shorter query asks the hubs for everything they have."""
WHAT_TO_DO = "type what to look for: a name, a maker, a language"
REST_SHARES = 6
"""Rests of the hand, each as long as a list waits, before the hubs are asked."""


class HubSearch(SteadyScreen[None]):
    """What the hubs have beyond the catalog."""

    CSS_PATH = "hubs.tcss"
    AUTO_FOCUS = "#hits"
    BINDINGS: ClassVar[list[BindingType]] = [*HUB_SEARCH]

    class Answered(Message):
        """The hubs have answered a query."""

        def __init__(self, query: str, found: Found) -> None:
            super().__init__()
            self.query = query
            self.found = found

    class Built(Message):
        """A repository is a family now, or it is said why not."""

        def __init__(self, hit: RepoSummary, family: ModelFamily | None, error: BackendError | None = None) -> None:
            super().__init__()
            self.hit = hit
            self.family = family
            self.error = error

    app: Fetching

    def __init__(self, services: Services, query: str = "") -> None:
        super().__init__()
        self._services = services
        self._start = query
        self._asked: str | None = None
        self._answered: str | None = None
        self._problems: tuple[str, ...] = ()
        self._opening: RepoSummary | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield HardwareStrip()
        yield HitList(self._start)
        yield Static(id="about", markup=False)
        yield KeyLine()
        yield TooSmall()

    def on_mount(self) -> None:
        self._list = self.query_one(HitList)
        self._list.show((), WHAT_TO_DO)
        self.watch(self.app, "machine", self._show_strip)
        self.watch(self.app, "notices", self._show_strip, init=False)
        if self._start:
            self._ask()

    def look_for(self, query: str) -> None:
        """Ask for something else."""
        if query and query != self._list.query_text:
            self._list.query_text = query

    def _show_strip(self) -> None:
        self.query_one(HardwareStrip).show(self.app.machine, "hubs", len(self.app.notices))

    def on_hit_list_query_changed(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        rest = self._services.settle_seconds * REST_SHARES
        if rest:
            self._timer = self.set_timer(rest, self._ask)
        else:
            self._ask()

    def _ask(self) -> None:
        query = self._list.query_text.strip()
        if query == self._asked:
            return
        if len(query) < FEWEST_LETTERS:
            self._asked = self._answered = None
            self._problems = ()
            self._list.say("")
            self._list.show((), WHAT_TO_DO)
            self._show_about()
            return
        self._asked = query
        self._list.say("asking the hubs")
        if self._list.hit is None:
            self._list.show((), f"asking the hubs for {clean(query)}")

        def work() -> None:
            self.post_message(self.Answered(query, self._services.search_hubs(query)))

        self.app.in_background(work, "searching the hubs")

    def on_hub_search_answered(self, message: Answered) -> None:
        if message.query != self._asked:
            return
        self._answered = message.query
        self._problems = message.found.problems
        hits = message.found.repositories
        words = "the hubs have nothing by this name: backspace for less of it, ctrl+u for none"
        if not hits and self._problems:
            words = "no hub has answered, for the reasons below: enter asks again, f5 goes to the models"
        self._list.show(hits, words)
        many = f"the {len(hits)} most downloaded" if len(hits) >= MOST_FOUND else f"{len(hits)} found"
        self._list.say(many if hits else "")
        self._show_about()

    def on_line_list_highlighted(self) -> None:
        self._show_about()

    def _show_about(self) -> None:
        hit = self._list.hit
        width = max(10, self.size.width - 4)
        texts = list(self._problems)
        if hit is not None:
            tags = ", ".join(tag for tag in hit.tags if ":" not in tag or tag.startswith(("license:", "base_model:")))
            between = f" {glyphs().dot} "
            texts.insert(0, joined((hit.model_id, HUB_WORDS.get(hit.hub, hit.hub), tags), between))
        lines = [part for text in texts for part in wrapped(clean(text), width)[:2]]
        self.query_one("#about", Static).update("\n".join(lines[:3]))

    # What the hand does

    def on_hit_list_opened(self) -> None:
        query = self._list.query_text.strip()
        hit = self._list.hit
        if query != self._answered or (hit is None and self._problems):
            self._asked = ""
            self._ask()
        elif hit is not None and self._opening is None:
            self.look_into(hit)

    def look_into(self, hit: RepoSummary) -> None:
        """Ask a hub what a repository holds."""
        self._opening = hit
        self._list.say(f"looking into {hit.model_id}")
        self.app.in_background(partial(self._build, hit), f"looking into {clean(hit.model_id)}")

    def _build(self, hit: RepoSummary) -> None:
        try:
            family = self._services.fetch_family(hit)
        except BackendError as error:
            self.post_message(self.Built(hit, None, error))
        except Exception as failure:
            logger.exception("looking into a repository")
            why = f"{hit.model_id} could not be looked into: {type(failure).__name__}: {failure}"
            self.post_message(self.Built(hit, None, HubError(why)))
        else:
            self.post_message(self.Built(hit, family))

    def on_hub_search_built(self, message: Built) -> None:
        self._opening = None
        self._list.say("")
        error = message.error
        if message.family is not None:
            self.post_message(FamilyShown(message.family))
        elif isinstance(error, AccessDenied):
            self.app.offer_token(error, message.hit.hub, partial(self.look_into, message.hit))
        else:
            self.app.say(str(error), severity="error")

    def action_back(self) -> None:
        self.app.action_mode("browse")
