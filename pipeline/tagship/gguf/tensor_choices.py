"""Types that people choose for tensors by patterns of their names, as `llama-quantize --tensor-type` has them.

Read from llama.cpp b11434, `parse_tensor_type` of tools/quantize/quantize.cpp and `llama_tensor_get_type` of
src/llama-quant.cpp: a pattern in lower case is searched for in the name, the first one that is found decides, and only
where the file's own type is a quantized one and the tensor may be quantized at all.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from tagship.gguf.tensor_categories import may_be_quantized
from tagship.system.errors import ReleaseError

CHOOSABLE = (
    *("f32", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0", "q3_k", "q2_k"),
    *("iq4_nl", "iq4_xs", "iq3_s", "iq3_xxs", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s", "tq2_0", "tq1_0"),
)
"""The types that may be chosen for a tensor, as people write them."""

# What Python's patterns know and those of C++ do not, or read otherwise.
_FOREIGN = re.compile(r"\(\?(?![:!])|\[\[[:.=]|\[\^?\]|(?<!\\)\{(?!\d)")
# What repeats what is before it, any number of times.
_REPEATS = re.compile(r"[*+]|\{\d+,\}")
_NEAREST = 3


class TensorChoice(Struct, frozen=True):
    """A pattern, and the type of ggml's that the tensors get in whose names it is found."""

    pattern: str
    type: str


def problem_of(pattern: str) -> str | None:
    """What is wrong with a pattern, where llama-quantize would not take it or read it otherwise."""
    if not pattern:
        return "is empty, and would be found in every name"
    if "=" in pattern or pattern.split() != [pattern]:
        return "must have neither = nor white space, as llama-quantize takes PATTERN=TYPE"
    if pattern != pattern.lower():
        return f"has capitals, which llama-quantize reads as small letters: {pattern.lower()}"
    if _FOREIGN.search(pattern):
        return "has a group, a class or a brace that llama-quantize does not know or reads otherwise"
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    if _repeats_repetitions(pattern):
        return "repeats a group in which something is repeated or chosen, which may take for ever"
    return None


def _repeats_repetitions(pattern: str) -> bool:
    """Whether a group is repeated that has a repetition or a choice in it: there are more ways to find such a pattern
    than can be tried."""
    plain = re.sub(r"\\.|\[[^\]]*\]", "x", pattern)  # what is escaped, or in a class, means itself
    while (inner := re.search(r"\(([^()]*)\)", plain)) is not None:
        many = bool(_REPEATS.search(inner[1]) or "|" in inner[1])
        if many and _REPEATS.match(plain[inner.end() :]):
            return True
        plain = f"{plain[: inner.start()]}{'y*' if many else 'y'}{plain[inner.end() :]}"
    return False


def chosen_type(name: str, choices: Iterable[TensorChoice]) -> str | None:
    """What the first pattern that is found in a name chooses; None where none is."""
    return next((choice.type for choice in choices if re.search(choice.pattern, name)), None)


def check_patterns(choices: Iterable[TensorChoice], shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise ReleaseError for a pattern that is found in no name of a model's tensors, which have these shapes, or only
    in those of tensors that stay as they are."""
    for choice in choices:
        found = [name for name in shapes if re.search(choice.pattern, name)]
        if not found:
            raise ReleaseError(
                f"[formats.ollama.tensors] {choice.pattern!r} fits no tensor of this model",
                remedy=f"the nearest are {', '.join(_nearest(choice.pattern, list(shapes)))}",
            )
        if not any(may_be_quantized(name, shapes[name]) for name in found):
            raise ReleaseError(
                f"[formats.ollama.tensors] {choice.pattern!r} fits but tensors that are not quantized: {found[0]}"
                + (f" and {len(found) - 1} more" if found[1:] else ""),
                remedy="leave it out: llama.cpp keeps norms, biases, routers and small convolutions as they are",
            )


def _nearest(pattern: str, names: Sequence[str]) -> list[str]:
    """The names that a pattern is most like, of one layer alone."""
    plain = re.sub(r"\\(.)", r"\1", re.sub(r"\[0-9\][+*]?|\\d[+*]?|\([0-9|]+\)", "0", pattern)).strip("^$")
    first = [name for name in names if not name.startswith("blk.") or name.startswith("blk.0.")] or list(names)
    return difflib.get_close_matches(plain, first, n=_NEAREST, cutoff=0)
