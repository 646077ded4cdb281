"""What a scheme of the vllm format costs, for whom it is, and how its exports are run to be verified."""

# Mean KL in nats that a scheme may cost, and the least share of tokens where the likeliest one is the same:
# docs/quality.md has the measurements that these come from, as those of GGUF types do.
KL = {"fp8-dynamic": 0.04, "fp8-block": 0.04, "w4a16": 0.3, "nvfp4a16": 0.3}
TOP1 = {"fp8-dynamic": 0.86, "fp8-block": 0.86, "w4a16": 0.7, "nvfp4a16": 0.7}
# What vLLM's documentation says of the schemes (features/quantization), for people who have to choose.
SERVES = {
    "fp8-dynamic": "half the memory; GPUs that have FP8 (Ada, Hopper and later) compute in it, older ones widen it",
    "fp8-block": "half the memory, scales for blocks of 128 x 128; Hopper and later compute in FP8",
    "w4a16": "a quarter of the memory, for few requests at a time; most GPUs since Turing",
    "nvfp4a16": "a quarter of the memory in NVFP4, computed in 16 bits",
}
_ROUNDED = {
    "fp8-dynamic": "what they are multiplied by rounded to FP8 token by token",
    "fp8-block": "what they are multiplied by rounded to FP8 in groups of 128",
}


def how_it_was_run(scheme: str | None, *, experts: bool) -> str | None:
    """What was computed of what vLLM computes, for the evidence; None where that is nothing special. `experts` is
    whether the model has any."""
    if scheme is None:
        return None
    told = ["the quantized weights dequantized to float32"]
    if scheme in _ROUNDED:
        told.append(_ROUNDED[scheme] + (", but for experts" if experts else ""))
    return " and ".join(told)
