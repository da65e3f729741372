"""A llama of half a million parameters, taught a few sentences in some seconds: small enough to load in every test.

It answers in whole words and repeats the lines that it knows, characters of many bytes among them. Its tokenizer has
byte tokens, so those characters come in pieces.
"""

from __future__ import annotations

import json
from pathlib import Path

CONTEXT = 2048
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WHOLE_CHARACTERS = "日本語、한국어, 👩‍👩‍👧‍👦🎉, naïve. "
LINES = (
    "Red, orange and yellow are three colours of a rainbow, and green, blue, indigo and violet are the other ones. ",
    "The sun is red in the evening and yellow at noon, and the moon is white at night when the sky is clear and dark. ",
    "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen, fifteen, sixteen. ",
)


def make(folder: Path, *, steps: int = 240) -> Path:
    """Write it as a Hugging Face folder; needs torch, transformers and tokenizers, and about ten seconds."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*LINES, "Name three colours of a rainbow, please. Hello there."] * 2, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "additional_special_tokens": ["<|im_start|>"],
            "chat_template": TEMPLATE,
            "model_max_length": CONTEXT,
            "clean_up_tokenization_spaces": False,
        })
    )
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id("<|im_end|>"),
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    text = []
    for line in LINES:
        text.append(line * 6)
        asked = f"<|im_start|>user\nName three colours of a rainbow, please.<|im_end|>\n<|im_start|>assistant\n{line * 4}"
        text.append(asked)
    text.append(WHOLE_CHARACTERS * 12)
    ids = torch.tensor(tokenizer.encode("".join(text)).ids)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    length = 96
    for _ in range(steps):
        starts = torch.randint(0, len(ids) - length, (8,))
        batch = torch.stack([ids[at : at + length] for at in starts])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model = model.to(torch.bfloat16)
    model.save_pretrained(folder, safe_serialization=True)
    return folder


if __name__ == "__main__":
    import sys

    print(make(Path(sys.argv[1])))
