"""A tokenizer with as much of transformers' interface as our engines use: a token a character, and some control tokens."""

from __future__ import annotations

SPECIAL = {"<s>": 0x110000, "<|im_start|>": 0x110001, "<|im_end|>": 0x110002}
END = SPECIAL["<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class FakeTokenizer:
    all_special_tokens = list(SPECIAL)
    bos_token = None
    eos_token = "<|im_end|>"
    eos_token_id = END
    chat_template: str | None = TEMPLATE
    added_tokens_encoder = SPECIAL

    def get_vocab(self) -> dict[str, int]:
        return dict(SPECIAL)

    def convert_tokens_to_ids(self, token: str) -> int:
        return SPECIAL[token]

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        tokens: list[int] = []
        while text:
            mark = next((one for one in SPECIAL if text.startswith(one)), None)
            tokens.append(SPECIAL[mark] if mark else ord(text[0]))
            text = text[len(mark) if mark else 1 :]
        return tokens

    def decode(
        self, tokens: list[int], skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False
    ) -> str:
        names = {number: "" if skip_special_tokens else text for text, number in SPECIAL.items()}
        return "".join(names[token] if token in names else chr(token) for token in tokens)
