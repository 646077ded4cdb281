"""Labels of quantization types in the names of files, as the Hub and Ollama read them."""

import re

from tagship.gguf.types import FILE_TYPES

# Labels of the Hub that no file has as its type: former ones, and those of mixes by people of their own.
ONLY_IN_NAMES = ("Q4_1_SOME_F16", "Q4_2", "Q4_3", "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8")
MIXES = ("Q2_K_XL", "Q3_K_XL", "Q4_K_XL", "Q5_K_XL", "Q6_K_XL", "Q8_K_XL")
_KNOWN = sorted([*FILE_TYPES.values(), *ONLY_IN_NAMES, *MIXES], key=len, reverse=True)
# huggingface.js, packages/tasks/src/gguf.ts, GGUF_QUANT_RE.
LABEL = re.compile(rf"(?:UD-)?(?P<quant>{'|'.join(_KNOWN)})(?:_[A-Z]+)?")
# What people write for a type, and nobody reads.
_UNREAD = re.compile(
    r"(?<![a-z0-9])(?:i?q\d(?:[._-]?[0-9k][._-]?[a-z]{0,3})?|int[248]|fp(?:16|32|8)|[234568]-?bits?)(?![a-z0-9])",
    re.IGNORECASE,
)


def label_in(file_name: str) -> str | None:
    """The type that the Hub shows for a file, and Ollama finds it by: the last label in its name; None for none."""
    found = [match[0] for match in LABEL.finditer(file_name.upper())]
    return found[-1] if found else None


def unread_label_in(file_name: str) -> str | None:
    """What looks like a type in a file's name, and is none that the Hub and Ollama know."""
    found = _UNREAD.search(file_name.removesuffix(".gguf"))
    return found[0] if found else None
