"""Tokenizers that GGUFs describe, as transformers and llama.cpp's converter read them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Said = Callable[[str], Any]


def write_tokenizer(base: Path, said: Said) -> None:
    """Write the tokenizer of a GGUF, of which `said` gives the metadata, as transformers has it."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    tokens, kinds = said("tokenizer.ggml.tokens"), said("tokenizer.ggml.token_type")
    built = _by_merges(said, tokens) if said("tokenizer.ggml.merges") else _by_scores(said, tokens)
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == 3]
    built.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    whole = [token for token, kind in zip(tokens, kinds, strict=True) if kind == 4]
    built.add_tokens([AddedToken(token, normalized=False) for token in whole])
    names = {"bos_token": "bos_token_id", "eos_token": "eos_token_id", "pad_token": "padding_token_id"}
    named = {name: tokens[said(f"tokenizer.ggml.{key}")] for name, key in names.items()}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=built, **named)
    tokenizer.chat_template = said("tokenizer.chat_template")
    tokenizer.save_pretrained(base)
    if not said("tokenizer.ggml.merges"):
        _write_pieces(base / "tokenizer.model", tokens, said("tokenizer.ggml.scores"), kinds)


def _by_merges(said: Said, tokens: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    merges = [tuple(merge.split(" ")) for merge in said("tokenizer.ggml.merges")]
    built = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    built.decoder = decoders.ByteLevel()
    return built


def _by_scores(said: Said, tokens: list[str]) -> Any:
    """Sentencepiece's, as transformers has Gemma's: by merges, the best first, and bytes for what is not known."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors

    numbers = {token: number for number, token in enumerate(tokens)}
    scores = said("tokenizer.ggml.scores")
    splits = [
        (-scores[number], token[:at], token[at:])
        for token, number in numbers.items()
        for at in range(1, len(token))
        if token[:at] in numbers and token[at:] in numbers
    ]
    merges = [(left, right) for _, left, right in sorted(splits, key=lambda split: split[0])]
    unknown = tokens[said("tokenizer.ggml.unknown_token_id")]
    built = Tokenizer(models.BPE(vocab=numbers, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    built.normalizer = normalizers.Replace(" ", "▁")
    built.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    first = tokens[said("tokenizer.ggml.bos_token_id")]
    built.post_processor = processors.TemplateProcessing(single=f"{first} $A", special_tokens=[(first, numbers[first])])
    return built


def _write_pieces(path: Path, tokens: list[str], scores: list[float], kinds: list[int]) -> None:
    """`tokenizer.model`, which the converter reads."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.trainer_spec.model_type = 2
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.add_dummy_prefix = False
    for token, score, kind in zip(tokens, scores, kinds, strict=True):
        model.pieces.add(piece=token, score=score, type=kind)
    path.write_bytes(model.SerializeToString())
