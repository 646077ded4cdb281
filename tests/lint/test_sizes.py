"""Sizes in names, against how many parameters models really have."""

import pytest
from tagship.lint.sizes import Parameters, counted, sizes_in

B, M = 10**9, 10**6


def dense(total: float, vocabulary: float = 0) -> Parameters:
    return Parameters(total=int(total * B), vocabulary=int(vocabulary * B))


# Real ones: what their files hold, in billions, and the names that they are published under.
MIXTRAL = Parameters(total=46_703 * M, vocabulary=262 * M, in_experts=45_097 * M, experts=8, used=2)
QWEN3_MOE = Parameters(total=30_532 * M, vocabulary=622 * M, in_experts=28_991 * M, experts=128, used=8)
OLMOE = Parameters(total=6_919 * M, vocabulary=206 * M, in_experts=6_442 * M, experts=64, used=8)
SCOUT = Parameters(total=107_770 * M, vocabulary=2_069 * M, in_experts=96_636 * M, experts=16, used=1)


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("llama-2-7b-chat", dense(6.738, 0.262)),
        ("Mistral-7B-v0.1", dense(7.242, 0.262)),
        ("gemma-7b", dense(8.538, 0.786)),
        ("gemma-2b-it", dense(2.506, 0.524)),
        ("Qwen2.5-0.5B-Instruct", dense(0.494, 0.136)),
        ("Qwen1.5-0.5B", dense(0.620, 0.311)),
        ("Qwen3-0.6B", dense(0.751, 0.311)),
        ("Qwen2.5-VL-7B-Instruct", dense(8.292, 1.090)),
        ("Qwen2.5-VL-3B-Instruct", dense(3.755, 0.311)),
        ("Llama-3.2-1B", dense(1.236, 0.263)),
        ("Falcon3-1B-Base", dense(1.669, 0.537)),
        ("OLMo-2-0425-1B", dense(1.485, 0.411)),
        ("internlm2-7b", dense(7.738, 0.758)),
        ("bloom-1b7", dense(1.722, 0.514)),
        ("bloom-7b1", dense(7.069, 1.027)),
        ("stablelm-2-1_6b", dense(1.645, 0.411)),
        ("opt-350m", dense(0.331, 0.026)),
        ("pythia-160m", dense(0.162, 0.077)),
        ("SmolLM2-135M-Instruct", dense(0.1345, 0.0283)),
        ("gemma-3-270m", dense(0.268, 0.168)),
        ("phi-3-mini-3.8b-lora", dense(3.821, 0.197)),
        ("gemma-3n-E2B-it", dense(5.44)),
        ("llama-7b-100b-tokens", dense(6.738)),
        ("Mixtral-8x7B-Instruct-v0.1", MIXTRAL),
        ("mixtral-47b", MIXTRAL),
        ("Qwen3-30B-A3B", QWEN3_MOE),
        ("OLMoE-1B-7B-0924", OLMOE),
        ("Llama-4-Scout-17B-16E", SCOUT),
        # As the policy cuts them: hyphens gone, ten characters.
        ("qwen27b-minimal", dense(7.615)),
        ("llama3.18b-minimal", dense(8.03)),
        ("qwen2.51.5b-minimal", dense(1.543)),
    ],
)
def test_sizes_that_are_so(name: str, held: Parameters) -> None:
    """What publishers call their own models is right, however they count; one of the sizes of a name is enough."""
    sizes = sizes_in(name)
    assert sizes and any(size.fits(held) for size in sizes)


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("avro-7b-lora", dense(3.821, 0.197)),
        ("avro-8b", dense(6.738, 0.262)),
        ("avro-135m", dense(0.3618, 0.047)),
        ("avro-70b", dense(32.8)),
        ("avro-1.7b", dense(7.0)),
        ("avro-7b1", dense(1.7)),
        ("avro-1_6b", dense(3.8)),
        ("avro-8x7b", dense(7.242)),
        ("avro-16x7b", MIXTRAL),
        ("avro-8x22b", MIXTRAL),
        ("avro-a22b", QWEN3_MOE),
        ("avro-13b-a3b", dense(7.0)),
        ("llama7b-minimal", dense(1.1)),
    ],
)
def test_sizes_that_are_not_so(name: str, held: Parameters) -> None:
    """A size that no way of counting makes right fits not."""
    sizes = sizes_in(name)
    assert sizes and not any(size.fits(held) for size in sizes)


@pytest.mark.parametrize(
    "name",
    [
        "phi3mini4k-minimal-r32-a64-e20-20250914-132416",
        "phi3avro-minimal-q4_k_m-gguf-v2.0.1",
        "phi-3-mini-128k-instruct",
        "smollm2135-minimal-lora",
        "model-4bit-8bits",
        "phi3mini-a64-e2",
        "v0.1-b2",
        "gemma29bit-minimal",  # gemma-2-9b-it, cut
        "base-0b",
        "trained-on-5b-tokens",
        "steps-10m",
    ],
)
def test_what_is_no_size(name: str) -> None:
    """Context lengths, bits, ranks, versions and amounts of data are no sizes."""
    assert sizes_in(name) == []


@pytest.mark.parametrize(
    ("name", "doubtful"),
    [
        ("avro-13b", False),
        ("avro-3b", True),  # of 3.8 without what sees
        ("avro-1m", True),  # tokens of context
        ("phi3avro7b", True),
        ("avro-2x7b", False),
    ],
)
def test_sizes_that_may_be(name: str, doubtful: bool) -> None:
    """What is nearly so, or may count something else, is not called a lie."""
    held = Parameters(total=4_400_000_000, senses=600_000_000)
    assert {size.may_be(held) for size in sizes_in(name)} == {doubtful}


def test_mixture_that_does_not_say_how_many_it_uses() -> None:
    """Then every active size up to the whole may be so."""
    (_, active) = sizes_in("avro-30b-a3b")
    assert active.fits(Parameters(total=30_000_000_000, in_experts=28_000_000_000, experts=64))
    assert not active.fits(Parameters(total=1_000_000_000, experts=64))


def test_data_set_with_a_size() -> None:
    """What a data set is called says nothing of the model."""
    assert sizes_in("phi3-web10b-r8", ["web10b"]) == []
    assert [size.text for size in sizes_in("phi3-3.8b-web10b", ["web10b"])] == ["3.8b"]


def test_how_numbers_are_told() -> None:
    """Parameters are counted as people do."""
    assert [counted(number) for number in (3_821_000_000, 134_515_008, 7_000, 120)] == ["3.82B", "135M", "7K", "120"]
    assert "47" in MIXTRAL.shown.replace("46.7", "47") and "12.9B of them for a token" in MIXTRAL.shown
