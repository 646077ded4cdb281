"""Tiny real models, adapters and tokenizers, made by transformers, PEFT and SentencePiece themselves.

All of it is seeded: the same call gives the same weights. Golden files are compared here, too.
"""

import io
import json
import math
import os
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tagship.artifacts.manifest import Manifest

BFLOAT16, FLOAT16, FLOAT32 = "bfloat16", "float16", "float32"
VOCABULARY = 384
"""Rows of every tiny model's embedding; the tokenizer has fewer, as real ones do."""
END_OF_TURN, END_OF_TEXT = "<|end|>", "<|endoftext|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


# Models


def phi3(folder: Path, *, dtype: str = BFLOAT16, layers: int = 2, hidden: int = 64, **more: Any) -> Path:
    """A Phi-3: fused qkv and gate_up, no biases."""
    from transformers import Phi3Config, Phi3ForCausalLM

    config = Phi3Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        original_max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=3,
        pad_token_id=3,
        tie_word_embeddings=False,
    )
    return _save(Phi3ForCausalLM, config, folder, dtype, **more)


def llama(
    folder: Path, *, dtype: str = BFLOAT16, layers: int = 2, hidden: int = 64, tied: bool = False, **more: Any
) -> Path:
    """A Llama: separate projections, grouped queries."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=3,
        pad_token_id=3,
        tie_word_embeddings=tied,
    )
    return _save(LlamaForCausalLM, config, folder, dtype, **more)


def mixtral(
    folder: Path, *, dtype: str = BFLOAT16, hidden: int = 64, intermediate: int = 96, experts: int = 4, **more: Any
) -> Path:
    """A Mixtral: a mixture of experts, of which each token goes to two; transformers makes one parameter of them."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=experts,
        num_experts_per_tok=2,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=3,
        tie_word_embeddings=False,
    )
    return _save(MixtralForCausalLM, config, folder, dtype, **more)


def gpt2(folder: Path, *, dtype: str = FLOAT32, layers: int = 2, hidden: int = 64, **more: Any) -> Path:
    """A GPT-2: its Conv1D weights are stored transposed, as (in, out)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=hidden, n_layer=layers, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=3
    )
    return _save(GPT2LMHeadModel, config, folder, dtype, **more)


def _save(kind: Any, config: Any, folder: Path, dtype: str, *, shard: str = "1GB", seed: int = 0) -> Path:
    import torch

    torch.manual_seed(seed)
    model = kind(config).to(getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size=shard)
    return folder


# Adapters


def adapter(base: Path, folder: Path, *, dtype: str = FLOAT32, seed: int = 1, size: float = 0.05, **lora: Any) -> Path:
    """A LoRA adapter for a model, as PEFT saves it, with a lora_B that is not zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    options: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    with foreign_warnings():  # among them: PEFT sets fan_in_fan_out for GPT-2 itself, and says so
        adapted = get_peft_model(model, LoraConfig(**options | lora), autocast_adapter_dtype=False)
    for name, parameter in adapted.named_parameters():
        if ".lora_" in name:
            parameter.data = (torch.randn(parameter.shape) * size).to(getattr(torch, dtype))
    with foreign_warnings():
        adapted.save_pretrained(folder)
    return folder


@contextmanager
def foreign_warnings() -> Iterator[None]:
    """transformers, PEFT and torch deprecate parts of each other; that is theirs to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def merged_by_peft(base: Path, folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """What PEFT's own merge_and_unload gives for base + adapter, as float64, by tensor."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    with foreign_warnings():
        merged = PeftModel.from_pretrained(model, folder).merge_and_unload()
    return {name: tensor.to(torch.float64).numpy() for name, tensor in merged.state_dict().items()}


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | changes), encoding="utf-8")


# safetensors, written by hand


def write_raw(path: Path, header: Any, data: bytes = b"") -> Path:
    """A safetensors file with any header (an object, or bytes as they are) and any data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray[Any, Any]]) -> Path:
    """A safetensors file of numpy arrays, bfloat16 among them, by the safetensors library."""
    from safetensors.numpy import save_file

    save_file({name: np.array(array, order="C") for name, array in tensors.items()}, path)
    return path


# Manifest


def manifest(**said: Any) -> Manifest:
    """What a release of a merged model says, but for what is given."""
    return Manifest(
        **{
            "tagship": "0.1.0",
            "format": "vllm",
            "quant": None,
            "repo_id": "acme/it",
            "version": None,
            "tag": None,
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "exported": datetime(2025, 9, 15, 12, 40, 51, tzinfo=UTC),
            "run": "phi3-minimal-r32-a64-e20-20250914-132416",
            "fields": {},
            "base_model": "acme/phi3",
            "base_revision": None,
            "license": "mit",
            "files": (),
            **said,
        }
    )


# Tokenizer


def tokenizer(folder: Path) -> Path:
    """tokenizer.model and tokenizer.json with the same SentencePiece vocabulary, in the manner of Phi-3."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    pieces = _train_pieces()
    (folder / "tokenizer.model").write_bytes(pieces.serialized_model_proto())
    vocabulary = {pieces.id_to_piece(i): i for i in range(pieces.get_piece_size())}
    rank = {
        pieces.id_to_piece(i): -pieces.get_score(i)
        for i in range(pieces.get_piece_size())
        if not (pieces.is_control(i) or pieces.is_byte(i) or pieces.is_unknown(i))
    }
    merges = [
        (whole[:cut], whole[cut:])
        for whole in sorted(rank, key=rank.__getitem__)
        for cut in range(1, len(whole))
        if whole[:cut] in rank and whole[cut:] in rank
    ]
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens([AddedToken(token, normalized=False) for token in ("<unk>", "<s>", "</s>", END_OF_TEXT)])
    made.add_special_tokens([AddedToken(token, normalized=False, rstrip=True) for token in (END_OF_TURN, *ROLES)])
    PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token=END_OF_TURN,
        pad_token=END_OF_TURN,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    edit_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", add_bos_token=False)
    return folder


def _train_pieces() -> Any:
    import sentencepiece

    texts = [f"the quick brown fox {word} over {word} lazy dogs" for word in ("jumps", "leaps", "walks", "runs")] * 4
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=310,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        control_symbols=[END_OF_TURN, *ROLES, END_OF_TEXT],  # llama.cpp wants each of these in a Phi-3
        num_threads=1,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


# Weights by a formula: the same on every machine, whatever its random numbers and its BLAS


def formula(shape: Sequence[int], salt: int, *, bits: int = 7) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Integers in [-2**bits, 2**bits), scattered by a multiplication (Knuth's 2654435761), as float32."""
    index = np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(salt * 7919)
    scattered = (index * np.uint64(2654435761)) % np.uint64(1 << 32) >> np.uint64(31 - bits)
    return (scattered.astype(np.int64) - (1 << bits)).astype(np.float32).reshape(shape)


def exact_lora(folder: Path, modules: Mapping[str, tuple[int, int]], *, rank: int) -> Path:
    """An adapter of small integers over powers of two, by module and its weight's shape: its merge
    into weights of the same kind is exact in float32."""
    folder.mkdir(parents=True)
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for number, (module, (rows, columns)) in enumerate(modules.items()):
        key = f"base_model.model.{module}.lora_{{}}.weight"
        tensors[key.format("A")] = formula((rank, columns), 1000 + number, bits=2) / 32
        tensors[key.format("B")] = formula((rows, rank), 2000 + number, bits=2) / 32
    write_tensors(folder / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


# Golden files


def check_golden(name: str, text: str) -> None:
    """Compare a text with tests/golden/<name>. REWRITE_GOLDEN=1 in the environment rewrites the file instead."""
    path = Path(__file__).parent / "golden" / name
    if os.environ.get("REWRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_text(encoding="utf-8"), f"differs from {path}; REWRITE_GOLDEN=1 pytest rewrites it"
