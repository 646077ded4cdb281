"""Types that are chosen for tensors by patterns of their names: what patterns may be, and what they choose."""

import pytest
from tagship.gguf.quant_mix import GgufTensor, Mix, ModelFacts, takes_choices, tensor_types
from tagship.gguf.tensor_choices import CHOOSABLE, TensorChoice, check_patterns, problem_of
from tagship.gguf.types import TENSOR_TYPES
from tagship.system.errors import ReleaseError

SHAPES = {
    "token_embd.weight": (512, 256),
    "output.weight": (512, 256),
    "output_norm.weight": (256,),
    **{f"blk.{layer}.attn_v.weight": (256, 256) for layer in range(8)},
    **{f"blk.{layer}.attn_output.weight": (256, 256) for layer in range(8)},
    **{f"blk.{layer}.attn_norm.weight": (256,) for layer in range(8)},
}


def chosen(quant: str, *choices: tuple[str, str], columns: int = 256) -> dict[str, str]:
    tensors = [
        GgufTensor(name=name, shape=(*shape[:-1], columns), type="BF16" if shape[:-1] else "F32")
        for name, shape in SHAPES.items()
    ]
    mix = Mix(quant=quant, choices=tuple(TensorChoice(*choice) for choice in choices))
    return tensor_types(mix, tensors, ModelFacts(architecture="llama", layers=8, experts=0, gqa=1))


def test_a_pattern_is_searched_for() -> None:
    """It is found anywhere in a name, so that `output` is of the attention's, too; norms stay as they are."""
    types = chosen("q4_k_m", ("output", "Q8_0"))
    raised = {name for name, kind in types.items() if kind == "Q8_0"}
    assert raised == {"output.weight", *(f"blk.{layer}.attn_output.weight" for layer in range(8))}
    assert chosen("q4_k_m", (r"^output\.", "Q8_0"))["blk.0.attn_output.weight"] == "Q4_K"
    assert types["output_norm.weight"] == "F32"


def test_the_first_that_is_found_decides() -> None:
    """Of several patterns the first one does, and embedding and head have no rules of their own before them."""
    types = chosen("q4_k_m", (r"blk\.0\.", "Q5_0"), ("attn_v", "IQ4_XS"), ("token_embd|output", "F16"))
    assert (types["blk.0.attn_v.weight"], types["blk.1.attn_v.weight"]) == ("Q5_0", "IQ4_XS")
    assert types["token_embd.weight"] == types["output.weight"] == types["blk.3.attn_output.weight"] == "F16"


def test_what_is_chosen_is_not_counted() -> None:
    """llama.cpp's mixes give more bits to some of the values that they meet, and do not meet what is chosen."""
    plain = [f"blk.{layer}.attn_v.weight" for layer in range(8) if layer in (0, 3, 6, 7)]
    assert [name for name, kind in chosen("q4_k_m").items() if kind == "Q6_K" and "attn_v" in name] == plain
    types = chosen("q4_k_m", (r"blk\.[0-2]\.attn_v", "Q4_0"))
    assert [name for name, kind in types.items() if kind == "Q6_K" and "attn_v" in name] == [
        f"blk.{layer}.attn_v.weight" for layer in (3, 6)
    ]


@pytest.mark.parametrize(
    ("kind", "instead"), [("Q6_K", "Q8_0"), ("TQ1_0", "Q4_0"), ("IQ2_S", "IQ4_NL"), ("F32", "F32")]
)
def test_rows_that_do_not_fit(kind: str, instead: str) -> None:
    """Rows that are no multiple of 256 get the type that llama.cpp has for them instead."""
    assert chosen("q4_k_m", ("attn_v", kind), columns=288)["blk.0.attn_v.weight"] == instead


@pytest.mark.parametrize("quant", ["f32", "f16", "bf16"])
def test_files_of_floats(quant: str) -> None:
    """Nothing is chosen in files of floats, as llama-quantize does not."""
    assert set(chosen(quant, ("attn_v", "Q8_0")).values()) == {quant.upper(), "F32"}
    assert not takes_choices(quant)


def test_types_are_known() -> None:
    """Each type that may be chosen is one of ggml's."""
    assert {kind.upper() for kind in CHOOSABLE} <= {known.name for known in TENSOR_TYPES.values()}


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", "is empty"),
        ("attn_v=", "neither = nor white space"),
        ("a b", "neither = nor white space"),
        (r"blk\.\D", r"capitals, which llama-quantize reads as small letters: blk\.\d"),
        ("(?>x)attn", "that llama-quantize does not know"),
        ("(?i)attn", "that llama-quantize does not know"),
        ("[[:digit:]]", "that llama-quantize does not know"),
        ("a{,2}", "that llama-quantize does not know"),
        ("[]a]", "that llama-quantize does not know"),
        ("attn_(v", "is no regular expression"),
        ("a{99999999999999999999}", "is no regular expression"),
        ("(" * 5000 + "a" + ")" * 5000, "is no regular expression"),
        ("(([a-z_.0-9]+)+)+!", "may take for ever"),
        ("(?:a|a)*b", "may take for ever"),
        (r"^blk\.[0-9]+\.attn_(?:v|k)\.weight$", None),
        (r"blk\.(1?[0-9]|2[0-7])\.ffn_(up|down)", None),
        (r"[(+)]+\(a+\)+", None),
    ],
)
def test_what_patterns_may_be(pattern: str, problem: str | None) -> None:
    """What llama-quantize would refuse or read otherwise is a mistake."""
    found = problem_of(pattern)
    assert found is None if problem is None else problem in str(found)


def test_patterns_that_fit_nothing() -> None:
    """A pattern in no tensor's name is refused with the nearest names, and one of tensors that stay as they are."""
    check_patterns([TensorChoice(r"blk\.[0-9]+\.attn_v", "Q8_0")], SHAPES)
    with pytest.raises(ReleaseError, match=r"attn_value' fits no tensor") as caught:
        check_patterns([TensorChoice(r"blk\.[0-9]+\.attn_value", "Q8_0")], SHAPES)
    assert str(caught.value.remedy).startswith("the nearest are blk.0.attn_v.weight, ")
    with pytest.raises(ReleaseError, match=r"not quantized: output_norm.weight and 8 more"):
        check_patterns([TensorChoice("norm", "Q8_0")], SHAPES)
