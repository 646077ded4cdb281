"""`[verify]`: what exports are asked, and how far their answers may be from base + adapter."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tagship.system.toml_reader import Reader

_PROMPTS = ("Hello! Who are you?", "Write one sentence about the sea.", "Count from one to five.")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyPolicy:
    """How an export is held against base + adapter; `kl` is in nats, by quantization type."""

    prompts: tuple[str, ...]
    max_tokens: int
    kl: Mapping[str, float]


def read_verify(verify: Reader, quants: Collection[str]) -> VerifyPolicy:
    """The table `[verify]`; `quants` are the quantization types that it may name."""
    limits = verify.table("kl")
    kl = {quant: limits.number(quant) for quant in quants}
    limits.close()
    policy = VerifyPolicy(
        prompts=verify.texts("prompts", _PROMPTS),
        max_tokens=verify.count("max_tokens", 64),
        kl={quant: limit for quant, limit in kl.items() if limit is not None},
    )
    if not policy.prompts:
        verify.note("prompts", "is empty: give at least one, or the exports would go out untried")
    verify.close()
    return policy
