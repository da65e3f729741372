"""Editing, branching, copying, attaching, and the history on the screen."""

from __future__ import annotations

import shutil
import stat
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from chat_app import Chat, RunChat, load_request, long_conversation
from textual.widgets import Input, Static, TextArea

from backends.engines.engine import Alternative, Chunk, Turn
from backends.engines.scripted import ScriptedAdapter
from backends.exports import to_json
from backends.history import History
from tui.screens.ask import Ask
from tui.screens.chat_settings import ChatSettings, Cycle
from tui.screens.conversations import Conversations
from tui.screens.loaded import Loaded, ModelList
from tui.widgets.prompt import Attachment


async def test_an_edited_prompt_is_answered_on_its_own_branch(chat: RunChat) -> None:
    async with chat(ScriptedAdapter(lambda turns: f"answer to {turns[-1].text}")) as c:
        await c.load()
        await c.say("first")
        await c.pilot.press("tab", "up", "e")
        assert c.screen.prompt.area.text == "first"
        c.screen.prompt.area.text = "second"
        await c.pilot.press("enter")
        await c.quiet()
        assert [n.text for n in c.pane.conversation.path()] == ["second", "answer to second"]
        assert "2 of 2" in c.shown()


async def test_the_arrows_walk_the_branches(chat: RunChat) -> None:
    answers = iter(["one", "two"])
    async with chat(ScriptedAdapter(lambda turns: next(answers))) as c:
        await c.load()
        await c.say("go")
        await c.pilot.press("ctrl+r")
        await c.quiet()
        await c.pilot.press("tab", "left")
        await c.pilot.pause()
        assert "one" in c.shown()
        assert "1 of 2" in c.shown()
        await c.pilot.press("right")
        await c.pilot.pause()
        assert "two" in c.shown()


async def test_escape_leaves_a_turn_as_it_was(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.say("first")
        await c.type("my draft")
        await c.pilot.press("tab", "up", "e", "escape")
        await c.pilot.pause()
        assert len(c.pane.conversation.nodes) == 2
        assert c.screen.prompt.area.text == "my draft"


async def test_deleting_asks_and_takes_what_follows_along(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.say("one")
        await c.say("two")
        await c.pilot.press("tab", "up", "x")
        await c.pilot.press("enter")
        await c.pilot.pause()
        assert [n.text for n in c.pane.conversation.path()][:1] == ["one"]
        assert len(c.pane.conversation.path()) == 2


async def test_copying_asks_the_terminal_and_writes_a_file(chat: RunChat, home: Path) -> None:
    async with chat(ScriptedAdapter("See:\n\n```python\nx = 1\n```\n")) as c:
        await c.load()
        await c.say("go")
        await c.pilot.press("tab", "y")
        await c.pilot.pause()
        assert c.app.clipboard == "x = 1"
        assert (home / "cache" / "copied.txt").read_text() == "x = 1"
        assert stat.S_IMODE((home / "cache" / "copied.txt").stat().st_mode) == 0o600


def test_tmux_gets_the_sequence_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    from tui.clipboard import LONGEST_SEQUENCE, sequence

    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert sequence("hi") == "\x1b]52;c;aGk=\x07"
    monkeypatch.setenv("TMUX", "/tmp/tmux,1,0")
    assert sequence("hi") == "\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\"
    assert sequence("x" * LONGEST_SEQUENCE) is None


def test_tmux_gets_it_bare_as_well_for_its_own_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    from tui.clipboard import LONGEST_SEQUENCE, written

    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert written("hi") == "\x1b]52;c;aGk=\x07"
    monkeypatch.setenv("TMUX", "/tmp/tmux,1,0")
    assert written("hi") == "\x1b]52;c;aGk=\x07\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\"
    assert written("x" * LONGEST_SEQUENCE) is None


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_a_tmux_as_it_comes_has_the_text_in_its_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tui.clipboard import to_tmux

    socket = str(tmp_path / "s")

    def tmux(*arguments: str) -> str:
        asked = ["tmux", "-S", socket, "-f", "/dev/null", *arguments]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout

    monkeypatch.delenv("TMUX", raising=False)
    assert not to_tmux("nobody there")
    tmux("new-session", "-d", "sleep 60")
    try:
        monkeypatch.setenv("TMUX", f"{socket},1,0")
        text = "über alles\n" * 20_000
        assert to_tmux(text)
        assert tmux("show-buffer") == text
    finally:
        tmux("kill-server")


async def test_a_text_file_goes_along(chat: RunChat, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("my notes")
    async with chat() as c:
        await c.load()
        await c.pilot.press("ctrl+t")
        await c.answer(str(tmp_path / "notes.md"))
        await c.pilot.pause()
        await c.say("What is this?")
        assert c.engine.calls[0].turns == (Turn("user", "notes.md:\n```\nmy notes\n```\n\nWhat is this?"),)


async def test_a_file_that_cannot_go_along_says_why(chat: RunChat, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff")
    async with chat() as c:
        assert "no UTF-8" in (c.screen.prompt.attach_file(tmp_path / "picture") or "")
        assert "no such file" in (c.screen.prompt.attach_file(tmp_path / "none") or "")


@pytest.mark.parametrize(
    ("text", "lines"),
    [("def f():\n    return 1\n", "2 lines"), ("a\nb", "2 lines"), ("a", "1 line"), ("a\n", "1 line")],
)
def test_an_attachments_lines_are_counted_as_an_editor_counts_them(text: str, lines: str) -> None:
    assert Attachment("f.py", text).label.endswith(f" B, {lines}")


async def test_two_megabytes_pasted_become_a_block(chat: RunChat) -> None:
    from textual import events

    pasted = "words and words\n" * 130_000
    async with chat() as c:
        await c.load(load_request(context=2_000_000))
        c.screen.prompt.area.post_message(events.Paste(pasted))
        await c.pilot.pause()
        assert "2.08 MB" in str(c.screen.prompt.query_one("#attachments").render())
        assert c.screen.prompt.area.text == ""
        await c.pilot.press("enter")
        await c.until(lambda: c.pane.conversation.nodes)
        assert c.pane.conversation.path()[0].text == pasted
        await c.quiet()
        assert "130,001 lines" in "".join(
            s.text for e in c.pane.transcript.entries[:1] for n in range(e.height or 0) for s in e.line(n)
        )


async def test_up_brings_earlier_prompts_back_and_down_the_draft(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.say("one")
        await c.say("two")
        await c.type("draft")
        await c.pilot.press("up")
        assert c.screen.prompt.area.text == "two"
        await c.pilot.press("up")
        assert c.screen.prompt.area.text == "one"
        await c.pilot.press("down", "down")
        assert c.screen.prompt.area.text == "draft"


async def test_newlines_by_key_and_the_prompt_grows_to_eight_lines(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        for _ in range(12):
            await c.pilot.press("a", "ctrl+j")
        await c.pilot.pause()
        assert c.screen.prompt.area.text.count("\n") == 12
        assert c.screen.prompt.area.size.height == 8


async def test_an_alternative_token_is_chosen_and_gone_on_from(chat: RunChat) -> None:
    spots = (Alternative(" sun", 1, -0.1), Alternative(" moon", 2, -2.5))
    answers = iter([[Chunk(" the"), Chunk(" sun", tokens=1, alternatives=(spots,)), Chunk(" rose")], [" set"]])
    async with chat(ScriptedAdapter(lambda turns: next(answers))) as c:
        await c.load(load_request(chats=False))
        await c.say("Then")
        await c.pilot.press("tab", "left")
        await c.pilot.pause()
        assert '2  " moon"    8 %' in str(c.pane.query_one("#notice").render())
        await c.pilot.press("2")
        await c.quiet()
        assert c.engine.calls[-1].prompt == "Then the moon"
        assert "Then the moon set" in c.shown()
        assert len(c.pane.conversation.siblings(c.pane.conversation.leaf or "")) == 2


async def test_what_is_shown_is_in_the_history_while_the_answer_runs(chat: RunChat) -> None:
    never = threading.Event()
    async with chat(ScriptedAdapter(["<think>", "hm", "</think>", "What", " came", never])) as c:
        await c.load()
        await c.type("go")
        await c.pilot.press("enter")
        await c.until(lambda: "What came" in c.shown())
        assert c.screen.history.flush()
        kept = c.screen.history.load(c.pane.conversation.id)
        assert [(n.text, n.reasoning) for n in kept.path()] == [("go", ""), ("What came", "hm")]
        assert kept.path()[-1].stop_reason is None


async def test_a_finished_conversation_is_found_and_opened_again(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("Rayleigh scattering.")) as c:
        await c.load()
        await c.say("Why is the sky blue?")
    async with chat() as c:
        await c.load()
        await c.pilot.press("f3")
        await c.until(lambda: isinstance(c.app.screen, Conversations) and c.app.screen.focused)
        await c.pilot.press("slash", *"rayleigh", "enter", "enter")
        await c.until(lambda: c.app.screen is c.screen and c.pane.transcript.entries)
        assert "Rayleigh scattering." in c.shown()
        await c.say("And at dusk?")
        assert c.engine.calls[-1].turns[0] == Turn("user", "Why is the sky blue?")


def painted(c: Chat, field: Input) -> str:
    """What stands on the screen where the field is."""
    rows = c.app.screen._compositor.render_strips()
    region = field.region
    return "\n".join(rows[y].crop(region.x, region.right).text for y in range(region.y, region.bottom))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_what_is_typed_into_the_search_and_the_settings_can_be_read(chat: RunChat, size: tuple[int, int]) -> None:
    async with chat(size=size) as c:
        await c.load()
        await c.say("hello")
        await c.pilot.press("f3")
        await c.until(lambda: isinstance(c.app.screen, Conversations) and c.app.screen.focused)
        await c.pilot.press("slash", *"hello")
        await c.pilot.pause()
        assert painted(c, c.app.screen.query_one("#search", Input)).strip() == "hello"
        assert c.app.screen.query_one("#keys").region.height == 1
        await c.pilot.press("escape", "escape")
        await c.until(lambda: c.app.screen is c.screen)
        await c.pilot.press("f2")
        await c.until(lambda: isinstance(c.app.screen, ChatSettings) and c.app.screen.focused)
        field = c.app.screen.query_one("#temperature", Input)
        field.focus()
        await c.pilot.pause()
        assert painted(c, field).strip() == "0.7"


async def test_conversations_are_renamed_pinned_and_deleted_by_key(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.say("hello")
        await c.pilot.press("f3")
        await c.until(lambda: isinstance(c.app.screen, Conversations) and c.app.screen.focused)
        screen = c.app.screen
        assert isinstance(screen, Conversations)
        await c.pilot.press("r")
        await c.answer("Greetings")
        await c.pilot.pause()
        await c.pilot.press("p")
        await c.pilot.pause()
        assert [(s.name, s.pinned) for s in screen.list.summaries] == [("Greetings", True)]
        await c.pilot.press("x", "enter")
        await c.pilot.pause()
        assert screen.list.summaries == ()


async def test_a_conversation_goes_out_as_markdown_and_json_and_comes_back(chat: RunChat, tmp_path: Path) -> None:
    async with chat(ScriptedAdapter("an answer")) as c:
        await c.load()
        await c.say("hello")
        await c.pilot.press("f3")
        await c.until(lambda: isinstance(c.app.screen, Conversations) and c.app.screen.focused)
        screen = c.app.screen
        assert isinstance(screen, Conversations)
        for key, name in (("m", "out.md"), ("s", "out.json")):
            await c.pilot.press(key)
            await c.answer(str(tmp_path / name))
            await c.pilot.pause()
        assert "## You\n\nhello" in (tmp_path / "out.md").read_text()
        await c.pilot.press("i")
        await c.answer(str(tmp_path / "out.json"))
        await c.pilot.pause()
        assert [s.name for s in screen.list.summaries] == ["hello", "hello"]


async def test_the_list_says_by_which_id_the_command_line_goes_on(chat: RunChat) -> None:
    async with chat(size=(80, 24)) as c:
        await c.load()
        c.screen.history.save_all(replace(long_conversation(2), id="older0", updated=1.0))
        await c.say("hello")
        await c.pilot.press("f3")
        await c.until(lambda: isinstance(c.app.screen, Conversations) and c.app.screen.focused)

        def line() -> str:
            return str(c.app.screen.query_one("#which", Static).render())

        assert line() == f"launch --conversation {c.pane.conversation.id} goes on with it"
        await c.pilot.press("down")
        await c.pilot.pause()
        assert line() == "launch --conversation older0 goes on with it"
        await c.pilot.press("slash", *"nobody-said-this")
        await c.pilot.pause()
        assert line() == ""


async def test_a_conversation_that_was_brought_in_is_under_the_cursor_however_old_it_is(
    chat: RunChat, tmp_path: Path
) -> None:
    file = tmp_path / "old.json"
    file.write_text(to_json(replace(long_conversation(2), created=5.0, updated=5.0)))
    async with chat() as c:
        await c.load()
        await c.say("newer")
        await c.pilot.press("f3")
        await c.until(lambda: isinstance(c.app.screen, Conversations) and c.app.screen.focused)
        screen = c.app.screen
        assert isinstance(screen, Conversations)
        await c.pilot.press("i")
        await c.answer(str(file))
        await c.until(lambda: len(screen.list.summaries) == 2)
        assert screen.chosen is not None
        assert screen.chosen.name.startswith("0 Sunlight")
        assert screen.list.cursor == 1


async def test_a_damaged_history_is_said_and_talking_goes_on(chat: RunChat, home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "modeldeck.sqlite3").write_bytes(b"garbage" * 1000)
    async with chat(ScriptedAdapter("fine")) as c:
        await c.load()
        await c.say("go")
        assert "fine" in c.shown()
        assert "damaged" in (c.screen.history.note or "")
    again = History()
    assert again.conversations()[0].name == "go"
    again.close()


async def test_the_system_prompt_and_the_sampling_go_to_the_engine(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.pilot.press("f2")
        await c.until(lambda: isinstance(c.app.screen, ChatSettings) and c.app.screen.focused)
        settings = c.app.screen
        settings.query_one(TextArea).text = "Be brief"
        settings.query_one("#preset", Cycle).focus()
        await c.pilot.press("right")
        settings.query_one("#seed", Input).value = "7"
        settings.query_one("#thinking", Cycle).at = 2
        await c.pilot.press("ctrl+s")
        await c.until(lambda: c.app.screen is c.screen)
        await c.say("go")
        call = c.engine.calls[0]
        assert call.turns[0] == Turn("system", "Be brief")
        assert (call.sampling.temperature, call.sampling.seed, call.sampling.thinking) == (0.0, 7, False)


async def test_a_number_out_of_range_is_said_and_nothing_is_taken_over(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.pilot.press("f2")
        await c.until(lambda: isinstance(c.app.screen, ChatSettings) and c.app.screen.focused)
        settings = c.app.screen
        settings.query_one("#top_p", Input).value = "3"
        await c.pilot.press("ctrl+s")
        await c.pilot.pause()
        assert "top p: expected a number from 0 to 1" in str(settings.query_one("#wrong").render())


async def test_loaded_models_are_listed_and_unloaded_by_key(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.pilot.press("f4")
        await c.until(lambda: isinstance(c.app.screen, Loaded) and c.app.screen.focused)
        assert "8B Q4_K_M" in c.app.screen.query_one(ModelList).render_line(0).text
        await c.pilot.press("u")
        await c.until(lambda: c.pane.state == "unloaded")
        await c.pilot.press("escape")
        await c.until(lambda: c.app.screen is c.screen)
        assert c.engine.closed
        await c.pilot.press("ctrl+l")
        await c.until(lambda: c.pane.state == "ready")


async def test_a_completion_walks_back_to_the_branch_before(chat: RunChat) -> None:
    spots = (Alternative(" sun", 1, -0.1), Alternative(" moon", 2, -2.5))
    answers = iter([[Chunk(" the"), Chunk(" sun", tokens=1, alternatives=(spots,)), Chunk(" rose")], [" set"]])
    async with chat(ScriptedAdapter(lambda turns: next(answers))) as c:
        await c.load(load_request(chats=False))
        await c.say("Then")
        assert "branch" not in c.shown()
        await c.pilot.press("tab", "left", "2")
        await c.quiet()
        assert "branch 2 of 2" in c.shown()
        await c.pilot.press("[")
        await c.until(lambda: "Then the sun rose" in c.shown())
        assert "branch 1 of 2" in c.shown()
        await c.pilot.press("[")
        await c.pilot.pause()
        assert "Then the sun rose" in c.shown()
        await c.pilot.press("]")
        await c.until(lambda: "Then the moon set" in c.shown())


async def test_a_completions_branches_further_up_are_reached_from_the_token_there(chat: RunChat) -> None:
    spots = (Alternative(" sun", 1, -0.1), Alternative(" moon", 2, -2.5))
    first = [Chunk(" the"), Chunk(" sun", tokens=1, alternatives=(spots,))]
    answers = iter([first, [" set"], [" one"], [" two"]])
    async with chat(ScriptedAdapter(lambda turns: next(answers))) as c:
        await c.load(load_request(chats=False))
        await c.say("Then")
        await c.pilot.press("tab", "left", "2")
        await c.quiet()
        await c.pilot.press("tab")
        await c.say(" and")
        await c.pilot.press("ctrl+r")
        await c.quiet()
        assert "Then the moon set and two" in c.shown()
        await c.pilot.press("tab", "[")
        await c.until(lambda: "Then the moon set and one" in c.shown())
        await c.pilot.press("left", "[")
        await c.until(lambda: "Then the sun" in c.shown())


async def test_deleting_says_how_many_turns_go_on_every_branch(chat: RunChat) -> None:
    async with chat(ScriptedAdapter("yes")) as c:
        await c.load()
        await c.say("one")
        await c.pilot.press("ctrl+r")
        await c.quiet()
        await c.say("two")
        await c.pilot.press("tab", "home", "up", "up", "up", "x")
        await c.until(lambda: isinstance(c.app.screen, Ask))
        asked = " ".join(str(widget.render()) for widget in c.app.screen.query(Static))
        assert "and the 4 that follow it, on all branches?" in asked


async def test_with_one_pane_f9_says_so_and_goes_nowhere(chat: RunChat) -> None:
    async with chat() as c:
        pane = await c.load()
        await c.pilot.press("f9")
        await c.pilot.pause()
        assert c.screen.active_pane is pane
        assert any("no other pane" in str(one.message) for one in c.app._notifications)


async def test_the_preset_says_what_the_numbers_are_while_they_change(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.pilot.press("f2")
        await c.until(lambda: isinstance(c.app.screen, ChatSettings) and c.app.screen.focused)
        settings = c.app.screen
        preset, temperature = settings.query_one("#preset", Cycle), settings.query_one("#temperature", Input)
        before = temperature.value
        temperature.value = "1.234"
        await c.until(lambda: preset.words[preset.at] == "your own")
        temperature.value = before
        await c.until(lambda: preset.words[preset.at] == "balanced")
        preset.focus()
        for _ in preset.words:
            await c.pilot.press("right")
        await c.until(lambda: preset.words[preset.at] == "balanced")


async def test_a_conversation_opened_without_a_model_says_how_to_go_on(chat: RunChat) -> None:
    async with chat() as c:
        await c.load()
        await c.say("Why is the sky blue?")
        assert c.screen.history.flush()
        name = c.pane.conversation.id
        await c.pilot.press("f12")
        await c.screen.open_conversation(name)
        await c.pilot.pause()
        assert "f5 chooses one" in c.notice(c.pane)
        assert c.screen.prompt.area.placeholder == "Load a model first: f5"
        await c.type("and at night?")
        await c.pilot.press("enter", "ctrl+r")
        await c.pilot.pause()
        assert c.screen.prompt.area.text == "and at night?"
        assert {str(one.message) for one in c.app._notifications} == {"No model is loaded: f5 shows what runs here"}
        await c.load()
        await c.pilot.press("enter")
        await c.quiet()
        assert [turn.text for turn in c.engine.calls[-1].turns][::2] == ["Why is the sky blue?", "and at night?"]
