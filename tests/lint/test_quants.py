"""Quantization types: in names as the Hub reads them, in files as llama.cpp writes them."""

import pytest
from tagship.gguf.header import GgufHeader, GgufTensor
from tagship.gguf.labels import label_in, unread_label_in
from tagship.gguf.quant_mix import QUANTS
from tagship.gguf.types import FILE_TYPES, TENSOR_TYPES
from tagship.lint.quants import missing_parts, quantized, same_type, tensor_types_of

KINDS = {kind.name: number for number, kind in TENSOR_TYPES.items()}
FILES = {name: number for number, name in FILE_TYPES.items()}


def gguf(file_type: str | None, **elements: int) -> GgufHeader:
    """A header with one tensor of each type, beside an embedding of F32."""
    sizes = [("token_embd.weight", "F32", 10**9), *((f"blk.{kind}", kind, size) for kind, size in elements.items())]
    tensors = [GgufTensor(name=name, shape=(size, 1), kind=KINDS[kind], offset=0) for name, kind, size in sizes]
    metadata = {} if file_type is None else {"general.file_type": FILES[file_type]}
    return GgufHeader(metadata=metadata, tensors=tuple(tensors), list_start=0, data_start=0)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("phi3avro-minimal-v2.0.0-Q4_K_M.gguf", "Q4_K_M"),
        ("model.q4_k_m.gguf", "Q4_K_M"),
        ("model-q4km.gguf", None),
        ("model-Q4.gguf", None),
        ("model-Q4_K.gguf", None),
        ("model-int4.gguf", None),
        ("model.gguf", None),
        ("model-F16-LoRA.gguf", "F16"),
        ("model-bf16.gguf", "BF16"),
        ("model-F16-Q8_0.gguf", "Q8_0"),
        ("model-UD-Q4_K_XL-00001-of-00002.gguf", "UD-Q4_K_XL"),
        ("model-IQ2_XXS.gguf", "IQ2_XXS"),
        ("model-IQ2_XS.gguf", "IQ2_XS"),
        ("model-Q2_K_S.gguf", "Q2_K_S"),
        ("model-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("Q8_0/model-Q3_K_L.gguf", "Q3_K_L"),
    ],
)
def test_labels(name: str, label: str | None) -> None:
    """The last label that is known is what the Hub shows."""
    assert label_in(name) == label


def test_label_of_every_type() -> None:
    """Every type that a file can have is found by its own label, in small letters too."""
    assert [label_in(f"model-{name.lower()}.gguf") for name in FILE_TYPES.values()] == list(FILE_TYPES.values())


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("model-q4km.gguf", "q4km"),
        ("model-Q4.gguf", "Q4"),
        ("model-Q4_K.gguf", "Q4_K"),
        ("model-int4.gguf", "int4"),
        ("model-fp16.gguf", "fp16"),
        ("model.4bit.gguf", "4bit"),
        ("model.gguf", None),
        ("phi3avro-minimal-r16-a32-e6-20250914-132416.gguf", None),
        ("qwen3-aq4k.gguf", None),
    ],
)
def test_labels_that_nobody_reads(name: str, label: str | None) -> None:
    """What people write for a type and the Hub does not know is told from a name without one."""
    assert unread_label_in(name) == label


@pytest.mark.parametrize(
    ("label", "file_type", "same"),
    [
        ("Q4_K_M", "Q4_K_M", True),
        ("Q4_K_M", "Q4_K_S", False),
        ("Q8_0", "Q4_0", False),
        ("F16", "BF16", False),
        ("UD-Q4_K_XL", "Q4_K_M", True),
        ("Q4_K_XL", "Q5_K_M", False),
        ("UD-IQ1_M", "IQ1_M", True),
        ("Q4_0_4_4", "Q4_0", True),
    ],
)
def test_same_types(label: str, file_type: str, same: bool) -> None:
    """A label is right for its own type, or for somebody's mix of it."""
    assert same_type(label, file_type) is same


@pytest.mark.parametrize(
    ("header", "most"),
    [
        (gguf("Q4_K_M", Q4_K=80, Q6_K=20), None),
        (gguf("Q4_K_M", F16=100), "F16"),
        (gguf("Q8_0", Q4_K=90, Q6_K=10), "Q4_K"),
        (gguf("F16", F32=100), "F32"),
        (gguf("Q3_K_M", Q4_K=66, Q3_K=34), None),  # a mix may have more of another
        (gguf("Q4_K_M", Q5_0=80, Q8_0=20), None),  # rows that K-quants do not fit
        (gguf("IQ2_M", IQ2_S=90, IQ3_S=10), None),
        (gguf("IQ3_M", IQ4_NL=90, IQ3_S=10), None),  # rows that no IQ type fits
        (gguf("Q4_K_M", MXFP4=90, Q8_0=10), None),  # experts as they were trained
        (gguf("MXFP4_MOE", MXFP4=90, Q8_0=10), None),
        (gguf(None, F16=100), None),
        (gguf("Q4_K_M"), None),
    ],
)
def test_files_that_contradict_themselves(header: GgufHeader, most: str | None) -> None:
    """A file's type is a lie where hardly any tensor has it; embeddings do not count."""
    assert quantized(header, header.tensors).contradiction == most


def test_types_of_what_is_exported_here() -> None:
    """The types of tensors are those that the converter gives most of them."""
    for name, quant in QUANTS.items():
        assert quant.tensor_type in tensor_types_of(name.upper())


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("Mixtral-8x7B-v0.1-KQ2.gguf", []),
        ("Hermes-2-Pro-Llama-3-8B-v1.0-F16.gguf", []),
        ("Grok-100B-v1.0-Q4_0-00003-of-00009.gguf", []),
        ("phi3avro-minimal-v2.0.0-Q4_K_M.gguf", ["a size label such as 3.8B"]),
        ("phi3-3.8B-minimal-Q4_K_M.gguf", ["a version such as v1.0"]),
        ("model.gguf", ["a size label such as 3.8B", "a version such as v1.0"]),
    ],
)
def test_naming_convention(name: str, missing: list[str]) -> None:
    """By ggml's own convention a name has a size and a version."""
    assert missing_parts(name) == missing
