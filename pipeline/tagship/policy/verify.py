"""`[verify]`: what exports are asked, and how far what they answer may be from base + adapter."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from tagship.system.toml_reader import Reader
from tagship.verify.questions import Limits

# The first one is what a card shows, and what its lines of use ask: an answer that any model has, and soon ends.
_PROMPTS = ("What is a rainbow? Be brief.", "Write one sentence about the sea.", "Count from one to five.")
_QUICK_TOKENS = 16
GENERAL_PROMPTS = (
    "the prompts are general ones, and one of them stands on the card: [verify] prompts in release.toml names "
    "questions that the training changed the answer to"
)

# How much is compared: `--quick`, as usual, `--thorough`.
QUICK, USUAL, THOROUGH = "quick", "usual", "thorough"


class OwnLimits(Struct, frozen=True, kw_only=True):
    """`[verify.limits.QUANT]`: the highest mean KL divergence in nats, and the lowest share of tokens where the
    likeliest one is the same; None where the format's own holds."""

    kl: float | None = None
    top1: float | None = None


class VerifyPolicy(Struct, frozen=True, kw_only=True):
    """How an export is held against base + adapter.

    `prompts` are asked, each answered with at most `max_tokens`. `text` is a file that is read beside, None for the one
    that ships. `limits` are by quantization type. Without `required`, an export that fails is published, and says so.
    `native` is whether exports are asked in the runtime that people run them by, too, where evidence is of another one;
    None for where it is installed, and can run them.
    """

    prompts: tuple[str, ...]
    max_tokens: int
    required: bool = True
    native: bool | None = None
    text: Path | None = None
    limits: Mapping[str, OwnLimits] = field(default_factory=dict)

    @property
    def asks_in_general(self) -> bool:
        """Whether the policy names no prompts of its own."""
        return self.prompts == _PROMPTS

    def tokens_of(self, extent: str) -> int:
        """How many tokens an answer may have."""
        return min(self.max_tokens, _QUICK_TOKENS) if extent == QUICK else self.max_tokens

    def text_of(self, extent: str, usual: int) -> int:
        """How many tokens of the text are read, of which a model usually reads so many."""
        return {QUICK: 0, USUAL: usual, THOROUGH: 1 << 30}[extent]

    def limited(self, limits: Limits, quant: str | None) -> Limits:
        """A format's limits, with what the policy says for a quantization type in their place."""
        own = self.limits.get(quant or "")
        if own is None:
            return limits
        return replace(
            limits,
            kl=limits.kl if own.kl is None else own.kl,
            top1=limits.top1 if own.top1 is None else own.top1,
        )


def read_verify(verify: Reader, quants: Collection[str], mistaken: Collection[str] = ()) -> VerifyPolicy:
    """The table `[verify]`; `quants` are the quantization types that it may name, `mistaken` the formats that are none,
    whose limits, and those of whose types, are no second mistake."""
    limits = dict(_limits(verify.table("limits"), quants, mistaken))
    for quant, kl in _older(verify.table("kl"), quants):
        limits.setdefault(quant, OwnLimits(kl=kl))
    policy = VerifyPolicy(
        prompts=verify.texts("prompts", _PROMPTS),
        max_tokens=verify.count("max_tokens", 64),
        required=verify.flag("required", default=True),
        native=verify.optional_flag("native"),
        text=verify.optional_path("text"),
        limits=limits,
    )
    if not policy.prompts:
        verify.note("prompts", "is empty: give at least one, or the exports would go out untried")
    if policy.text and not policy.text.is_file():
        verify.note("text", f"names {policy.text}, which is no file")
    verify.close()
    return policy


def _limits(table: Reader, quants: Collection[str], mistaken: Collection[str]) -> Iterator[tuple[str, OwnLimits]]:
    for quant in (*quants, *mistaken):
        if not table.has(quant):
            continue
        own = table.table(quant)
        limits = OwnLimits(kl=own.number("kl"), top1=own.fraction("top1", None))
        own.close()
        yield quant, limits
    table.close(quants, guessing=bool(mistaken))  # whose types are not known


def _older(table: Reader, quants: Collection[str]) -> Iterator[tuple[str, float]]:
    """`[verify.kl]`, which was there before `[verify.limits]`."""
    for quant in quants:
        if (kl := table.number(quant)) is not None:
            yield quant, kl
    table.close(quants)
