"""A SentencePiece vocabulary in the manner of Phi-3, and the same vocabulary as a Hugging Face tokenizer.

Both `tokenizer.model` (which llama.cpp's converter reads) and `tokenizer.json` are written, and agree.
As in Phi-3, whitespace after a special token is dropped, and each text begins with SentencePiece's dummy space.
"""

import io
import json
from collections.abc import Iterable
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

SIZE = 640
CONTEXT = 512
"""Tokens that the model is made for."""
END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
_SPACE = "\u2581"

_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


def train(texts: Iterable[str], folder: Path) -> PreTrainedTokenizerFast:
    """Learn a vocabulary from `texts`, write its files to `folder`, and return it as they load from there."""
    pieces = _learn(texts)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(pieces.serialized_model_proto())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_same_pieces(pieces),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        padding_side="left",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        chat_template=_CHAT_TEMPLATE,
    )
    tokenizer.save_pretrained(folder)
    _complete(folder / "tokenizer_config.json")
    return AutoTokenizer.from_pretrained(folder)


def _learn(texts: Iterable[str]) -> sentencepiece.SentencePieceProcessor:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=SIZE,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        control_symbols=[END_OF_TEXT, END_OF_TURN, *ROLES],
        num_threads=1,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def _same_pieces(pieces: sentencepiece.SentencePieceProcessor) -> Tokenizer:
    vocabulary = {pieces.id_to_piece(i): i for i in range(pieces.get_piece_size())}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=_merges(pieces), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False) for token in ("<unk>", "<s>", "</s>", END_OF_TEXT)]
        + [AddedToken(token, normalized=False, rstrip=True) for token in (END_OF_TURN, *ROLES)]
    )
    return tokenizer


def _merges(pieces: sentencepiece.SentencePieceProcessor) -> list[tuple[str, str]]:
    """Every way to join two pieces into a third, in the order in which SentencePiece would."""
    rank = {
        pieces.id_to_piece(i): -pieces.get_score(i)
        for i in range(pieces.get_piece_size())
        if not (pieces.is_control(i) or pieces.is_byte(i) or pieces.is_unknown(i))
    }
    return [
        (whole[:cut], whole[cut:])
        for whole in sorted(rank, key=rank.__getitem__)
        for cut in range(1, len(whole))
        if whole[:cut] in rank and whole[cut:] in rank
    ]


def _complete(config: Path) -> None:
    """Name the tokenizer's class as Transformers 4 knows it too, and tell llama.cpp that no <s> comes first."""
    settings = json.loads(config.read_text("utf-8"))
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False}
    config.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", "utf-8")
