"""What a comparison showed, as data: what was compared with what, and what came out.

It is recorded in release.json, beside the digests of the files that it speaks of, and whatever is said of an export
anywhere (its card, the commit on the Hub, `--json`) is said by it alone.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import MsgspecError, Struct, convert, to_builtins

from tagship.verify.questions import Limits

PASSED, FAILED, UNTESTED = "passed", "failed", "untested"
BASE, TRAINED, EXPORT = "base", "trained", "export"
"""The models that are scored at a task, by what evidence calls them."""


class Measured(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a model is from another, over all `tokens`.

    `kl` is the mean Kullback-Leibler divergence of the next-token distributions in nats, with its standard error,
    median, 99th and 99.9th percentile and maximum; `rms_probability` the root mean square of the difference in
    probability of the token that follows; `top1` the share of tokens where both find the same one the likeliest;
    `perplexity_ratio` how many times as perplexed the model is by the text, with its standard error. Of a single token
    no error is known.
    """

    tokens: int
    kl: float
    kl_error: float | None
    kl_median: float
    kl_99: float
    kl_999: float
    kl_max: float
    rms_probability: float
    top1: float
    perplexity_ratio: float
    perplexity_ratio_error: float | None


class Example(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question that a model was asked, the prompt that its template makes of it, and what it answers; `ended` is
    whether the answer ends by itself."""

    question: str
    prompt: str
    answer: str
    ended: bool


class FourBit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of an adapter that was trained on the base in 4 bits and is not merged into those: over so many `tokens` how far
    base + adapter in 16 bits is from that in 4 bits, and how far the adapter moves the base, each a mean KL divergence
    in nats."""

    tokens: int
    bases_kl: float
    adapter_kl: float

    @property
    def outweighs(self) -> bool:
        """Whether the base makes as much of a difference as the adapter does."""
        return not self.bases_kl < self.adapter_kl


class Native(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an export answered in the runtime that people run it by, `runtime` with its versions, where that is another
    one: as many as `same` of the answers of base + adapter, and how far apart it is along all of them, with its
    `limits`. Where it could not be asked, `why` says so, and nothing else is known."""

    runtime: str
    why: str | None = None
    same: int = 0
    answers: Measured | None = None
    limits: Limits | None = None


class Evidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a comparison of an export with base + adapter showed.

    `outcome` is passed, failed or untested; `why` says what stood against it. `runtime` is what ran the export, and
    `reference` what ran base + adapter, each with its versions; `date` is when, in ISO format. Of the greedy answers of
    base + adapter to so many `prompts` as many as `same` are the export's, token by token; `answers` and `text` are how
    far it is apart along them, and along a text. `digests` are the SHA-256 of what was asked and of the text. `quick`
    is whether less was compared than is usual. `copied` is whether it is the run's own files, which were compared byte
    by byte, and not run. `unlike` are the conversations, by name, of which its runtime makes another prompt than the
    model's own chat template. `native` is what it answered in the runtime that people run it by. `evaluation` is what
    the base, base + adapter and the export score at the project's own task, as documents by those names. `four_bit` is
    what the base makes of it that the adapter was not trained on. `files` is the digest of the files that were
    compared.
    """

    outcome: str
    why: str | None = None
    runtime: str | None = None
    reference: str | None = None
    date: str | None = None
    prompts: int = 0
    same: int = 0
    answers: Measured | None = None
    text: Measured | None = None
    limits: Limits | None = None
    digests: Mapping[str, str] | None = None
    quick: bool = False
    copied: bool = False
    unlike: tuple[str, ...] = ()
    native: Native | None = None
    example: Example | None = None
    evaluation: Mapping[str, Any] | None = None
    four_bit: FourBit | None = None
    files: str | None = None

    @property
    def is_short(self) -> bool:
        """Whether less than is usual stands behind it; the run's own files are compared whole in any case."""
        return self.quick and not self.copied and self.outcome == PASSED

    @property
    def summary(self) -> str:
        """In a line."""
        if self.outcome != PASSED:
            return f"{self.outcome}: {self.why}"
        if self.copied:
            return "the run's own files, each of its parameters in its place"
        assert self.answers is not None and self.limits is not None
        told = [
            f"{self.same} of {self.prompts} greedy answers equal",
            *(["the others up to ties"] if self.limits.same_tokens and self.same < self.prompts else ()),
            f"mean KL {self.answers.kl:.2g} nats over {self.answers.tokens} tokens (limit {self.limits.kl:g})",
        ]
        if self.quick and not self.text:
            told.append("and of no text, by --quick")
        if self.text:
            told.append(f"{self.text.kl:.2g} over {self.text.tokens} of text, {self.text.top1:.1%} the same likeliest")
        if self.native and self.native.answers and self.native.limits:
            in_it = f"{self.native.same} equal and {self.native.answers.kl:.2g} nats"
            told.append(f"in {self.native.runtime}, which people run it by, {in_it} (limit {self.native.limits.kl:g})")
        return ", ".join(told)

    def document(self) -> dict[str, Any]:
        """As JSON has it, without what is not known."""
        known = _known(to_builtins(self))
        if self.native:
            known["native"] = _known(known["native"])
        return known

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Evidence":
        """Read what `document` made. Raises ValueError for anything else."""
        try:
            return convert(document, cls)
        except (MsgspecError, SystemError) as error:  # 0.20 raises that for a whole number that is too large
            raise ValueError(str(error)) from None


def _known(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value not in (None, (), False)}
