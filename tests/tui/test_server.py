"""A user reaches a model on a server: from the palette's action, and by command."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from typing import Any

import fake_services as fake
import pytest
from openai_standin import OpenAiStandin
from textual.widgets import Input, OptionList
from waiting import until

from backends.engines.registry import adapter
from backends.errors import EngineError
from backends.servers import server_url
from tui.app import Deck
from tui.cli.main import run
from tui.screens.ask_line import AskLine
from tui.screens.chat import ChatScreen
from tui.screens.servers import ServerModels
from tui.settings import Settings

needs_openai = pytest.mark.skipif(importlib.util.find_spec("openai") is None, reason="openai is not installed")


@pytest.fixture
def server() -> Iterator[OpenAiStandin]:
    standin = OpenAiStandin()
    yield standin
    standin.close()


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("box:8000", "http://box:8000/v1"),
        (" https://box/v1/ ", "https://box/v1"),
        ("http://box:11434/api", "http://box:11434/api"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ("http://box:8000/v1/chat/completions", "http://box:8000/v1"),
        ("http://box:8000/v1/models/", "http://box:8000/v1"),
        ("https://box/openai/v1/completions?api-version=1", "https://box/openai/v1"),
    ],
)
def test_an_address_becomes_the_url_of_the_api(typed: str, url: str) -> None:
    assert server_url(typed) == url


@pytest.mark.parametrize("typed", ["", "ftp://box", "http://", "http://box:99999999", "http://me:secret@box/v1"])
def test_what_is_no_address_or_holds_a_password_is_refused(typed: str) -> None:
    with pytest.raises(EngineError) as caught:
        server_url(typed)
    assert "secret" not in str(caught.value)


@needs_openai
async def test_the_action_asks_for_the_url_lists_the_models_and_opens_a_pane(
    server: OpenAiStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOX_KEY", "secret-of-the-box")
    server.models = [{"id": "small", "max_model_len": 4096}, {"id": "large", "max_model_len": 32768}]
    app = Deck(fake.services(adapter=adapter))
    async with app.run_test(size=(120, 40)) as pilot:
        app.adopt_settings(Settings(remote_url=server.url, remote_key_env="BOX_KEY"))
        await pilot.pause()
        app.action_talk_to_server()
        await until(pilot, lambda: isinstance(app.screen, AskLine) and app.screen.query(Input))
        assert app.screen.query_one(Input).value == server.url
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ServerModels) and app.screen.query(OptionList))
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen) and app.screen.active_pane is not None)
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        pane = screen.active_pane
        assert pane is not None
        await until(pilot, lambda: pane.state == "ready")
        assert pane.title == "large"
        assert pane.context == 32768
        screen.prompt.area.insert("Hello")
        await pilot.press("enter")
        await until(pilot, lambda: pane.generation is None and len(pane.conversation.path()) == 2)
        assert pane.conversation.path()[-1].text == "Hello there."
        assert set(server.keys) == {"Bearer secret-of-the-box"}
        assert "secret-of-the-box" not in repr(pane.request)


@needs_openai
async def test_a_server_that_is_not_there_is_said(server: OpenAiStandin) -> None:
    app = Deck(fake.services())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        app.action_talk_to_server()
        await until(pilot, lambda: isinstance(app.screen, AskLine) and app.screen.query(Input))
        app.screen.query_one(Input).value = "127.0.0.1:9"
        await pilot.press("enter")
        await until(pilot, lambda: len(app._notifications))
        assert any("no answer from http://127.0.0.1:9/v1" in one.message for one in app._notifications)


@needs_openai
class TestByCommand:
    def test_a_prompt_is_answered(self, server: OpenAiStandin, capfd: Any) -> None:
        flags = ["--model-engine", "remote", "--model-name", "tiny", "--url", server.url, "--prompt", "Hi", "--json"]
        assert run(["launch", *flags]) == 0
        told = json.loads(capfd.readouterr().out)
        assert told["text"] == "Hello there."
        assert told["engine"] == "remote"
        assert told["memory"] == {"predicted_bytes": None, "measured_bytes": None}
        assert told["stats"]["cached_tokens"] == 8

    def test_a_server_s_models_are_listed(self, server: OpenAiStandin, capfd: Any) -> None:
        assert run(["list", "--url", server.url, "--json"]) == 0
        told = json.loads(capfd.readouterr().out)
        assert told == {"url": server.url, "models": [{"name": "tiny", "context_length": 4096}]}

    def test_an_unserved_model_is_named_with_those_that_are(self, server: OpenAiStandin, capfd: Any) -> None:
        assert run(["launch", "--model-name", "big", "--url", server.url, "--prompt", "Hi"]) == 1
        assert "serves tiny" in capfd.readouterr().err

    def test_a_variable_without_a_key_is_named(self, server: OpenAiStandin, capfd: Any) -> None:
        flags = ["--model-name", "tiny", "--url", server.url, "--prompt", "Hi", "--key-env", "NOT_SET_HERE"]
        assert run(["launch", *flags]) == 1
        assert "NOT_SET_HERE" in capfd.readouterr().err
