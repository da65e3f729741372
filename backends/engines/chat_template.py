"""Turns made into the text that a model was trained on."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from backends.engines.engine import Turn
from backends.engines.reasoning import CHANNEL, MESSAGE, START, USUAL_TAGS
from backends.errors import EngineError


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A template of ours, for weights that hold none."""

    name: str
    mark: str
    """A control token that only such vocabularies have."""
    source: str
    stop: tuple[str, ...]
    """Where a turn ends, for vocabularies that do not say so."""


_PLAIN_TURNS: Final = "{% for m in messages %}"

BUILT_IN: Final = (
    BuiltIn(
        "Gemma",
        "<start_of_turn>",
        "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}"
        "{% set messages = messages[1:] %}{% else %}{% set first = '' %}{% endif %}"
        "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
        "{{ first if loop.first else '' }}{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        ("<end_of_turn>",),
    ),
    BuiltIn(
        "Llama 3",
        "<|start_header_id|>",
        "{{ bos_token }}" + _PLAIN_TURNS + "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{{ m.content | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        ("<|eot_id|>",),
    ),
    BuiltIn(
        "ChatML",
        "<|im_start|>",
        _PLAIN_TURNS + "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        ("<|im_end|>",),
    ),
    BuiltIn(
        "Command R",
        "<|START_OF_TURN_TOKEN|>",
        "{{ bos_token }}" + _PLAIN_TURNS + "<|START_OF_TURN_TOKEN|>{{ {'user': '<|USER_TOKEN|>', "
        "'assistant': '<|CHATBOT_TOKEN|>', 'system': '<|SYSTEM_TOKEN|>'}[m.role] }}{{ m.content }}"
        "<|END_OF_TURN_TOKEN|>{% endfor %}"
        "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
        ("<|END_OF_TURN_TOKEN|>",),
    ),
    BuiltIn(
        "Phi 3",
        "<|assistant|>",
        "{{ bos_token }}" + _PLAIN_TURNS + "<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        ("<|end|>", "<|user|>"),
    ),
    BuiltIn(
        "Mistral",
        "[INST]",
        "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}"
        "{% set messages = messages[1:] %}{% else %}{% set first = '' %}{% endif %}"
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ first if loop.first else '' }}{{ m.content }}[/INST]"
        "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
        (),
    ),
)
"""As their publishers' own templates write plain turns of text; told apart by the vocabulary."""

CHATML: Final = next(one for one in BUILT_IN if one.name == "ChatML")


def built_in(has_token: Callable[[str], bool]) -> tuple[BuiltIn, str]:
    """The template for a vocabulary, and the line that says that it is a choice of ours.

    Args:
        has_token: Whether a text is one control token of the vocabulary.
    """
    for one in BUILT_IN:
        if has_token(one.mark):
            return one, (
                f"The weights hold no chat template; turns are written as {one.name} does, "
                f"since the vocabulary knows {one.mark}"
            )
    return CHATML, (
        "The weights hold no chat template and the vocabulary names none; turns are written as ChatML does, "
        "which this model may not have been trained on"
    )


@functools.cache
def _environment() -> Any:
    """Jinja as transformers sets it up for templates: sandboxed, since templates come with the weights."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} marks the assistant's words for training and prints nothing itself."""

        tags = {"generation"}  # noqa: RUF012 jinja2 wants a plain set

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(value: object, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment


class ChatTemplate:
    """A template with what it needs of its model."""

    def __init__(self, source: str, bos: str, eos: str, *, note: str | None = None, stop: tuple[str, ...] = ()) -> None:
        """
        Args:
            bos: Text of the token that begins a sequence; "" where there is none.
            note: The line for the user when it is not the model's own.
        """
        import jinja2

        self.note = note
        self.stop = stop
        self._bos = bos
        self._eos = eos
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise EngineError("the model's chat template cannot be read", str(error)) from error

    def render(self, turns: Sequence[Turn], *, thinking: bool | None = None, opens_answer: bool = True) -> str:
        """The text of a conversation, the beginning of the model's turn included.

        A template that knows no system role gets the system's text before the first question.
        """
        if opens_answer and turns and turns[-1].role == "assistant":
            return self._opened_for_more(turns, thinking)
        try:
            return self._render(turns, thinking, opens_answer)
        except EngineError:
            if not turns or turns[0].role != "system":
                raise
            merged = list(turns[1:])
            if not merged or merged[0].role != "user":
                raise
            merged[0] = Turn("user", f"{turns[0].text}\n\n{merged[0].text}")
            return self._render(merged, thinking, opens_answer)

    def _opened_for_more(self, turns: Sequence[Turn], thinking: bool | None) -> str:
        """The text up to where an answer was stopped, so that the model goes on with it."""
        text = self.render(turns[:-1], thinking=thinking)
        if text.endswith(f"{START}assistant"):
            return f"{text}{CHANNEL}final{MESSAGE}{turns[-1].text}"
        closing = next((end for start, end in USUAL_TAGS if text.rstrip().endswith(start)), None)
        # The thinking that the template opens is over: what stands there is the answer's own text.
        return f"{text}{closing}\n\n{turns[-1].text}" if closing else text + turns[-1].text

    def _render(self, turns: Sequence[Turn], thinking: bool | None, opens_answer: bool) -> str:
        more: dict[str, Any] = {}
        if thinking is not None:
            # Qwen and most others; DeepSeek V3.1 and Granite call it "thinking".
            more = {"enable_thinking": thinking, "thinking": thinking}
        try:
            text: str = self._template.render(
                messages=[{"role": turn.role, "content": turn.text} for turn in turns],
                add_generation_prompt=opens_answer,
                bos_token=self._bos,
                eos_token=self._eos,
                tools=None,
                documents=None,
                **more,
            )
        except Exception as error:  # a template is a program of somebody else's and may raise anything
            raise EngineError("the model's chat template refuses these turns", str(error)) from error
        return text
