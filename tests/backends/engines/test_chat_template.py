"""Turns are written as the model's own tokenizer would write them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from backends.engines.chat_template import BUILT_IN, CHATML, ChatTemplate, built_in
from backends.engines.engine import Turn
from backends.errors import EngineError

TURNS = [
    Turn("system", "Be brief. 简短。"),
    Turn("user", "  Hello <b>& you</b>  "),
    Turn("assistant", "Hi!"),
    Turn("user", "More?"),
]
QWEN = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if loop.first and message.role == 'system' %}{% continue %}{% endif %}
    {%- set content = message.content %}
    {%- if message.role == 'assistant' %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {% generation %}{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}{% endgeneration %}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
"""Written after the way of Qwen 3's: loop controls, generation marks, the thinking switch."""
DATED = "{{ strftime_now('%Y') | length }}{% if tools is not none %}tools{% endif %}{{ messages | tojson }}"


def messages(turns: list[Turn]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.text} for turn in turns]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token="<bos>", eos_token="<eos>")


@pytest.mark.parametrize("source", [QWEN, DATED, *(one.source for one in BUILT_IN)], ids=lambda source: source[:24])
@pytest.mark.parametrize("opens", [True, False])
def test_a_template_is_rendered_as_transformers_renders_it(source: str, opens: bool, tokenizer: Any) -> None:
    theirs = tokenizer.apply_chat_template(
        messages(TURNS), chat_template=source, tokenize=False, add_generation_prompt=opens
    )
    assert ChatTemplate(source, "<bos>", "<eos>").render(TURNS, opens_answer=opens) == theirs


@pytest.mark.parametrize("thinking", [True, False])
def test_the_thinking_switch_reaches_the_template(thinking: bool, tokenizer: Any) -> None:
    theirs = tokenizer.apply_chat_template(
        messages(TURNS), chat_template=QWEN, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
    )
    assert ChatTemplate(QWEN, "<bos>", "<eos>").render(TURNS, thinking=thinking) == theirs


def test_a_template_without_system_role_gets_its_text_before_the_question() -> None:
    source = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
    )
    assert ChatTemplate(source, "", "").render(TURNS[:2]) == "[user] Be brief. 简短。\n\n  Hello <b>& you</b>   "


def test_a_template_that_refuses_the_turns_is_quoted() -> None:
    source = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(EngineError, match="roles must alternate"):
        ChatTemplate(source, "", "").render(TURNS)


def test_a_template_that_cannot_be_read_is_our_error() -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        ChatTemplate("{% for %}", "", "")


def test_a_template_cannot_leave_its_sandbox(tmp_path: Path) -> None:
    hostile = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(EngineError):
        ChatTemplate(hostile, "", "").render(TURNS)
    with pytest.raises(EngineError):
        ChatTemplate("{{ messages.append(1) }}", "", "").render(TURNS)


@pytest.mark.parametrize("one", BUILT_IN, ids=lambda one: one.name)
def test_weights_without_a_template_are_told_by_their_vocabulary(one: Any) -> None:
    chosen, note = built_in(lambda text: text == one.mark)
    assert chosen is one
    assert one.name in note
    assert one.mark in note


def test_where_nothing_tells_chatml_is_taken_and_the_doubt_is_said() -> None:
    chosen, note = built_in(lambda text: False)
    assert chosen is CHATML
    assert "may not have been trained" in note
