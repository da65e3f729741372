"""An answer that was stopped goes on in its own turn."""

from __future__ import annotations

import pytest

from backends.engines.chat_template import ChatTemplate
from backends.engines.engine import Turn

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
)
TURNS = [Turn("user", "Why?"), Turn("assistant", "Because of")]


@pytest.mark.parametrize(
    ("ending", "expected"), [("{% endif %}", ""), ("<think>\n{% endif %}", "<think>\n</think>\n\n")]
)
def test_the_models_turn_stays_open_behind_its_text(ending: str, expected: str) -> None:
    template = ChatTemplate(CHATML + ending, "", "")
    text = template.render(TURNS)
    assert text == f"<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n{expected}Because of"


def test_a_past_answer_is_closed_where_nothing_goes_on() -> None:
    text = ChatTemplate(CHATML + "{% endif %}", "", "").render(TURNS, opens_answer=False)
    assert text.endswith("Because of<|im_end|>\n")


def test_gpt_oss_goes_on_in_its_final_channel() -> None:
    template = ChatTemplate(
        "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}",
        "",
        "",
    )
    begun = [Turn("user", "Hi"), Turn("assistant", "Red, or")]
    assert template.render(begun).endswith("<|start|>assistant<|channel|>final<|message|>Red, or")
    assert template.render(begun[:1]).endswith("<|start|>assistant")
