"""What llama.cpp's converter raises, as messages whose remedy fits the kind of failure.

It is foreign code: what it raises is mostly a ValueError, a KeyError or an AssertionError whose text only its authors
understand, and what it cannot do it sometimes only logs.
"""

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagship.system.errors import ReleaseError, ToolError

_NEWER = "point LLAMA_CPP_DIR at a newer checkout of llama.cpp, or leave the format out"
_OWN_SPLITTING = f"{_NEWER}; no checkout knows a tokenizer that was trained for one model alone"
_WHOLE = "fetch the base model again, whole"
_TOKENIZER = f"{_WHOLE}, or leave the format out"
_LOGGER = "hf-to-gguf"
_HASH = re.compile(r"chkhsh:\s+([0-9a-f]{64})")
_ROPE = re.compile(r"Unknown RoPE type: (\S+)")
# Keys that it asks for and that transformers 5 has elsewhere, whatever a config.json says: the model that this is.
_MOVED = {"rotary_pct": ("GPT-NeoX", "rope_parameters.partial_rotary_factor")}
# Those without scaling, which it says the same of, and Gemma 4's, which it knows elsewhere.
_ROPE_OF_OLD = ("default", "mrope", "proportional")
# What the texts of its errors have in common, with what they mean and what mends it.
_KINDS = (
    (
        r"tokenizer\.model",
        "it needs a tokenizer.model, and neither the run nor, for the run's vocabulary, the base has one",
        f"{_WHOLE}; where it has none, or the run changed its vocabulary, leave the format out",
    ),
    (
        r"\brope|RoPE",
        "it does not take the rope scaling in config.json",
        f"hold rope_scaling (or rope_parameters) in the base's config.json against its page on the Hub; {_NEWER}",
    ),
    (
        r"Failed to detect model architecture",
        "config.json names no architecture",
        'add "architectures" to config.json of the base model, as the Hub has it, or leave the format out',
    ),
    (
        r"[Pp]re-tokenizer .* not supported",
        "it does not know how the tokenizer splits text",
        _NEWER,
    ),
    (r"Unprocessed|[Mm]issing (or incomplete|routed|hash)|Mismatch between weight map", "tensors are missing", _WHOLE),
    (r"[Qq]uant (method|format)", "the base is quantized", "name the base that is not, by --base"),
    (
        r"Can't load tokenizer|tokenizer (class|files?)|trust_remote_code|File not found",
        "its tokenizer cannot be read",
        _TOKENIZER,
    ),
    (
        r"vocab.*<\s*\w*vocab_size",
        "the tokenizer has more tokens than config.json's vocab_size",
        "the run resized the vocabulary: it needs its embeddings saved with it (modules_to_save); "
        "or leave the format out",
    ),
)


class UnknownSplitting(ToolError):
    """The converter does not know how a tokenizer splits text before it looks for pieces."""


@contextmanager
def converter_errors(model: str) -> Iterator[None]:
    """Turns what the converter raises, or only warns of, into ToolError and ReleaseError with a remedy.

    `model` names what is converted in messages. What the system raises of files, and bugs of our own, are raised as
    they are.
    """
    warned = _Warnings()
    logger = logging.getLogger(_LOGGER)
    level = logger.level
    logger.setLevel(logging.WARNING)  # whatever is shown to people
    logger.addHandler(warned)
    try:
        yield
    except ReleaseError:
        raise
    except Exception as error:
        if (told := _told(error, model, warned.text)) is None:
            raise
        raise told from error
    finally:
        logger.removeHandler(warned)
        logger.setLevel(level)
    for kind in _ROPE.findall(warned.text):
        if kind not in _ROPE_OF_OLD:
            raise _failure(model, f"it does not know the rope scaling {kind!r} in config.json", _KINDS[1][2])


class _Warnings(logging.Handler):
    """What was warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage() + "\n"


def _told(error: Exception, model: str, warned: str) -> ToolError | None:
    """None for what is not the converter's own to say."""
    if isinstance(error, OSError) and error.errno is not None:
        return None
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    if Path(__file__).parents[1] in Path(last.filename).parents:
        return None
    if (told := _told_by_kind(error, model, warned)) is not None:
        return told
    if any(Path(frame.filename).name.startswith("tokenization") for frame in frames):  # of transformers
        return _failure(model, f"its tokenizer cannot be read ({_line(error, None)})", _TOKENIZER)
    in_converter = Path(last.filename).parent.name == "conversion"
    if isinstance(error, KeyError) and in_converter and str(error.args[0]).isidentifier():
        key = error.args[0]
        if key in _MOVED:
            family, now = _MOVED[key]
            problem = f"it does not convert {family} with transformers 5, which has {key} as {now}"
            return _failure(model, problem, _NEWER)
        remedy = f"add {key} to config.json of the base model, as older versions of it have it; or {_NEWER}"
        return _failure(model, f"it asks config.json for {key!r}, which is not there", remedy)
    asserted = last.line if isinstance(error, AssertionError) else ""
    for pattern, problem, remedy in _KINDS:
        if re.search(pattern, f"{error} {asserted}"):
            return _failure(model, f"{problem} ({_line(error, asserted)})", remedy)
    return _failure(model, f"{_line(error, asserted)} in {Path(last.filename).name}, line {last.lineno}", _NEWER)


def _told_by_kind(error: Exception, model: str, warned: str) -> ToolError | None:
    """What is told by more than the error's text."""
    if isinstance(error, ImportError):
        package = (error.name or "").partition(".")[0]
        remedy = f"pip install {package}, or leave the format out" if package else _NEWER
        return _failure(model, f"it needs a package that is not installed ({error})", remedy)
    if "get_vocab_base_pre" in str(error):
        known_by = "".join(f" (its hash is {found})" for found in _HASH.findall(warned)[:1])
        problem = f"it does not know how the tokenizer splits text{known_by}"
        return UnknownSplitting(f"llama.cpp's converter cannot convert {model}: {problem}", remedy=_OWN_SPLITTING)
    if unmapped := re.search(r"Can not map tensor '([^']+)'", str(error)):
        return _failure(model, f"it has no place for the tensor {unmapped[1]}", _NEWER)
    return None


def _failure(model: str, problem: str, remedy: str) -> ToolError:
    return ToolError(f"llama.cpp's converter cannot convert {model}: {problem}", remedy=remedy)


def _line(error: Exception, asserted: str | None) -> str:
    """An error's own words, in one line."""
    said = " ".join(str(error).split()) or " ".join((asserted or "").split("#")[0].split())
    kind = type(error).__name__
    return f"{kind}: {said}" if said else kind


def left_out(names: Any, *, sees: bool) -> ReleaseError:
    """The refusal of a GGUF that would lack what the adapter changes; `sees` is whether the model has parts that see
    or hear, which a GGUF of its text does not hold."""
    first, *more = sorted(names)
    problem = f"the GGUF would not hold what the adapter changes: {first}" + (f" and {len(more)} more" if more else "")
    if not sees:
        return ReleaseError(problem, remedy="leave the format out: merged weights (vllm) hold it")
    return ReleaseError(
        f"{problem}; a GGUF of a model that sees or hears is of its text alone",
        remedy="leave the format out, and release it as vllm: --format vllm",
    )
