"""Model output that would rather draw elsewhere: shown as text, inside its pane."""

from __future__ import annotations

import random
import re
import sys
import textwrap
import unicodedata
from pathlib import Path
from time import perf_counter

from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.color import Color
from ttybench import TtySession

from tui.widgets.entry import Entry
from tui.widgets.palette import Palette
from tui.widgets.passage import Passage

ROOT = Path(__file__).parents[3]
PALETTE = Palette({"foreground": "#ffffff"}, Color.parse("#000000"))
PIECES = (
    "\x1b[2J", "\x1b[31m", "\x1b]52;c;aGk=\x07", "\x1b]0;title\x07", "\x1bP+q\x1b\\", "\x9b2J", "\x9d52;c;eA==\x9c",
    "\x1bc", "\x1b[?1049l", "\x1b[6n", "\x08\x08", "\r", "\n", "\t", "\x00", "\x7f", "\u202e", "\u2066", "\u200b",
    "\u200d", "\ufeff", "\u0301" * 20, "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f",
    "\U0001f1e9\U0001f1ea", "\u4e2d\u6587\u5b57", "\uff71", "[bold red]x[/]", "[link=http://x]y[/link]",
    "&#27;", "&#8238;", "&#9;", "&lt;", "```", "```python\n", "| a | b |\n|---|---|\n", "|" * 40, "> " * 12, "- ",
    "1. ", "# ", "$$", "\\(", "\\[", "**", "__", "[x](y)", "![i](\x1b]8;;)", "<script>", "word ", "a" * 90,
    "\ud800", "\U000e0041",
)  # fmt: skip
hostile = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=60).map("".join)


def drawn(entry: Entry, width: int) -> list[str]:
    entry.draw(width, PALETTE)
    return ["".join(s.text for s in entry.line(n)) for n in range(entry.height or 0)]


def check(lines: list[str], width: int) -> None:
    for line in lines:
        assert cell_len(line) == width, line
        for character in line:
            category = unicodedata.category(character)
            joiner = character in "\u200c\u200d"
            assert category not in ("Cc", "Cs", "Zl", "Zp") and (category != "Cf" or joiner), repr(character)


@settings(max_examples=150, deadline=None)
@given(hostile, st.integers(8, 100), st.integers(1, 9))
@example("\x1b[2J| a | b |\n|---|---|\n| \x1b[31m | x |", 20, 1)
def test_an_answer_stays_in_its_lines_however_it_arrives(text: str, width: int, step: int) -> None:
    entry = Entry("a", "assistant")
    entry.streaming = True
    for at in range(0, len(text), step * 7):
        entry.append(text[at : at + step * 7])
        check(drawn(entry, width), width)
    entry.finish()
    check(drawn(entry, width), width)


@settings(max_examples=60, deadline=None)
@given(hostile, st.integers(8, 100))
def test_a_prompt_thinking_and_a_passage_stay_in_their_lines(text: str, width: int) -> None:
    check(drawn(Entry("u", "user", text, branch="1 of 2"), width), width)
    thinker = Entry("a", "assistant", "x", reasoning=text, note=text)
    thinker.folded = False
    check(drawn(thinker, width), width)
    passage = Passage()
    passage.add("n", text, generated=True)
    check(drawn(passage, width), width)


def test_what_a_token_costs_does_not_grow_with_the_answer() -> None:
    kinds = {
        "words": "and so it goes on ",
        "one word": "a" * 18,
        "paragraphs": "and so it goes on.\n\n",
        "lines": "and so it goes\n",
        "code": "x = [1, 2, 3]\n",
        "rows": "| a | b |\n",
        "items": "- and so on\n",
        "quotes": "> and so on\n",
        "maths": "x^2 + y\n",
    }
    starts = {"code": "```python\n", "rows": "| a | b |\n|---|---|\n", "maths": "$$\n"}
    for name, piece in kinds.items():
        entry = Entry("a", "assistant", "")
        entry.append(starts.get(name, ""))
        widest = 0
        for _ in range(3_000):
            entry.append(piece)
            widest = max(widest, len(entry._body._stream.rest()), sum(len(p.lines) for p in entry._body._stream.rest()))
        # Counted, not timed: what is drawn again is bounded whatever the length.
        assert widest <= 700, name


def test_a_million_characters_and_500_columns_are_drawn_within_reason() -> None:
    begun = perf_counter()
    drawn(Entry("a", "assistant", "x" * 1_000_000), 80)
    drawn(Entry("a", "assistant", ("|" + "a|" * 500 + "\n|" + "-|" * 500 + "\n") + ("|" + "b|" * 500 + "\n") * 20), 80)
    drawn(Entry("a", "assistant", "[" * 20_000 + "*_`" * 5_000), 80)
    # No claim of speed: a quadratic way takes minutes here.
    assert perf_counter() - begun < 60


APP = """
import os, sys
sys.path[:0] = [{root!r}, {standins!r}]
from pathlib import Path
os.environ["MODELDECK_HOME"] = {home!r}
os.environ["MODELDECK_ASCII"] = "0"
from tui.terminal import claim_terminal
release = claim_terminal(Path({home!r}) / "log")
import chat_app
from backends.engines.scripted import ScriptedAdapter
text = Path({text!r}).read_text(encoding="utf-8", errors="surrogatepass")
steps = [text[n : n + 5] for n in range(0, len(text), 5)]
adapter = ScriptedAdapter(lambda turns: ["calm words"] if "calm" in turns[-1].text else steps)
class App(chat_app.ChatApp):
    CSS_PATH = chat_app.ChatApp.CSS_PATH
    async def on_ready(self):
        screen = self.screen
        await screen.load(chat_app.load_request())
        await screen.load(chat_app.load_request(quantization="Q8_0"), beside=True)
App(adapter).run()
release()
"""


def test_nothing_outside_the_pane_changes_on_a_real_terminal(tmp_path: Path) -> None:
    chance = random.Random(7)
    text = "".join(chance.choice(PIECES) for _ in range(600)) + "\n\n```\n\nTHE END"
    (tmp_path / "text").write_text(text, encoding="utf-8", errors="surrogatepass")
    script = tmp_path / "app.py"
    names = {"root": str(ROOT), "standins": str(ROOT / "tests/standins"), "home": str(tmp_path / "home")}
    script.write_text(textwrap.dedent(APP).format(text=str(tmp_path / "text"), **names))
    environment = {"LANG": "C.UTF-8", "TEXTUAL_ANIMATIONS": "none", "PYTHONPATH": str(ROOT)}
    with TtySession([sys.executable, str(script)], 120, 30, env=environment) as session:
        assert session.wait_for("to llama-3-instruct 8B Q8_0") is not None, session.dump_text()
        session.send(b"\x1b[20~")  # f9: the first pane
        assert session.wait_for("to llama-3-instruct 8B Q4_K_M") is not None, session.dump_text()
        session.send(b"calm\r")
        assert session.wait_for("calm words") is not None, session.dump_text()
        session.send(b"\x1b[20~")
        assert session.wait_for("to llama-3-instruct 8B Q8_0") is not None, session.dump_text()
        before = session.dump_text().splitlines()
        session.keep_raw = True
        session.send(b"wild\r")
        assert session.wait_for("THE END") is not None, session.dump_text()
        assert session.wait_for("tok/s .* tok/s|tok/s") is not None
        after = session.dump_text().splitlines()
        raw = b"".join(data for _, data in session.raw)
    left = [line[:60] for line in before[1:26]]
    assert [line[:60] for line in after[1:26]] == left
    assert after[0] == before[0]
    assert after[-1].split()[:2] == before[-1].split()[:2]
    # What Textual itself sends: colours, cursor moves, synchronised updates; nothing of the model's.
    for sequence in re.findall(rb"\x1b(?:\[[0-9;?$>=]*[A-Za-z]|.)", raw):
        assert re.fullmatch(
            rb"\x1b\[[0-9;]*[mHABCD]|\x1b\[\?(?:25|2026|1004)[hl]|\x1b\[[0-9;?]*[nRuct$p]+", sequence
        ), sequence
    assert b"\x07" not in raw
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\ufeff]", raw.decode("utf-8", "replace"))


def test_a_word_with_joiners_keeps_them_however_it_is_cut() -> None:
    word = "می\u200cخواهم"
    entry = Entry("a", "assistant")
    for character in word:
        entry.append(character)
    assert drawn(entry, 20)[-1].strip() == word


def test_joined_emoji_stand_each_for_itself() -> None:
    entry = Entry("a", "assistant")
    for character in "x👩\u200d👧\ufe0fy":
        entry.append(character)
    assert drawn(entry, 20)[-1].strip() == "x👩👧y"
