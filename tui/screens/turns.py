"""What the chat screen does with a turn under the cursor: copy, edit, delete, walk the branches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backends.engines.engine import Adapter
from specs.text import printable
from tui.clipboard import code_blocks, copy
from tui.screens.ask import Ask
from tui.screens.ask_line import AskLine
from tui.screens.panes import PaneScreen
from tui.widgets.chat_pane import ChatPane
from tui.widgets.prompt import Draft, PromptText
from tui.widgets.transcript import Transcript

NO_BRANCH = "There is no further branch at this turn"


class TurnScreen(PaneScreen):
    """Panes whose turns can be worked on."""

    def __init__(self, adapter: Callable[[str], Adapter] | None = None) -> None:
        super().__init__(adapter)
        self._editing: tuple[ChatPane, str] | None = None
        """The pane and the turn whose text stands in the prompt; None: the prompt is for something new."""

    def on_transcript_wished(self, event: Transcript.Wished) -> None:
        """Copy, edit, delete a turn, or walk to the branch beside it."""
        pane = event.transcript.parent
        entry = event.transcript.chosen
        if not isinstance(pane, ChatPane) or entry is None:
            return
        match event.what:
            case "copy" if pane.duel is not None:
                self.notify(printable(copy(self.app, pane.duel_words(), "The comparison")), markup=False)
            case "copy":
                self.notify(printable(copy(self.app, entry.text, "The turn")), markup=False)
            case "copy_code":
                blocks = code_blocks(entry.text)
                if blocks:
                    self.notify(printable(copy(self.app, blocks[-1], "The last code block")), markup=False)
                else:
                    self.notify("There is no code in this turn")
            case "edit":
                self._edit(pane, entry.key)
            case "previous" | "next" | "branch_before" | "branch_after":
                back = event.what in ("previous", "branch_before")
                key = pane.branching() if pane.completes else entry.key
                if key is None or not pane.walk(key, -1 if back else 1):
                    self.notify("There is no further branch of this text" if pane.completes else NO_BRANCH)
            case "delete" if not pane.completes:
                self._delete(pane, entry.key)

    def _edit(self, pane: ChatPane, key: str) -> None:
        """Put a turn into the prompt; what is sent then becomes a branch beside it."""
        if pane.completes:
            path = pane.conversation.path()
            if not path:
                return
            key = path[0].id
            text = "".join(n.text for n in path)
        else:
            text = pane.conversation.node(key).text
        self.activate(pane)
        pane.draft = self.prompt.draft
        self._editing = (pane, key)
        self.prompt.draft = Draft(text)
        self.prompt.area.focus()
        self._say_prompt()

    def _send_edit(self, draft: Draft) -> None:
        if self._editing is None:
            return
        pane, key = self._editing
        if draft and key in pane.conversation:
            self._editing = None
            pane.edit(key, draft.whole)
            self.prompt.draft = pane.draft
            self._say_prompt()

    def _stop_editing(self) -> None:
        if self._editing is not None:
            pane, _ = self._editing
            self._editing = None
            self.prompt.draft = pane.draft
            self._say_prompt()

    def _delete(self, pane: ChatPane, key: str) -> None:
        after = len(pane.conversation.below(key))

        def answered(yes: bool | None) -> None:
            if yes and key in pane.conversation:
                pane.delete(key)

        more = {0: "", 1: " and the one that follows it"}.get(
            after, f" and the {after} that follow it, on all branches"
        )
        self.app.push_screen(Ask("Delete this turn", f"Delete this turn{more}?"), answered)

    def on_prompt_text_attach_wanted(self, event: PromptText.AttachWanted) -> None:
        event.stop()

        def named(name: str | None) -> None:
            if name and name.strip():
                problem = self.prompt.attach_file(Path(name.strip()))
                if problem:
                    self.notify(printable(problem), severity="warning", markup=False)

        self.app.push_screen(AskLine("Send a text file along", placeholder="its path"), named)
