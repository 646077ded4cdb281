"""What a quantization type costs, and for whom it is: bits, divergence, words, time."""

from tagship.formats.ollama.mixes import MixAim
from tagship.verify.questions import Limits

# Bits for each weight of a file, rounded up a little: llama.cpp's README of tools/quantize, for
# Llama 3.1 8B. A small model with large embeddings takes more, so the prediction adds a tenth.
BITS = {
    "f32": 32.0,
    "f16": 16.0,
    "bf16": 16.0,
    "q8_0": 8.5,
    "q6_k": 6.6,
    "q5_k_m": 5.7,
    "q5_k_s": 5.6,
    "q4_k_m": 4.9,
    "q4_k_s": 4.7,
    "q4_0": 4.7,
    "iq4_nl": 4.7,
    "iq4_xs": 4.5,
    "q3_k_m": 4.0,
    "iq3_m": 3.8,
    "iq3_s": 3.7,
    "iq3_xs": 3.5,
    "iq3_xxs": 3.3,
    "q2_k": 3.2,
    "iq2_m": 3.0,
    "iq2_s": 2.8,
    "iq2_xs": 2.6,
    "iq2_xxs": 2.4,
    "iq1_m": 2.2,
    "iq1_s": 2.1,
}
# Mean KL in nats that a quantization type may cost, and the least share of tokens where the likeliest one is the same:
# about a quarter more than it costs a model of 135M parameters with rows of 768, the hardest of those that were
# measured, and no more than what still is the same model. docs/quality.md has the measurements.
_MOST_KL, _LEAST_TOP1 = 0.3, 0.7
KL = {
    "f32": 0.005,
    "f16": 0.005,
    "bf16": 0.005,
    "q8_0": 0.01,
    "q6_k": 0.06,
    "q5_k_m": 0.12,
    "q5_k_s": 0.13,
    "q4_k_m": 0.24,
    "q4_k_s": _MOST_KL,
    "q4_0": _MOST_KL,
    "iq4_nl": _MOST_KL,
    "iq4_xs": _MOST_KL,
    "q3_k_m": _MOST_KL,
    "iq3_m": _MOST_KL,
    "iq3_s": _MOST_KL,
    "iq3_xs": _MOST_KL,
    "iq3_xxs": _MOST_KL,
    "q2_k": _MOST_KL,
    "iq2_m": _MOST_KL,
    "iq2_s": _MOST_KL,
    "iq2_xs": _MOST_KL,
    "iq2_xxs": _MOST_KL,
    "iq1_m": _MOST_KL,
    "iq1_s": _MOST_KL,
}
TOP1 = {
    "f32": 0.96,
    "f16": 0.96,
    "bf16": 0.96,
    "q8_0": 0.92,
    "q6_k": 0.85,
    "q5_k_m": 0.78,
    "q5_k_s": 0.76,
    "q4_k_m": 0.7,
    "q4_k_s": _LEAST_TOP1,
    "q4_0": _LEAST_TOP1,
    "iq4_nl": _LEAST_TOP1,
    "iq4_xs": _LEAST_TOP1,
    "q3_k_m": _LEAST_TOP1,
    "iq3_m": _LEAST_TOP1,
    "iq3_s": _LEAST_TOP1,
    "iq3_xs": _LEAST_TOP1,
    "iq3_xxs": _LEAST_TOP1,
    "q2_k": _LEAST_TOP1,
    "iq2_m": _LEAST_TOP1,
    "iq2_s": _LEAST_TOP1,
    "iq2_xs": _LEAST_TOP1,
    "iq2_xxs": _LEAST_TOP1,
    "iq1_m": _LEAST_TOP1,
    "iq1_s": _LEAST_TOP1,
}
# What llama.cpp's own tables say of the types (tools/quantize), for people who have to choose.
SERVES = {
    "f32": "for measuring; the weights as they were trained, widened",
    "f16": "all that the weights hold, but for very large numbers",
    "bf16": "all that the weights hold, for hardware with bf16",
    "q8_0": "next to no loss, half the size of 16 bits",
    "q6_k": "little loss, for where there is room",
    "q5_k_m": "between q4_k_m and q6_k in size and loss",
    "q5_k_s": "a little smaller than q5_k_m",
    "q4_k_m": "the usual choice: small, at little loss",
    "q4_k_s": "a little smaller than q4_k_m, and a little worse",
    "q4_0": "for old or weak hardware; q4_k_m is better where it runs",
    "iq4_nl": "as small as q4_k_s, often better; slower without a GPU",
    "iq4_xs": "smaller than q4_k_s, often as good; slower without a GPU",
    "q3_k_m": "small, at a loss that shows",
    "iq3_m": "smaller than q3_k_m, and often as good",
    "iq3_s": "a little smaller than iq3_m",
    "iq3_xs": "smaller than iq3_s, at a loss that shows",
    "iq3_xxs": "three bits, at a loss that shows",
    "q2_k": "small, at a loss that shows clearly; iq3_xxs and iq2_m are often better",
    "iq2_m": "for large models that fit no other way; smaller than q2_k, often better",
    "iq2_s": "a little smaller than iq2_m",
    "iq2_xs": "two bits, for large models that fit no other way",
    "iq2_xxs": "two bits, a little worse than iq2_xs",
    "iq1_m": "for the largest models alone, at a loss that shows everywhere",
    "iq1_s": "the smallest, a little worse than iq1_m",
}
# Numbers that are encoded a second, by our encoder and by ggml's (docs/performance.md); other types were not measured.
_SPEEDS = dict.fromkeys(("q4_k_m", "q4_k_s", "q5_k_m", "q5_k_s"), (93e6, 43e6)) | {"q8_0": (330e6, 330e6)}
_DISK = 0.8e9  # bytes a second, where it is waited for


def seconds_to_encode(quant: str, numbers: int, size: int) -> tuple[float, float] | None:
    """About how long a model of so many numbers takes on two cores, at best and at worst, where the file has `size`
    bytes; None for types that were not measured."""
    speeds = _SPEEDS.get(quant)
    return (numbers / speeds[0], numbers / speeds[1] + size / _DISK) if speeds else None


# What is said of a mix that was found.
OF_A_MIX = "each tensor in the type that costs this model least"
# What a mix for a divergence may take at most: it is not known before it is found.
_MOST_BITS = 8.5


def bits_of(aim: MixAim) -> float:
    """The bits for each weight of a mix, at most."""
    return _MOST_BITS if aim.bpw is None else aim.bpw


def limits_of_mix(aim: MixAim) -> Limits:
    """What verifying holds a mix to: a divergence that was asked for, or else what llama.cpp's type of as many bits is
    held to, and where none has so few, the loosest of all."""
    key = f"[verify.limits.{aim.name}]"
    if aim.kl is not None:
        return Limits(kl=aim.kl, top1=_LEAST_TOP1, same_tokens=False, key=key)
    smaller = [quant for quant in KL if BITS[quant] <= bits_of(aim)]
    nearest = max(smaller, key=lambda quant: (BITS[quant], -KL[quant]), default="iq1_s")
    return Limits(kl=KL[nearest], top1=TOP1[nearest], same_tokens=False, key=key)
