"""Does an export answer like base + adapter?"""

from typing import Any

import numpy as np

from tagship.system.errors import ReleaseError
from tagship.verify.evidence import Evidence
from tagship.verify.questions import Answer, Answers, Limits

# Two tokens whose log-probabilities differ by less than this are a tie: rounding the merged
# weights to the base's 16 bits, which every merge does, may decide it either way.
TIE = 0.02


def compare(reference: Answers, answers: Answers, limits: Limits, what: str) -> Evidence:
    """Hold an export's answers, forced along the reference's own, against the reference.

    Raises ReleaseError that shows the first prompt where they differ too much.
    """
    same, total, tokens = 0, 0.0, 0
    for expected, given in zip(reference, answers, strict=True):
        _check_prompt(expected, given, what)
        same += expected.ids == given.ids
        if limits.same_tokens:
            _check_tokens(expected, given, what)
        _check_rows(expected, given, what)
        divergences = kl_divergence(expected.logprobs, given.logprobs)
        total += float(divergences.sum())
        tokens += len(divergences)
    mean = total / tokens if tokens else float("nan")
    evidence = Evidence(prompts=len(reference), tokens=tokens, same=same, kl=mean, limits=limits)
    if not evidence.kl <= limits.kl:  # also when it is not a number
        raise _different(what, f"mean KL {evidence.kl:.3g} nats over {tokens} tokens; the limit is {limits.kl:g}")
    return evidence


def kl_divergence(reference: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """KL(reference ‖ other) of each row of log-probabilities, in nats.

    Tokens that `other` does not report (-inf) are taken together as one event, which can only
    make the divergence smaller, and by little where they are improbable. A row that holds a NaN or
    an infinity, or reports nothing, is NaN: it must not pass for agreement.
    """
    p, log_p = np.exp(reference.astype(np.float64)), reference.astype(np.float64)
    log_q = _widened(other, reference.shape[1]).astype(np.float64)
    known = np.isfinite(log_q)
    # 0 * log 0 is 0 by definition, and a token that is impossible in the reference adds nothing.
    with np.errstate(invalid="ignore"):
        terms = np.where(known & (p > 0), p * (log_p - np.where(known, log_q, 0.0)), 0.0)
    rest_p = np.clip(np.where(known, 0.0, p).sum(axis=1), 0.0, 1.0)
    rest_q = np.clip(1.0 - np.where(known, np.exp(log_q), 0.0).sum(axis=1), 1e-12, 1.0)
    rest = np.where(rest_p > 1e-12, rest_p * np.log(np.maximum(rest_p, 1e-12) / rest_q), 0.0)
    told = (log_p < np.inf).all(axis=1) & (log_q < np.inf).all(axis=1) & known.any(axis=1)
    divergences: np.ndarray[Any, Any] = np.where(told, np.maximum(terms.sum(axis=1) + rest, 0.0), np.nan)
    return divergences


def _widened(logprobs: np.ndarray[Any, Any], columns: int) -> np.ndarray[Any, Any]:
    """Padded embeddings give one runtime a few more columns than another: they are never answers."""
    if logprobs.shape[1] >= columns:
        return logprobs[:, :columns]
    return np.pad(logprobs, ((0, 0), (0, columns - logprobs.shape[1])), constant_values=-np.inf)


def _check_prompt(expected: Answer, given: Answer, what: str) -> None:
    if expected.prompt_ids != given.prompt_ids:
        raise _different(
            what,
            f"the prompt {expected.prompt!r} becomes the tokens {_some(given.prompt_ids)} instead of "
            f"{_some(expected.prompt_ids)}: its tokenizer or chat template is not the model's",
        )


def _check_tokens(expected: Answer, given: Answer, what: str) -> None:
    """Equal token by token, up to a tie in the reference."""
    for position, (wanted, got) in enumerate(zip(expected.ids, given.ids, strict=False)):
        if wanted == got:
            continue
        known = expected.logprobs[position]
        gap = float(known[wanted] - known[got]) if got < len(known) else float("inf")
        if gap <= TIE:
            return
        raise _different(
            what,
            f"to {expected.prompt!r} base + adapter answers\n  {expected.text!r}\nand the export\n  "
            f"{given.text!r}\n(token {position + 1} differs, by {gap:.3g} nats in the reference)",
        )
    if len(expected.ids) != len(given.ids):
        raise _different(what, f"to {expected.prompt!r} it stops elsewhere:\n  {expected.text!r}\n  {given.text!r}")


def _check_rows(expected: Answer, given: Answer, what: str) -> None:
    rows, wanted = len(given.logprobs), len(expected.logprobs)
    if rows != wanted:
        raise _different(what, f"to {expected.prompt!r} it gave {rows} distributions instead of {wanted}")


def _some(ids: tuple[int, ...]) -> str:
    return str(list(ids[:12])) + (" …" if len(ids) > 12 else "")


def _different(what: str, how: str) -> ReleaseError:
    return ReleaseError(
        f"{what} does not answer like base + adapter: {how}",
        remedy="nothing was published; if the difference is wanted, set its limit in [verify.kl] of release.toml",
    )
