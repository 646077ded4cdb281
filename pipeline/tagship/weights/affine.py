"""How MLX quantizes a matrix: in groups of a row, each number a whole one times a scale plus a bias.

Layout: `mx.quantize` of MLX 0.32 in its mode `affine`, with the names that mlx-lm gives it.
"""

from msgspec import Struct

from tagship.weights.linear_tensors import WEIGHT
from tagship.weights.schemes import Part

# Numbers in a group, what MLX has kernels for.
GROUP_SIZES = (32, 64, 128)


class Affine(Struct, frozen=True, kw_only=True):
    """Numbers of so many bits, of which so many of a row (`width`) have a scale and a bias."""

    bits: int
    width: int = 64

    @property
    def name(self) -> str:
        """As people call it."""
        return f"{self.bits}bit"

    @property
    def height(self) -> int:
        """Rows in a group."""
        return 1

    @property
    def shared(self) -> bool:
        """Whether scales are scaled themselves."""
        return False

    @property
    def described(self) -> dict[str, int | str]:
        """What config.json says of it."""
        return {"group_size": self.width, "bits": self.bits, "mode": "affine"}

    def parts(self, name: str, shape: tuple[int, ...], dtype: str) -> tuple[Part, ...]:
        """The tensors that a weight of this name, shape and dtype becomes; in the order of `AffineRows`."""
        rows, columns = shape
        module = name.removesuffix(WEIGHT)
        groups = (rows, columns // self.width)
        return (
            Part(name=name, dtype="U32", shape=(rows, columns * self.bits // 32)),
            Part(name=f"{module}.scales", dtype=dtype, shape=groups),
            Part(name=f"{module}.biases", dtype=dtype, shape=groups),
        )
