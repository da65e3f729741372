"""The app: its screens, its keys, its looks, and its end."""

from __future__ import annotations

import contextlib
import gc
import signal
from asyncio import get_running_loop
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NoReturn

from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.events import Click
from textual.screen import ModalScreen, Screen

from tui import window_title
from tui.glyphs import ASCII, glyphs
from tui.keys import APP, GUIDE
from tui.messages import ChatWanted, FamilyKept, FamilyShown, FamilyStored, FamilyWanted
from tui.services import Services
from tui.state import READING_DISK
from tui.talking import Talking
from tui.terminal_keys import hear_alt_enter
from tui.themes import DARK, LIGHT, THEMES, default_theme, fallback_variables

if TYPE_CHECKING:
    from textual.filter import LineFilter

    from backends.fit import Option
    from backends.loaded import LoadRequest
    from specs.model import Variant
    from tui.settings import Settings

FIRST_KEYS_SECONDS = 0.05
"""How long the first frame stands before anything is looked for: three frames, in which typed keys are answered."""
SETTINGS_SECONDS = 2.0
"""How often it is asked whether the settings were changed: one stat() each time."""


def _palette_provider() -> type[Provider]:
    from tui.palette import Everything  # Textual's command palette is loaded when first asked for

    return Everything


class Deck(Talking):
    """Browse, downloads and chat, each built when first shown."""

    TITLE = "modeldeck"
    CSS_PATH = ["app.tcss", "screens/browse.tcss"]  # noqa: RUF012
    DEFAULT_MODE = "browse"
    BINDINGS: ClassVar[list[BindingType]] = [*APP]
    COMMAND_PALETTE_BINDING = "ctrl+p"
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_palette_provider}
    PAUSE_GC_ON_SCROLL = True
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny-width"), (40, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-tiny-height"), (10, "-low"), (30, "-tall")]  # noqa: RUF012

    def __init__(
        self,
        services: Services | None = None,
        *,
        theme: str | None = None,
        launch: Option | None = None,
        request: LoadRequest | None = None,
        conversation: str | None = None,
    ) -> None:
        super().__init__(services)
        hear_alt_enter()
        self.leave: Callable[[int], NoReturn] | None = None
        """Ends the process once the terminal is given back; None: Textual takes all its widgets down first."""
        self.tour_wanted = False
        """Whether this is somebody's first run."""
        self._settings_path = Path()
        self._settings_stamp: tuple[int, int] | None = None
        self._launch = launch
        self._request = request
        self._conversation = conversation
        self._hub_query = ""
        self._window_title = ""
        self._title_taken = False
        self._ascii: LineFilter | None = None
        self._modes = {
            "browse": self._browse,
            "downloads": self._downloads,
            "chat": self._chat,
            "library": self._library,
            "hubs": self._hubs,
        }
        for own in THEMES:
            self.register_theme(own)
        self._begin_with_theme(self._theme_called(theme))

    def adopt_settings(self, settings: Settings) -> None:
        """Take over what the user chose: keys, context, notices about the file itself."""
        before, self.settings = self.settings, settings
        if settings.keys or before is not None:
            self.set_keymap(dict(settings.keys))
        if settings.low_bandwidth:
            self.animation_level = "none"
        if before is not None and settings.theme != before.theme:
            self.theme = self._theme_called(settings.theme)
        for problem in (*settings.problems, *self._unknown_words(settings)):
            self.notice(problem)

    def _theme_called(self, name: str | None) -> str:
        wanted = name if name not in {None, "modeldeck"} else default_theme()
        return wanted if wanted in self.available_themes else default_theme()

    def _begin_with_theme(self, name: str) -> None:
        """Choose the first theme before any rule is parsed: one that is set makes Textual parse all rules twice."""
        theme = self.available_themes[name]
        if theme.ansi or not theme.dark:  # these change Textual's filters too, which it starts with for dark colours
            self.theme = name
            return
        self.set_reactive(Deck.theme, name)
        self.add_class(f"-theme-{name}", update=False)
        self.stylesheet.set_variables(self.get_css_variables())

    def _unknown_words(self, settings: Settings) -> Iterable[str]:
        """A line for a theme or a key that nothing here is called."""
        from tui.settings import nearest

        themes = ("modeldeck", *self.available_themes)
        if settings.theme not in themes:
            near = nearest(settings.theme, themes)
            yield f"theme: there is no theme {settings.theme!r}" + (f"; did you mean {near}?" if near else "")
        if settings.keys:
            known = tuple(str(binding.id) for _, group in GUIDE for binding in group)
            for name in settings.keys:
                # Dialogs have keys of their own, which the guide does not list: only slips are worth a line.
                if name not in known and (near := nearest(name, known)):
                    yield f"keys: nothing is called {name!r}; did you mean {near}?"

    def watch_settings_file(self) -> None:
        """Take over themes and keys whenever the file changes; the rest of it counts from the next start."""
        from backends.home import config_file

        self._settings_path = config_file()
        self._settings_stamp = self._stamp()
        self.set_interval(SETTINGS_SECONDS, self._look_at_settings)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self._settings_path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def _look_at_settings(self) -> None:
        stamp = self._stamp()
        if stamp == self._settings_stamp:
            return
        self._settings_stamp = stamp
        from tui.settings import load_settings

        self.adopt_settings(load_settings(self._settings_path))
        self.say("the settings were read again: theme and keys are in force")

    def _browse(self) -> Screen[None]:
        from tui.screens.browse import Browse

        screen = Browse(self.services)
        # It begins with the classes of its size: told of it after mounting, all its widgets would be styled once more.
        for length, classes in zip(self.size, (self.HORIZONTAL_BREAKPOINTS, self.VERTICAL_BREAKPOINTS), strict=True):
            screen.add_class(max(one for one in classes if one[0] <= length)[1], update=False)
        # Its rules are parsed already: without this Textual would parse everything again before the first frame.
        screen._css_update_count = self._css_update_count
        return screen

    def _downloads(self) -> Screen[None]:
        from tui.screens.downloads import Downloads

        return Downloads(self.services)

    def _hubs(self) -> Screen[None]:
        from tui.screens.hubs import HubSearch

        return HubSearch(self.services, self._hub_query)

    def _library(self) -> Screen[None]:
        from tui.screens.library import LibraryScreen

        return LibraryScreen(self.services)

    def _chat(self) -> Screen[None]:
        from tui.screens.chat import ChatScreen

        self._chat_screen = ChatScreen(conversation=self._conversation)
        return self._chat_screen

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return fallback_variables(self.current_theme)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Where there is only ASCII, every line of every widget goes through a filter at the end."""
        filters = super().get_line_filters()
        if glyphs() is not ASCII:
            return filters
        if self._ascii is None:
            from tui.ascii_signs import AsciiSigns

            self._ascii = AsciiSigns()
        return [*filters, self._ascii]

    def get_key_display(self, binding: Binding) -> str:
        """Keys as people say them: "ctrl+r", not "^r"."""
        return binding.key_display or super().get_key_display(binding).replace("^", "ctrl+")

    def on_mount(self) -> None:
        self.set_class(glyphs() is ASCII, "-ascii")
        if not self.is_headless:
            self._listen_to_signals()
            self._take_title()
            self._calm_mouse()
            self.watch_settings_file()

    def on_ready(self) -> None:
        """Begin once the first frame stands, whatever a quick key has put over the first screen by then."""
        if self.tour_wanted and not self.screen.is_modal:  # else somebody knows already what to do
            self._show_tour()
        if self.is_headless:
            self._learn_everything()
        else:
            # Keys that were typed meanwhile are answered first: what is learned in threads would take their turns.
            self.set_timer(FIRST_KEYS_SECONDS, self._learn_everything)

    def _show_tour(self) -> None:
        from tui.screens.tour import Tour

        self.push_screen(Tour())

    def _calm_mouse(self) -> None:
        """Over a slow line have the terminal tell of clicks and drags only: moving the mouse then sends nothing."""
        settings, driver = self.settings, self._driver
        if settings is not None and settings.low_bandwidth and settings.mouse and driver is not None:
            driver.write("\x1b[?1003l\x1b[?1000h\x1b[?1002h")

    def _listen_to_signals(self) -> None:
        """End as after ctrl+q when asked from outside, so that the terminal is left as it was found."""
        loop = get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, partial(self.exit, return_code=128 + number))

    def _learn_everything(self) -> None:
        """Read the catalog and look at the machine, once the first frame stands."""
        from backends.allocator import keep_together

        keep_together()
        # What is alive now stays alive: the collector need not walk it again.
        gc.freeze()
        gc.enable()
        services = self.services
        self.learn("statuses", services.statuses, "looking for engines")
        self.learn("machine", services.detect_machine, "looking at the hardware")
        self.read_catalog()
        self.learn("library", services.local_index, READING_DISK)
        self.learn("crashed_loads", services.crashed_loads, "looking for what ended the app last time")
        if services.refresh_seconds:
            self.set_interval(services.refresh_seconds, self._refresh_machine)
        if self._launch is not None:
            self.post_message(ChatWanted(self._launch))
        if self._request is not None:
            self._talk_to(self._request)

    def on_click(self, event: Click) -> None:
        """Beside a box that asks or tells a click leaves it, as esc does."""
        if event.widget is self.screen and isinstance(event.widget, ModalScreen):
            self.simulate_key("escape")

    def action_help(self) -> None:
        """Show the guide."""
        from tui.screens.help import Help

        if not isinstance(self.screen, Help):
            self.push_screen(Help(self._current_mode))

    def action_notices(self) -> None:
        """Show what went wrong on the way."""
        from tui.screens.notices import Notices

        if not isinstance(self.screen, Notices):
            self.push_screen(Notices(self.notices))

    def on_family_wanted(self, message: FamilyWanted) -> None:
        self.open_family(message.name, message.variant)

    def open_family(self, name: str, variant: Variant | None = None) -> None:
        """Show a family on the browse screen, and one of its variants under the cursor."""
        from tui.screens.browse import Browse

        self.action_mode("browse")
        screen = self.screen
        if isinstance(screen, Browse):
            screen.open_family(name, variant)

    def on_family_shown(self, message: FamilyShown) -> None:
        """Show a family that the catalog does not have beside those that it has."""
        family = message.family
        taken = {one.name for one in self.catalog.families} if self.catalog is not None else set()
        if family.name in taken and family.source is not None:
            family = replace(family, name=family.source.partition(":")[2].lower())
        self.guests = (*(one for one in self.guests if one.name != family.name), family)
        self.open_family(family.name)

    def on_family_kept(self, message: FamilyKept) -> None:
        """Write a family into the user's own catalog."""
        family = message.family

        def work() -> None:
            file = self.services.keep_family(family)
            turn = self.next_turn()
            self._post(self.Learned("catalog", self.services.load_catalog(), turn))
            self._post(FamilyStored(family))
            self._post(self.Said(f"{family.name} is in your catalog now; its spec file is {file}"))

        self.in_background(work, "keeping a family")

    def on_family_stored(self, message: FamilyStored) -> None:
        """It is the catalog's own now; another one that is shown meanwhile stays."""
        self.guests = tuple(one for one in self.guests if one != message.family)

    def action_hubs(self) -> None:
        """Search the hubs, for what was searched for in the list if there is something."""
        from tui.screens.browse import Browse
        from tui.screens.hubs import HubSearch

        query = self.screen.list_query if isinstance(self.screen, Browse) else ""
        self._hub_query = query
        self.action_mode("hubs")
        if isinstance(self.screen, HubSearch) and self.screen.is_mounted:
            self.screen.look_for(query)

    def action_flip_theme(self) -> None:
        """Between our dark and our light theme."""
        self.theme = LIGHT if self.current_theme.dark else DARK

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:  # noqa: ARG002
        yield SystemCommand(
            "Talk to a server…", "Choose a model of a server that speaks OpenAI's protocol", self.action_talk_to_server
        )
        yield SystemCommand("Theme: choose", "Preview and choose a colour theme", self.action_change_theme)
        if self._current_mode == "chat":  # which has other uses for these keys
            yield SystemCommand(
                "Library", "Everything on this disk that can be run", partial(self.action_mode, "library")
            )
            yield SystemCommand("Search the hubs", "Any repository, judged like the catalog", self.action_hubs)
        yield SystemCommand("Theme: dark or light", "Change between our dark and light theme", self.action_flip_theme)
        yield SystemCommand(
            "Settings: edit the file",
            "Context, cache type, theme, keys and all other settings, in your editor, each with its explanation",
            self.action_edit_settings,
        )

    def action_command_palette(self) -> None:
        """Every action and every model; over a question there is none, and the tour ends for it."""
        from tui.palette import Palette
        from tui.screens.tour import Tour

        if isinstance(self.screen, Tour):
            self.screen.dismiss()
        elif self.screen.is_modal:
            return
        self.push_screen(Palette(id="--command-palette"))

    def action_edit_settings(self) -> None:
        """Open the configuration file in the user's editor; without one, first one with every key in comments."""
        from backends.home import config_file
        from tui.editor import edit_file
        from tui.settings import make_settings_file

        path = config_file()
        try:
            with contextlib.suppress(FileExistsError):
                make_settings_file(path)
        except OSError as error:
            self.say(f"{path} cannot be written: {error.strerror}", severity="error")
            return
        if edit_file(self, path, "the file"):
            self.say(f"{path}: themes and keys count at once, the rest from the next start")

    async def action_quit(self) -> None:
        """Leave at once: what must be written is written, and the terminal is as it was."""
        driver = self._driver
        if self.leave is None or self.is_headless or driver is None:
            self.exit()
            return
        await self._close_all_services()
        self._give_title_back()
        # Textual waits for the thread that reads keys, which sleeps in its call for up to a tenth of a second.
        driver.__dict__["_key_thread"] = None
        driver.stop_application_mode()
        driver.close()
        self.leave(0)

    def _take_title(self) -> None:
        """Call the terminal's window by what is shown, and have it remember its own title."""
        if self._driver is not None and not self.is_headless and not self._calm:
            self._driver.write(window_title.REMEMBER)
            self._title_taken = True
            self.retitle()

    @property
    def _calm(self) -> bool:
        return self.settings is not None and self.settings.low_bandwidth

    def retitle(self) -> None:
        """Bring the title of the terminal's window up to date."""
        if not self._title_taken or self._driver is None:
            return
        words = window_title.title(self.jobs.values(), self._talking_to())
        if words != self._window_title:
            self._window_title = words
            self._driver.write(window_title.sequence(words))

    def _talking_to(self) -> str:
        """The model that the prompt goes to; "": none is loaded."""
        pane = self._chat_screen.active_pane if self._chat_screen is not None else None
        return pane.title if pane is not None and pane.model is not None else ""

    def watch_jobs(self) -> None:
        super().watch_jobs()
        self.retitle()

    def on_chat_pane_changed(self) -> None:
        self.retitle()

    def _give_title_back(self) -> None:
        if self._driver is not None and not self.is_headless:
            self._driver.write("\x1b[?1002l" + (window_title.RECALL if self._title_taken else ""))

    async def on_unmount(self) -> None:
        self._give_title_back()
        await self._close_all_services()
