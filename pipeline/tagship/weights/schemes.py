"""The schemes in which merged weights are quantized for vLLM, as compressed-tensors lays them out: what becomes of a
matrix, and what config.json says of it.

Each is rounding to nearest, of weights alone, as `model_free_ptq` of llm-compressor 0.14 does it with the scheme of
that name. Layout: compressed-tensors 0.19, compressors/ and quantization/quant_scheme.py.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from msgspec import Struct

from tagship.weights.safetensors import SIZES

# The version of compressed-tensors whose layout this is.
_LAYOUT = "0.19.0"
FP8, INT4, FP4 = "fp8", "int4", "fp4"


class Part(Struct, frozen=True, kw_only=True):
    """A tensor as it is written to a file. Of several that are stacked in one tensor there, it is the one at `index`
    of `stacked`, and `shape` is its own."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    index: int = 0
    stacked: int | None = None

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * SIZES[self.dtype]


class Scheme(Struct, frozen=True, kw_only=True):
    """How the matrices of a model are quantized.

    `kind` is what numbers become. So many numbers of a row (`width`; None: all of them) in so many rows (`height`)
    share a scale; `activations` are so many numbers of a token that share one when they are quantized to FP8 as the
    model runs (0: all of them), None where they are not. `shared` is whether scales are themselves scaled, by one
    number of the matrix. `layout` is compressed-tensors' own name for how it is written.
    """

    name: str
    kind: str
    layout: str
    width: int | None = None
    height: int = 1
    activations: int | None = None
    shared: bool = False

    @property
    def bits(self) -> int:
        """Of a number, without its scale."""
        return 8 if self.kind == FP8 else 4

    @property
    def columns(self) -> int:
        """What the columns of a matrix must be a multiple of."""
        return self.width or 1

    def scales(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """The shape of the scales of a matrix."""
        rows, columns = shape
        return -(-rows // self.height), columns // (self.width or columns)

    def parts(self, name: str, shape: tuple[int, ...], dtype: str) -> tuple[Part, ...]:
        """The tensors that a weight of this name, shape and dtype becomes; in the order of `scheme_rows`."""
        rows, columns = shape
        scales = self.scales(shape)
        if self.kind == FP8:
            return (
                Part(name=name, dtype="F8_E4M3", shape=shape),
                Part(name=f"{name}_scale", dtype=dtype, shape=scales),
            )
        if self.kind == INT4:
            return (
                Part(name=f"{name}_packed", dtype="I32", shape=(rows, columns // 8)),
                Part(name=f"{name}_scale", dtype=dtype, shape=scales),
                Part(name=f"{name}_shape", dtype="I64", shape=(2,)),
            )
        return (
            Part(name=f"{name}_packed", dtype="U8", shape=(rows, columns // 2)),
            Part(name=f"{name}_scale", dtype="F8_E4M3", shape=scales),
            Part(name=f"{name}_global_scale", dtype="F32", shape=(1,)),
        )

    def quantization_config(self, ignored: Sequence[str]) -> dict[str, Any]:
        """What config.json says of it; `ignored` are the modules that stay in 16 bits."""
        group = {
            "format": self.layout,
            "input_activations": self._activations(),
            "output_activations": None,
            "targets": ["Linear"],
            "weights": self._weights(),
        }
        return {
            "config_groups": {self.name.upper().replace("-", "_"): group},
            "format": self.layout,
            "global_compression_ratio": None,
            "ignore": list(ignored),
            "kv_cache_scheme": None,
            "quant_method": "compressed-tensors",
            "quantization_status": "compressed",
            "transform_config": {},
            "version": _LAYOUT,
        }

    def _weights(self) -> dict[str, Any]:
        strategy = "block" if self.height > 1 else "channel" if self.width is None else "group"
        return _arguments(
            num_bits=self.bits,
            type="int" if self.kind == INT4 else "float",
            strategy="tensor_group" if self.shared else strategy,
            dynamic=False,
            block_structure=[self.height, self.width] if strategy == "block" else None,
            group_size=self.width if strategy == "group" else None,
            scale_dtype="torch.float8_e4m3fn" if self.kind == FP4 else None,
        )

    def _activations(self) -> dict[str, Any] | None:
        if self.activations is None:
            return None
        strategy = "group" if self.activations else "token"
        return _arguments(
            num_bits=8, type="float", strategy=strategy, dynamic=True, group_size=self.activations or None
        )


def _arguments(**known: Any) -> dict[str, Any]:
    """QuantizationArgs of compressed-tensors, as it writes them."""
    unused = dict.fromkeys(("actorder", "block_structure", "group_size", "observer", "scale_dtype", "zp_dtype"))
    return dict(sorted({**unused, "observer_kwargs": {}, "symmetric": True, **known}.items()))


SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(name="fp8-dynamic", kind=FP8, layout="float-quantized", activations=0),
        Scheme(name="fp8-block", kind=FP8, layout="float-quantized", width=128, height=128, activations=128),
        Scheme(name="w4a16", kind=INT4, layout="pack-quantized", width=128),
        Scheme(name="nvfp4a16", kind=FP4, layout="nvfp4-pack-quantized", width=16, shared=True),
    )
}
