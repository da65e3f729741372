"""The line that one types into: it grows, remembers, takes large pastes and files as blocks."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static, TextArea

from specs.text import printable
from tui.chat_keys import PROMPT
from tui.editor import edit_file
from tui.units import file_size
from tui.widgets.typing_line import InTurn

LARGE_PASTE = 8_000
"""Characters of a paste above which it becomes a block instead of text to edit."""
LARGEST_ATTACHMENT_BYTES = 16 << 20
REMEMBERED = 500


@dataclass(frozen=True, slots=True)
class Attachment:
    """A text that goes with a prompt without standing in the line."""

    name: str
    text: str

    @property
    def label(self) -> str:
        """What it is and how much."""
        lines = self.text.count("\n") + (not self.text.endswith("\n"))
        many = "1 line" if lines == 1 else f"{lines:,} lines"
        return f"{self.name}, {file_size(len(self.text.encode('utf-8', 'replace')))}, {many}"


@dataclass(frozen=True, slots=True)
class Draft:
    """What stands in a prompt."""

    text: str = ""
    attachments: tuple[Attachment, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.text.strip() or self.attachments)

    @property
    def whole(self) -> str:
        """The text with its attachments above it, as the model reads it."""
        blocks = []
        for attachment in self.attachments:
            if attachment.name == PASTED:
                blocks.append(attachment.text)
                continue
            fence = "```"
            while fence in attachment.text:
                fence += "`"
            blocks.append(f"{attachment.name}:\n{fence}\n{attachment.text}\n{fence}")
        return "\n\n".join([*blocks, self.text] if self.text.strip() else blocks)


PASTED = "pasted text"


class PromptText(InTurn, TextArea):
    """The text itself."""

    BINDINGS: ClassVar[list[BindingType]] = [*PROMPT]
    has_listener = True
    """Whether a model is there, or on its way, that reads what is sent."""

    class Submitted(Message):
        """The user wants it sent."""

    class Pasted(Message):
        """More came at once than one edits."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Recalled(Message):
        """The user asks for the prompt before or after."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    class AttachWanted(Message):
        """The user wants to name a file."""

    class NewlineWanted(Message, bubble=False):
        """A new line is to begin behind what was typed before it."""

    def leaves(self, key: str) -> bool:
        # There it takes the attachments away, one by one.
        return key == "backspace" and self.cursor_at_start_of_text and not self.selected_text

    def key_label(self, binding: Binding) -> str | None:  # noqa: ARG002
        """Nothing to offer where nobody reads what is sent."""
        return None if self.has_listener else ""

    def action_send(self) -> None:
        self.post_message(self.Submitted())

    def action_attach(self) -> None:
        self.post_message(self.AttachWanted())

    def action_newline(self) -> None:
        # A key of priority overtakes the letters typed before it, which wait in our queue.
        self.post_message(self.NewlineWanted())

    def on_prompt_text_newline_wanted(self) -> None:
        start, end = self.selection
        self._replace_via_keyboard("\n", start, end)

    def action_editor(self) -> None:
        """Write in $VISUAL or $EDITOR."""
        edited = edit_in_editor(self, self.text)
        if edited is not None:
            self.text = edited
            self.move_cursor(self.document.end)

    def action_cursor_up(self, select: bool = False) -> None:
        if not select and self.navigator.is_first_wrapped_line(self.cursor_location):
            self.post_message(self.Recalled(-1))
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if not select and self.navigator.is_last_wrapped_line(self.cursor_location):
            self.post_message(self.Recalled(1))
        else:
            super().action_cursor_down(select)

    async def _on_paste(self, event: events.Paste) -> None:
        if len(event.text) > LARGE_PASTE:
            event.stop()
            event.prevent_default()
            self.post_message(self.Pasted(event.text))
            return
        await super()._on_paste(event)
        event.prevent_default()


class Prompt(Vertical):
    """Multi-line input with attachments, a memory of prompts, and a title that says where it goes."""

    DEFAULT_CSS = """
    Prompt {
        height: auto;
        max-height: 12;
        border: round $border-blurred;
        padding: 0 1;
        background: $background;
        border-title-color: $foreground 70%;
        border-subtitle-color: $foreground 70%;
        &:focus-within { border: round $border; border-title-color: $foreground; }
        &.-over { border-subtitle-color: $warning; }
        & #attachments { height: auto; max-height: 3; color: $accent; display: none; }
        & #attachments.-some { display: block; }
        & PromptText {
            height: auto;
            min-height: 1;
            max-height: 8;
            border: none;
            padding: 0;
            background: $background;
            scrollbar-size-vertical: 1;
            & .text-area--cursor-line { background: $background; }
            &:focus { border: none; }
        }
    }
    """

    class Sent(Message):
        """A prompt to answer."""

        def __init__(self, draft: Draft) -> None:
            super().__init__()
            self.draft = draft

    class Edited(Message):
        """The draft changed."""

        def __init__(self, draft: Draft) -> None:
            super().__init__()
            self.draft = draft

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.attachments: tuple[Attachment, ...] = ()
        self.remembered: list[str] = []
        """Prompts sent before, oldest first."""
        self._recalled: int | None = None
        self._unsent = ""

    def compose(self) -> ComposeResult:
        yield Static(id="attachments")
        text = PromptText(
            soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False, placeholder="Say something"
        )
        text.cursor_blink = False
        yield text

    @property
    def area(self) -> PromptText:
        """The text area."""
        return self.query_one(PromptText)

    @property
    def draft(self) -> Draft:
        """What stands here now."""
        return Draft(self.area.text, self.attachments)

    @draft.setter
    def draft(self, draft: Draft) -> None:
        self.area.text = draft.text
        self.area.move_cursor(self.area.document.end)
        self.attach(draft.attachments)

    def attach(self, attachments: tuple[Attachment, ...]) -> None:
        """These blocks go with the prompt, and no others."""
        self.attachments = attachments
        shown = self.query_one("#attachments", Static)
        shown.set_class(bool(attachments), "-some")
        lines = [f"+ {printable(attachment.label)}" for attachment in attachments]
        shown.update(Content("\n".join([*lines, "backspace at the start takes the last one away"]) if lines else ""))
        self.post_message(self.Edited(self.draft))

    def attach_file(self, path: Path) -> str | None:
        """Attach a text file; returns what is wrong with it, in one line, or None."""
        path = path.expanduser()
        try:
            if not path.is_file():
                return f"{path}: there is no such file"
            if path.stat().st_size > LARGEST_ATTACHMENT_BYTES:
                most = file_size(LARGEST_ATTACHMENT_BYTES)
                return f"{path} has {file_size(path.stat().st_size)}; at most {most} go along"
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            return f"{path} is no UTF-8 text"
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
        self.attach((*self.attachments, Attachment(path.name, text)))
        return None

    def clear(self) -> None:
        """Empty, ready for the next."""
        self.draft = Draft()
        self._recalled = None

    def on_prompt_text_submitted(self, event: PromptText.Submitted) -> None:
        event.stop()
        draft = self.draft
        self.post_message(self.Sent(draft))

    def remember(self, text: str) -> None:
        """Keep a sent prompt for the up key."""
        if text.strip() and (not self.remembered or self.remembered[-1] != text):
            self.remembered.append(text)
            del self.remembered[:-REMEMBERED]
        self._recalled = None

    def on_prompt_text_pasted(self, event: PromptText.Pasted) -> None:
        event.stop()
        text = event.text.replace("\r\n", "\n").replace("\r", "\n")
        self.attach((*self.attachments, Attachment(PASTED, text)))

    def on_prompt_text_recalled(self, event: PromptText.Recalled) -> None:
        event.stop()
        if not self.remembered:
            return
        if self._recalled is None:
            if event.step > 0:
                return
            self._unsent = self.area.text
            at = len(self.remembered)
        else:
            at = self._recalled
        at = max(0, min(len(self.remembered), at + event.step))
        self._recalled = None if at == len(self.remembered) else at
        self.area.text = self._unsent if self._recalled is None else self.remembered[at]
        self.area.move_cursor(self.area.document.end if event.step < 0 else (0, 0))

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self.post_message(self.Edited(self.draft))

    def on_key(self, event: events.Key) -> None:
        if (
            event.key == "backspace"
            and self.attachments
            and self.area.cursor_at_start_of_text
            and not self.area.selected_text
        ):
            event.stop()
            self.attach(self.attachments[:-1])


def edit_in_editor(widget: TextArea, text: str) -> str | None:
    """The text as the user left it in $VISUAL or $EDITOR; None when that did not work, and the screen says why."""
    with tempfile.TemporaryDirectory(prefix="modeldeck-") as folder:
        file = Path(folder) / "prompt.md"
        file.write_text(text, encoding="utf-8")
        if not edit_file(widget.app, file, "the prompt"):
            return None
        return file.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
