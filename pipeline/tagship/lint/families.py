"""The family that a name says (`llama`, `phi3`), and whether a model is of it.

What a model is called and what its weights are built like are two things: SmolLM, Yi and TinyLlama are built like
Llama, and DeepSeek gave its name to models of Qwen's. A word is wrong only for an architecture that is well known, and
that no model of that name has.
"""

import re
from collections.abc import Mapping
from itertools import pairwise

# How `model_type` (config.json) or `general.architecture` (GGUF) begins, letters and digits alone, for each word.
_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "baichuan": ("baichuan", "llama"),
    "bert": ("bert", "roberta", "distilbert", "modernbert"),
    "bloom": ("bloom",),
    "chatglm": ("chatglm", "glm"),
    "cohere": ("cohere", "commandr", "command"),
    "deepseek": ("deepseek", "llama", "qwen"),
    "exaone": ("exaone", "llama"),
    "falcon": ("falcon", "refinedweb", "llama", "mamba"),
    "gemma": ("gemma", "recurrentgemma", "paligemma", "shieldgemma"),
    "glm": ("glm", "chatglm"),
    "gptj": ("gptj",),
    "gptneox": ("gptneox",),
    "gptoss": ("gptoss",),
    "granite": ("granite", "gptbigcode", "llama", "modernbert", "roberta", "xlmroberta"),
    "internlm": ("internlm", "llama"),
    "jamba": ("jamba",),
    "llama": ("llama", "mllama"),
    "mamba": ("mamba", "falconmamba"),
    "minicpm": ("minicpm", "llama", "mistral", "qwen"),
    "mistral": ("mistral", "mixtral", "ministral", "pixtral"),
    "mixtral": ("mixtral",),
    "mpt": ("mpt",),
    "nemotron": ("nemotron", "deci", "llama", "mistral", "qwen"),
    "olmo": ("olmo", "hfolmo"),
    "opt": ("opt",),
    "phi": ("phi",),
    "pythia": ("gptneox",),
    "qwen": ("qwen",),
    "rwkv": ("rwkv",),
    "smollm": ("smollm", "llama"),
    "stablelm": ("stablelm", "gptneox", "llama"),
    "starcoder": ("starcoder", "gptbigcode"),
    "vicuna": ("llama",),
    "yi": ("yi", "llama"),
    "zephyr": ("mistral", "stablelm", "gemma"),
}
# What models of many names are converted to, or built like: it says nothing of a name.
_OF_MANY = ("llama", "deepseek2", "deepseekv2", "deepseekv3")
# Programs that are called after a family.
_PROGRAMS = re.compile(r"ollama|llama(?:cpp|file|factory|index)")
# What nobody puts within other words by chance.
_LONG_ENOUGH = 5


def families_in(name: str) -> list[str]:
    """The words in a name that are known families'."""
    pieces = re.split(r"[^a-z0-9]+", _PROGRAMS.sub("-", name.lower()))
    # gpt-oss and gpt-j have a hyphen in their names.
    words = [*pieces, *("".join(pair) for pair in pairwise(pieces) if pair[0] == "gpt")]
    return [word for word in _FAMILIES if any(_has(piece, word) for piece in words)]


def is_of(family: str, architecture: str) -> bool | None:
    """Whether models of that architecture are called so; None for an architecture that is not known here."""
    plain = _plain(architecture)
    known = {start for starts in _FAMILIES.values() for start in starts}
    starts = _FAMILIES[family]
    if not plain.startswith(tuple(known)) or (plain in _OF_MANY and not plain.startswith(starts)):
        return None
    return plain.startswith(starts)


def _has(piece: str, word: str) -> bool:
    if len(word) >= _LONG_ENOUGH:
        return word in piece
    return re.fullmatch(rf"{word}(\d.*)?", piece) is not None


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
