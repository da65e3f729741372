"""The history: kept within a second, whatever happens."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from machines import LAPTOP

from backends import history as module
from backends import measurements
from backends.conversation import Conversation, Spot, conversation, node
from backends.engines.engine import Alternative
from backends.errors import NotFound
from backends.history import History, Measurement
from backends.history_database import connect
from backends.history_schema import MIGRATIONS, VERSION, statements


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path / "h.sqlite3")
    yield made
    made.close()


def talk(*texts: str) -> Conversation:
    c = conversation(model="llama-3-instruct/8B/ggufv2/Q4_K_M")
    for n, text in enumerate(texts):
        c = c.append(node("assistant" if n % 2 else "user", text, c.leaf))
    return c


def kept(history: History, c: Conversation) -> Conversation:
    history.save_all(c)
    assert history.flush()
    return c


def test_what_is_kept_comes_back_as_it_was(history: History) -> None:
    c = talk("Why?", "Because.", "Really?")
    c = c.edit(c.path()[2].id, "Truly?")
    c = replace(c, title="Sky", system="Be brief", pinned=True, dropped=(c.nodes[0].id,))
    c = c.with_node(replace(c.nodes[1], reasoning="hm", reasoning_tokens=3, tokens_per_second=12.5, stop_reason="end"))
    kept(history, c)
    assert history.load(c.id) == c


def test_appended_text_is_part_of_its_turn_before_the_answer_ends(history: History) -> None:
    c = kept(history, talk("go", ""))
    for piece in ("What ", "came ", "so far"):
        history.append(c.leaf or "", piece)
    history.append(c.leaf or "", "", "and thought")
    history.flush()
    last = history.load(c.id).path()[-1]
    assert (last.text, last.reasoning) == ("What came so far", "and thought")


def test_a_finished_turn_replaces_what_was_appended(history: History) -> None:
    c = kept(history, talk("go", ""))
    history.append(c.leaf or "", "half")
    history.save_node(c.id, replace(c.path()[-1], text="half and half", stop_reason="end"))
    history.flush()
    assert history.load(c.id).path()[-1].text == "half and half"


def test_every_shown_token_survives_kill_9_within_a_second(tmp_path: Path) -> None:
    child = """
import sys, time
from pathlib import Path
from backends.conversation import conversation, node
from backends.history import History
history = History(Path(sys.argv[1]))
c = conversation()
c = c.append(node("user", "go"))
c = c.append(node("assistant", "", c.leaf))
history.save_all(c)
print(c.id, flush=True)
for n in range(100_000):
    history.append(c.leaf, f"{n} ")
    print(n, time.monotonic(), flush=True)
    time.sleep(0.005)
"""
    path = tmp_path / "h.sqlite3"
    process = subprocess.Popen(
        [sys.executable, "-c", child, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    shown: list[tuple[int, float]] = []
    for line in process.stdout:
        number, when = line.split()
        shown.append((int(number), float(when)))
        if shown[-1][1] - shown[0][1] > 1.5:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    due = [number for number, when in shown if shown[-1][1] - when >= 1.0]
    with_history = History(path)
    text = with_history.load(name).path()[-1].text.split()
    with_history.close()
    assert due
    assert text[: len(due)] == [str(number) for number in due]


def test_the_search_finds_whole_turns_and_beginnings_of_words(history: History) -> None:
    sky = kept(history, talk("Why is the sky blue?", "Rayleigh scattering."))
    kept(history, talk("What is a list?", "A sequence."))
    assert [s.id for s in history.conversations("rayl scat")] == [sky.id]
    assert "Rayleigh" in history.conversations("rayleigh")[0].excerpt
    assert history.conversations("rayleigh sequence") == ()


@pytest.mark.parametrize("query", ['"', "a OR", "NEAR(", "50%", "x*", "-", "':)", "NOT", "col:x"])
def test_no_query_breaks_the_search(history: History, query: str) -> None:
    kept(history, talk("plain words"))
    history.conversations(query)


def test_without_fts5_the_search_still_finds(tmp_path: Path) -> None:
    history = History(tmp_path / "h.sqlite3")
    c = kept(history, talk("Why is the sky blue?", "Rayleigh 50% scattering."))
    database = connect(history.path)
    for trigger in ("words_new", "words_gone", "words_changed"):
        database.execute(f"DROP TRIGGER {trigger}")
    database.execute("DROP TABLE words")
    database.close()
    assert [s.id for s in history.conversations("rayleigh 50%")] == [c.id]
    history.close()


def test_pinned_ones_stand_first_then_the_latest(history: History) -> None:
    old, new = talk("old"), talk("new")
    kept(history, replace(old, updated=1.0))
    kept(history, replace(new, updated=2.0))
    assert [s.name for s in history.conversations()] == ["new", "old"]
    history.pin(old.id, True)
    history.flush()
    assert [s.name for s in history.conversations()] == ["old", "new"]


def test_a_title_is_found_and_shown(history: History) -> None:
    c = kept(history, talk("hello"))
    history.rename(c.id, "About the sky")
    history.flush()
    assert [s.name for s in history.conversations("about")] == ["About the sky"]


def test_a_deleted_conversation_is_gone_with_its_words(history: History) -> None:
    c = kept(history, talk("secret words"))
    history.append(c.leaf or "", "more")
    history.delete(c.id)
    history.flush()
    assert history.conversations("secret") == ()
    with pytest.raises(NotFound):
        history.load(c.id)


def test_a_conversation_is_found_by_the_beginning_of_its_name(history: History) -> None:
    c = kept(history, talk("hello"))
    assert history.load(c.id[:-2]).id == c.id
    with pytest.raises(NotFound):
        history.load("")
    with pytest.raises(NotFound, match=r"the chat's history \(f3\) shows the ID of each"):
        history.load("nowhere")
    kept(history, replace(c, id=c.id[:-1] + "~", nodes=(), leaf=None))
    with pytest.raises(NotFound, match=r"begin with .*; give more of the ID"):
        history.load(c.id[:-2])


def test_only_the_owner_may_read_it(history: History) -> None:
    assert stat.S_IMODE(history.path.stat().st_mode) == 0o600


def test_a_database_of_the_first_version_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite3"
    database = sqlite3.connect(path)
    for statement in statements(MIGRATIONS[0]):
        database.execute(statement)
    database.execute("PRAGMA user_version = 1")
    database.execute("INSERT INTO conversations (id, created, updated) VALUES ('c1', 1, 1)")
    database.execute("INSERT INTO nodes (id, conversation, role, text, created) VALUES ('n1', 'c1', 'user', 'hi', 1)")
    database.commit()
    database.close()
    history = History(path)
    assert history.note is None
    assert history.conversations("hi")[0].id == "c1"
    history.close()


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b"\x00" * 4096])
def test_a_damaged_database_stays_as_it_is_and_a_new_one_begins_beside_it(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "h.sqlite3"
    path.write_bytes(damage)
    history = History(path)
    c = kept(history, talk("hello"))
    history.close()
    assert path.read_bytes() == damage
    assert history.path == tmp_path / "h-2.sqlite3"
    assert "damaged" in (history.note or "")
    again = History(path)
    assert again.load(c.id).id == c.id
    again.close()


def test_damage_in_the_middle_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite3"
    history = History(path)
    kept(history, talk(*("word " * 2_000 for _ in range(20))))
    history.close()
    database = connect(path)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8192] = b"\xff" * 8192
    path.write_bytes(content)
    history = History(path)
    assert "damaged" in (history.note or "")
    history.close()
    assert path.read_bytes() == content


def test_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite3"
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    history = History(path)
    assert "later version" in (history.note or "")
    history.close()


def test_a_full_disk_is_said_and_everything_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    full = threading.Event()
    full.set()
    said: list[str | None] = []
    troubled, well = threading.Event(), threading.Event()

    def on_trouble(what: str | None) -> None:
        said.append(what)
        (troubled if what else well).set()

    def limited(path: Path) -> sqlite3.Connection:
        database = connect(path)
        if full.is_set():
            database.execute("PRAGMA max_page_count = 1")
        return database

    history = History(tmp_path / "h.sqlite3", on_trouble)
    monkeypatch.setattr(module, "connect", limited)
    c = talk("word " * 5_000, "answer")
    history.save_all(c)
    assert troubled.wait(10)
    history.append(c.leaf or "", " and more")
    full.clear()
    assert history.flush(10)
    assert well.wait(10)
    assert "full" in (said[0] or "")
    assert history.load(c.id).path()[-1].text == "answer and more"
    history.close()


def test_two_programs_write_one_history(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite3"
    one, two = History(path), History(path)
    conversations = [talk(f"prompt {n}", f"answer {n}") for n in range(40)]
    for n, c in enumerate(conversations):
        (one if n % 2 else two).save_all(c)
    assert one.flush(20)
    assert two.flush(20)
    assert len(one.conversations()) == len(two.conversations()) == 40
    one.close()
    two.close()


def test_a_refused_change_does_not_keep_the_others_out(history: History) -> None:
    history.save_node("no such conversation", node("user", "lost"))
    c = kept(history, talk("kept"))
    assert history.load(c.id).path()[0].text == "kept"


def test_text_that_no_utf8_can_hold_is_kept_as_far_as_it_goes(history: History) -> None:
    c = kept(history, talk("a\ud800b\x00c"))
    assert history.load(c.id).path()[0].text == "a?b\x00c"


def test_measurements_come_back_in_order(history: History) -> None:
    for value in (10.0, 12.0):
        history.measured(Measurement("v", "llama.cpp", "bench", {"decode": value}, created=1.0))
    history.flush()
    assert [m.details["decode"] for m in history.measurements()] == [10.0, 12.0]


def test_a_load_noted_by_this_program_does_not_let_another_one_end_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite3"
    mine = History(path)
    kept(mine, talk("before"))
    measurements.record(
        LAPTOP, measurements.Load("llama.cpp", "ggufv2", "a/8B/ggufv2/Q4_K_M/x", 8192, 10, 12), path=path
    )
    other = "import sys; from backends.history_database import connect; database = connect(sys.argv[1])\n"
    other += "database.execute('SELECT * FROM conversations').fetchall(); database.close()"
    subprocess.run([sys.executable, "-c", other, str(path)], check=True)
    later = kept(mine, talk("after"))
    assert {one.id for one in mine.conversations()} >= {later.id}
    mine.close()
    again = History(path)
    assert len(again.conversations()) == 2
    again.close()


SPOTS = (
    Spot(0, " sun", (Alternative(" sun", 4, -0.5), Alternative(" moon", 5, -1.25))),
    Spot(4, " rose", (Alternative(" rose", 6, -0.1), Alternative(" \x1b]", 7, -3.0))),
)


def completion() -> Conversation:
    c = conversation("completion").append(node("user", "The"))
    return c.append(node("assistant", " sun rose", c.leaf, spots=SPOTS))


def test_alternatives_of_a_completion_come_back(history: History) -> None:
    c = kept(history, completion())
    assert history.load(c.id) == c


def test_alternatives_are_kept_as_they_are_shown(history: History) -> None:
    c = conversation("completion").append(node("user", "The"))
    c = kept(history, c.append(node("assistant", "", c.leaf)))
    for spot in SPOTS:
        history.append(c.leaf or "", spot.text, "", (spot,))
    history.flush()
    assert history.load(c.id).path()[-1].spots == SPOTS
    history.save_node(c.id, replace(c.path()[-1], text=" sun rose", spots=SPOTS))
    history.flush()
    assert history.load(c.id).path()[-1].spots == SPOTS


def test_alternatives_go_with_their_turn(history: History) -> None:
    for take_away in (lambda c: history.delete_nodes([c.leaf or ""]), lambda c: history.delete(c.id)):
        c = kept(history, completion())
        take_away(c)
        history.flush()
        with connect(history.path) as database:
            assert database.execute("SELECT count(*) FROM spots").fetchone()[0] == 0


def test_a_database_without_alternatives_is_migrated_and_takes_them(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite3"
    database = sqlite3.connect(path)
    for script in MIGRATIONS[:3]:
        for statement in statements(script):
            database.execute(statement)
    database.execute("PRAGMA user_version = 3")
    database.execute("INSERT INTO conversations (id, kind, created, updated) VALUES ('c1', 'completion', 1, 1)")
    database.execute(
        "INSERT INTO nodes (id, conversation, role, text, created) VALUES ('n1', 'c1', 'assistant', 'x', 1)"
    )
    database.commit()
    database.close()
    history = History(path)
    assert history.note is None
    assert history.load("c1").nodes[0].spots == ()
    c = kept(history, completion())
    assert history.load(c.id) == c
    history.close()
