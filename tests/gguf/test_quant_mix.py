"""Which type each tensor of a quantized GGUF gets.

The expectations were derived by hand from `src/llama-quant.cpp` of llama.cpp at revision 0c1e57098,
and agree with what its `llama-quantize` chose for models of these shapes.
"""

import random
from collections.abc import Iterable

import pytest
from tagship.gguf.quant_mix import QUANTS, GgufTensor, Mix, ModelFacts, tensor_types
from tagship.gguf.tensor_categories import may_be_quantized

# Of 32 layers those that get more bits in the mixes "M": the first and the last eighth, and each third between.
MORE_OF_32 = {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31}
MORE_OF_16 = {0, 1, 4, 7, 10, 13, 14, 15}
ALL = range(10_000)
NONE: set[int] = set()
FLOATS = ("f32", "f16", "bf16")
# Of each quant: the type of most tensors, and that of output.weight.
PLAIN = {
    "f32": ("F32", "F32"),
    "f16": ("F16", "F16"),
    "bf16": ("BF16", "BF16"),
    "q8_0": ("Q8_0", "Q8_0"),
    "q6_k": ("Q6_K", "Q6_K"),
    "q5_k_m": ("Q5_K", "Q6_K"),
    "q5_k_s": ("Q5_K", "Q6_K"),
    "q4_k_m": ("Q4_K", "Q6_K"),
    "q4_k_s": ("Q4_K", "Q6_K"),
    "q4_0": ("Q4_0", "Q6_K"),
    "iq4_nl": ("IQ4_NL", "Q6_K"),
    "iq4_xs": ("IQ4_XS", "Q6_K"),
    "q3_k_m": ("Q3_K", "Q6_K"),
    "q2_k": ("Q2_K", "Q6_K"),
    "iq3_m": ("IQ3_S", "Q6_K"),
    "iq3_s": ("IQ3_S", "Q6_K"),
}
# With an importance matrix, which they need: most tensors, the embeddings, `output.weight`, values, the outputs of
# attention, the down projections of the first eighth of the layers, and queries and keys.
WEIGHED = {
    "iq3_xs": ("IQ3_S", "IQ3_S", "Q6_K", "IQ3_S", "IQ3_S", "IQ3_S", "IQ3_XXS"),
    "iq3_xxs": ("IQ3_XXS", "IQ3_S", "Q5_K", "IQ3_XXS", "IQ3_S", "IQ3_XXS", "IQ2_S"),
    "iq2_m": ("IQ2_S", "IQ3_S", "Q5_K", "IQ3_S", "IQ3_S", "IQ3_S", "IQ2_S"),
    "iq2_s": ("IQ2_XS", "IQ3_S", "Q5_K", "IQ3_S", "IQ3_S", "IQ3_S", "IQ2_XS"),
    "iq2_xs": ("IQ2_XS", "Q2_K", "Q5_K", "Q2_K", "IQ2_XS", "Q2_K", "IQ2_XS"),
    "iq2_xxs": ("IQ2_XXS", "Q2_K", "Q5_K", "Q2_K", "IQ2_XXS", "Q2_K", "IQ2_XXS"),
    "iq1_m": ("IQ1_M", "Q2_K", "Q5_K", "Q2_K", "IQ2_XXS", "Q2_K", "IQ1_M"),
    "iq1_s": ("IQ1_S", "Q2_K", "Q5_K", "Q2_K", "IQ2_XXS", "Q2_K", "IQ1_S"),
}
LLAMA = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
PHI3 = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")


def matrix(name: str, columns: int = 4096, *more: int) -> GgufTensor:
    return GgufTensor(name=f"{name}.weight", shape=(*more, 512, columns), type="BF16")


def norm(name: str, columns: int = 4096) -> GgufTensor:
    return GgufTensor(name=f"{name}.weight", shape=(columns,), type="F32")


def model(layers: int, kinds: Iterable[str], *, tied: bool = False, columns: int = 4096) -> list[GgufTensor]:
    """The tensors of a model, in an order that is not llama.cpp's."""
    tensors = [matrix("token_embd", columns), norm("output_norm", columns)]
    tensors += [] if tied else [matrix("output", columns)]
    for layer in range(layers):
        tensors += [norm(f"blk.{layer}.attn_norm"), *(matrix(f"blk.{layer}.{kind}", columns) for kind in kinds)]
    random.Random(0).shuffle(tensors)
    return tensors


def facts(layers: int, *, architecture: str = "llama", experts: int = 0, gqa: int = 1) -> ModelFacts:
    return ModelFacts(architecture=architecture, layers=layers, experts=experts, gqa=gqa)


def by_layer(types: dict[str, str], kind: str) -> dict[int, str]:
    """The types of one kind of tensor, by layer."""
    return {int(name.split(".")[1]): chosen for name, chosen in types.items() if name.endswith(f".{kind}.weight")}


def layers_of(types: dict[str, str], kind: str, wanted: str) -> set[int]:
    return {layer for layer, chosen in by_layer(types, kind).items() if chosen == wanted}


def test_every_quant_is_expected_here() -> None:
    """The tables of this file name each quantization type of tagship."""
    assert {*PLAIN, *WEIGHED} == set(QUANTS)
    assert {name for name, quant in QUANTS.items() if quant.needs_imatrix} == set(WEIGHED)


@pytest.mark.parametrize("quant", WEIGHED)
def test_types_that_need_importance(quant: str) -> None:
    """The mixes of few bits, as llama-quantize makes them of 32 layers; iq3_xs lowers the middle layers' gates."""
    types = tensor_types(Mix(quant=quant), model(32, LLAMA), facts(32), imatrix=True)
    most, embeddings, output, values, outputs, first_downs, queries = WEIGHED[quant]
    assert (types["token_embd.weight"], types["output.weight"]) == (embeddings, output)
    assert set(by_layer(types, "attn_v").values()) == {values}
    assert set(by_layer(types, "attn_output").values()) == {outputs}
    assert set(by_layer(types, "attn_q").values()) == set(by_layer(types, "attn_k").values()) == {queries}
    assert by_layer(types, "ffn_down") == {layer: first_downs if layer < 4 else most for layer in range(32)}
    lowered = range(4, 28) if quant == "iq3_xs" else ()
    for kind in ("ffn_up", "ffn_gate"):
        assert by_layer(types, kind) == {layer: "IQ3_XXS" if layer in lowered else most for layer in range(32)}


@pytest.mark.parametrize(
    ("quant", "values", "keys", "outputs", "first_downs"),
    [
        ("iq3_m", "Q8_0", "Q8_0", "Q5_K", "Q4_K"),
        ("iq3_xs", "Q8_0", "Q8_0", "Q5_K", "IQ3_S"),
        ("iq2_s", "Q4_K", "Q4_K", "Q5_K", "IQ3_S"),
        ("iq1_s", "Q4_K", "Q4_K", "Q5_K", "Q2_K"),
    ],
)
def test_few_bits_of_eight_experts(quant: str, values: str, keys: str, outputs: str, first_downs: str) -> None:
    """What all experts share is small beside them, and gets more bits."""
    kinds = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_down_exps")
    types = tensor_types(Mix(quant=quant), model(32, kinds), facts(32, experts=8), imatrix=True)
    assert set(by_layer(types, "attn_v").values()) == {values}
    assert set(by_layer(types, "attn_k").values()) == {keys}
    assert set(by_layer(types, "attn_output").values()) == {outputs}
    assert by_layer(types, "ffn_down_exps")[0] == first_downs


@pytest.mark.parametrize("quant", ["iq3_xxs", "iq3_xs", "iq3_s", "iq2_xxs", "iq1_m"])
def test_few_bits_of_shared_values(quant: str) -> None:
    """Values that four or more queries share are small, and get four bits."""
    types = tensor_types(Mix(quant=quant), model(32, LLAMA), facts(32, gqa=4), imatrix=True)
    assert set(by_layer(types, "attn_v").values()) == {"Q4_K"}


def test_few_bits_in_rows_of_another_length() -> None:
    """Rows that are no multiple of 256 get blocks of 32, and the head eight bits."""
    types = tensor_types(Mix(quant="iq2_xs"), model(32, LLAMA, columns=576), facts(32), imatrix=True)
    assert set(by_layer(types, "ffn_up").values()) == {"IQ4_NL"}
    assert (types["token_embd.weight"], types["output.weight"]) == ("Q4_0", "Q8_0")


@pytest.mark.parametrize("quant", PLAIN)
def test_most_tensors_get_the_type_of_the_file(quant: str) -> None:
    """Embedding, queries, keys, gate and up get the file's type, output.weight its own, and norms stay."""
    types = tensor_types(Mix(quant=quant), model(32, LLAMA), facts(32))
    most, output = PLAIN[quant]
    assert types["token_embd.weight"] == most
    assert types["output.weight"] == output
    assert types["output_norm.weight"] == "F32"
    for kind in ("attn_q", "attn_k", "ffn_gate", "ffn_up"):
        assert set(by_layer(types, kind).values()) == {most}
    assert set(by_layer(types, "attn_norm").values()) == {"F32"}
    assert len(types) == 3 + 32 * 8


@pytest.mark.parametrize("quant", ["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_s", "q4_0"])
def test_files_of_one_type(quant: str) -> None:
    """Some files have one type for every layer's matrices."""
    types = tensor_types(Mix(quant=quant), model(32, LLAMA), facts(32))
    for kind in LLAMA:
        assert set(by_layer(types, kind).values()) == {PLAIN[quant][0]}


@pytest.mark.parametrize(
    ("quant", "kind", "raised", "layers", "others"),
    [
        ("q5_k_m", "attn_v", "Q6_K", MORE_OF_32, "Q5_K"),
        ("q5_k_m", "ffn_down", "Q6_K", MORE_OF_32, "Q5_K"),
        ("q5_k_m", "attn_output", "Q5_K", ALL, ""),
        ("q4_k_m", "attn_v", "Q6_K", MORE_OF_32, "Q4_K"),
        ("q4_k_m", "ffn_down", "Q6_K", MORE_OF_32, "Q4_K"),
        ("q4_k_m", "attn_output", "Q4_K", ALL, ""),
        ("q4_k_s", "attn_v", "Q5_K", {0, 1, 2, 3}, "Q4_K"),
        ("q4_k_s", "ffn_down", "Q5_K", {0, 1, 2, 3}, "Q4_K"),
        ("q4_k_s", "attn_output", "Q4_K", ALL, ""),
        ("iq4_nl", "attn_v", "IQ4_NL", ALL, ""),
        ("iq4_nl", "ffn_down", "Q5_K", {0, 1, 2, 3}, "IQ4_NL"),
        ("iq4_xs", "attn_v", "IQ4_XS", ALL, ""),
        ("iq4_xs", "ffn_down", "Q5_K", {0, 1, 2, 3}, "IQ4_XS"),
        ("q3_k_m", "attn_v", "Q5_K", {0, 1}, "Q4_K"),
        ("q3_k_m", "ffn_down", "Q5_K", {0, 1}, "Q4_K"),
        ("q3_k_m", "attn_output", "Q4_K", ALL, ""),
        ("q2_k", "attn_v", "Q3_K", ALL, ""),
        ("q2_k", "ffn_down", "Q3_K", ALL, ""),
        ("q2_k", "attn_output", "Q3_K", ALL, ""),
    ],
)
def test_dense_llama(quant: str, kind: str, raised: str, layers: set[int], others: str) -> None:
    """Of 32 layers the rule's own get more bits for values, down projections and attention outputs."""
    found = by_layer(tensor_types(Mix(quant=quant), model(32, LLAMA), facts(32)), kind)
    assert found == {layer: raised if layer in layers else others for layer in range(32)}


@pytest.mark.parametrize(
    ("quant", "raised", "layers", "others"),
    [
        ("q5_k_m", "Q6_K", MORE_OF_32, "Q5_K"),
        ("q4_k_m", "Q6_K", MORE_OF_32, "Q4_K"),
        ("q4_k_s", "Q5_K", {0, 1, 2, 3}, "Q4_K"),
        ("q3_k_m", "Q5_K", {0, 1}, "Q4_K"),
        ("q2_k", "Q3_K", ALL, ""),
        ("iq4_xs", "IQ4_XS", ALL, ""),
        ("q6_k", "Q6_K", ALL, ""),
    ],
)
def test_fused_qkv(quant: str, raised: str, layers: set[int], others: str) -> None:
    """Phi-3's fused qkv counts as values."""
    types = tensor_types(Mix(quant=quant), model(32, PHI3), facts(32, architecture="phi3"))
    assert by_layer(types, "attn_qkv") == {layer: raised if layer in layers else others for layer in range(32)}
    assert set(by_layer(types, "ffn_up").values()) == {PLAIN[quant][0]}


@pytest.mark.parametrize("quant", PLAIN)
def test_tied_embeddings(quant: str) -> None:
    """Without output.weight the embedding is the output too, and gets its type."""
    types = tensor_types(Mix(quant=quant), model(2, LLAMA, tied=True), facts(2))
    assert types["token_embd.weight"] == PLAIN[quant][1]


@pytest.mark.parametrize(
    ("quant", "few", "many"),
    [("q2_k", "Q3_K", "Q4_K"), ("iq4_nl", "IQ4_NL", "Q5_K"), ("iq4_xs", "IQ4_XS", "Q5_K"), ("q4_0", "Q4_0", "Q4_0")],
)
def test_grouped_queries(quant: str, few: str, many: str) -> None:
    """From four query heads for each key-value head on, the small value matrices get more bits."""
    for gqa, wanted in ((1, few), (3, few), (4, many), (8, many)):
        types = tensor_types(Mix(quant=quant), model(32, LLAMA), facts(32, gqa=gqa))
        assert set(by_layer(types, "attn_v").values()) == {wanted}, gqa


@pytest.mark.parametrize(
    ("quant", "attn_output"),
    [
        ("q2_k", "Q5_K"),
        ("q3_k_m", "Q5_K"),
        ("iq4_nl", "Q5_K"),
        ("iq4_xs", "Q5_K"),
        ("q4_k_s", "Q5_K"),
        ("q4_k_m", "Q5_K"),
        ("q4_0", "Q4_0"),
        ("q5_k_s", "Q5_K"),
        ("q5_k_m", "Q5_K"),
        ("q6_k", "Q6_K"),
        ("q8_0", "Q8_0"),
    ],
)
def test_eight_experts(quant: str, attn_output: str) -> None:
    """With eight experts keys and values get Q8_0, attention outputs five bits or the file's, and the router stays."""
    types = tensor_types(Mix(quant=quant), mixture(16), facts(16, experts=8, gqa=4))
    assert set(by_layer(types, "attn_k").values()) == {"Q8_0"}
    assert set(by_layer(types, "attn_v").values()) == {"Q8_0"}
    assert set(by_layer(types, "attn_output").values()) == {attn_output}
    assert set(by_layer(types, "attn_q").values()) == {PLAIN[quant][0]}
    assert set(by_layer(types, "ffn_gate_inp").values()) == {"F32"}


def mixture(layers: int) -> list[GgufTensor]:
    tensors = model(layers, ("attn_q", "attn_k", "attn_v", "attn_output"))
    for layer in range(layers):
        tensors += [matrix(f"blk.{layer}.{kind}_exps", 4096, 8) for kind in ("ffn_down", "ffn_gate", "ffn_up")]
        tensors.append(GgufTensor(name=f"blk.{layer}.ffn_gate_inp.weight", shape=(8, 4096), type="F32"))
    return tensors


@pytest.mark.parametrize(
    ("quant", "raised", "layers"),
    [
        ("q4_k_m", "Q6_K", MORE_OF_16),
        ("q4_k_s", "Q5_K", {0, 1}),
        ("q3_k_m", "Q5_K", {0}),
        ("q5_k_m", "Q6_K", MORE_OF_16),
    ],
)
def test_experts_are_counted_by_their_layer(quant: str, raised: str, layers: set[int]) -> None:
    """With experts the layer in a tensor's name decides, not how many came before it."""
    experts = [tensor for tensor in mixture(16) if ".0.ffn_down" not in tensor.name]
    types = tensor_types(Mix(quant=quant), experts, facts(16, experts=8, gqa=4))
    assert layers_of(types, "ffn_down_exps", raised) == layers - {0}


def test_other_numbers_of_experts() -> None:
    """Only models of exactly eight experts get Q8_0 for keys and values."""
    types = tensor_types(Mix(quant="q4_k_m"), mixture(16), facts(16, experts=16))
    assert set(by_layer(types, "attn_k").values()) == {"Q4_K"}
    assert layers_of(types, "attn_v", "Q6_K") == MORE_OF_16
    assert set(by_layer(types, "attn_output").values()) == {"Q4_K"}


@pytest.mark.parametrize(("architecture", "layers"), [("llama", 80), ("qwen2", 80), ("jais2", 68)])
def test_70b(architecture: str, layers: int) -> None:
    """The value matrices of what llama.cpp calls 70B have five bits at least."""
    seventy = facts(layers, architecture=architecture, gqa=8)
    values = by_layer(tensor_types(Mix(quant="q4_k_m"), model(layers, LLAMA), seventy), "attn_v")
    assert set(values.values()) == {"Q6_K", "Q5_K"}
    assert set(by_layer(tensor_types(Mix(quant="q3_k_m"), model(layers, LLAMA), seventy), "attn_v").values()) == {
        "Q5_K"
    }
    fewer = facts(layers - 1, architecture=architecture, gqa=8)
    assert "Q4_K" in by_layer(tensor_types(Mix(quant="q4_k_m"), model(layers - 1, LLAMA), fewer), "attn_v").values()


def test_65b() -> None:
    """A Llama of 80 layers without grouped queries is the old 65B, which gets no more bits."""
    values = by_layer(tensor_types(Mix(quant="q4_k_m"), model(80, LLAMA), facts(80, gqa=1)), "attn_v")
    assert set(values.values()) == {"Q6_K", "Q4_K"}


@pytest.mark.parametrize(
    ("quant", "output", "first", "more", "rest"),
    [("q4_k_m", "Q8_0", "Q6_K", "Q5_K", "Q4_K"), ("q3_k_m", "Q8_0", "Q5_K", "Q4_K", "Q3_K")],
)
def test_falcon(quant: str, output: str, first: str, more: str, rest: str) -> None:
    """Falcon has its own rule for the output and the down projections, and none for the attention output."""
    types = tensor_types(
        Mix(quant=quant), model(32, ("attn_qkv", "attn_output", "ffn_up", "ffn_down")), facts(32, architecture="falcon")
    )
    assert types["output.weight"] == output
    assert set(by_layer(types, "attn_output").values()) == {PLAIN[quant][0]}
    assert by_layer(types, "ffn_down") == {
        layer: first if layer < 2 else more if layer in MORE_OF_32 else rest for layer in range(32)
    }


@pytest.mark.parametrize(
    ("quant", "most", "output"),
    [
        ("q6_k", "Q8_0", "Q8_0"),
        ("q5_k_s", "Q5_1", "Q8_0"),
        ("q4_k_s", "Q5_0", "Q8_0"),
        ("q3_k_m", "Q4_0", "Q8_0"),
        ("q2_k", "Q4_0", "Q8_0"),
        ("iq4_xs", "IQ4_NL", "Q8_0"),
        ("iq4_nl", "IQ4_NL", "Q8_0"),
        ("q4_0", "Q4_0", "Q8_0"),
        ("q8_0", "Q8_0", "Q8_0"),
        ("bf16", "BF16", "BF16"),
    ],
)
def test_rows_that_are_no_multiple_of_256(quant: str, most: str, output: str) -> None:
    """A row of 288 numbers has no K-quant: each falls back to a type of blocks of 32."""
    types = tensor_types(Mix(quant=quant), model(2, LLAMA, columns=288), facts(2))
    assert set(by_layer(types, "attn_q").values()) == {most}
    assert types["output.weight"] == output


@pytest.mark.parametrize("quant", sorted(PLAIN.keys() - set(FLOATS)))
def test_rows_that_are_no_multiple_of_32(quant: str) -> None:
    """A row of 40 numbers has no quantization at all and becomes F16."""
    types = tensor_types(Mix(quant=quant), model(2, LLAMA, columns=40), facts(2))
    assert {types["output.weight"], *by_layer(types, "attn_q").values()} == {"F16"}


@pytest.mark.parametrize("quant", FLOATS)
def test_float_files_take_any_row(quant: str) -> None:
    """Files of floats have their type for rows of any length."""
    types = tensor_types(Mix(quant=quant), model(2, LLAMA, columns=37), facts(2))
    assert set(by_layer(types, "ffn_down").values()) == {PLAIN[quant][0]}


def test_only_what_falls_back_falls_back() -> None:
    """One odd tensor does not change the others."""
    tensors = [matrix("blk.0.ffn_down", 288), matrix("blk.0.ffn_up", 256), matrix("output", 256)]
    types = tensor_types(Mix(quant="q4_k_m"), tensors, facts(1))
    assert types == {"blk.0.ffn_down.weight": "Q8_0", "blk.0.ffn_up.weight": "Q4_K", "output.weight": "Q6_K"}


@pytest.mark.parametrize(
    ("name", "shape", "allowed"),
    [
        ("blk.0.attn_q.weight", (512, 256), True),
        ("blk.0.ffn_down_exps.weight", (8, 512, 256), True),
        ("output.weight", (512, 256), True),
        ("token_embd.weight", (512, 1), True),
        ("blk.0.attn_norm.weight", (256,), False),
        ("blk.0.attn_norm.weight", (4, 256), False),
        ("blk.0.attn_q.weight", (256,), False),
        ("blk.0.attn_q.weight", (1, 256), False),
        ("blk.0.attn_q.weight", (1, 1), False),
        ("blk.0.attn_q.weight", (), False),
        ("blk.0.attn_q.bias", (512, 256), False),
        ("rope_factors_long.weight", (48,), False),
        ("blk.0.ffn_gate_inp.weight", (8, 256), False),
        ("position_embd.weight", (512, 256), False),
        ("token_types.weight", (2, 256), False),
        ("blk.0.ssm_conv1d.weight", (512, 4), False),
        ("blk.0.attn_rel_b.weight", (32, 8), False),
    ],
)
def test_what_is_quantized_at_all(name: str, shape: tuple[int, ...], allowed: bool) -> None:
    """Only matrices are, and no norm, bias, router, position embedding or small convolution."""
    assert may_be_quantized(name, shape) is allowed
    if not allowed:
        kept = tensor_types(Mix(quant="q4_k_m"), [GgufTensor(name=name, shape=shape, type="F32")], facts(1))
        assert kept == {name: "F32"}
