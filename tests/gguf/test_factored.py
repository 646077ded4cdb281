"""A change of low rank in place of a weight: what is done to the weight is done to the product of its two matrices."""

from collections.abc import Callable
from typing import Any

import pytest
from tagship.gguf.factored import FactoredTensor, NotFactored

torch = pytest.importorskip("torch")

Done = Callable[[Any], Any]
OUT, IN, RANK = 24, 10, 3


def factored(*experts: int) -> FactoredTensor:
    torch.manual_seed(0)
    return FactoredTensor(
        torch.randn(*experts, RANK, IN, dtype=torch.float64), torch.randn(*experts, OUT, RANK, dtype=torch.float64)
    )


def whole(tensor: Any) -> Any:
    return tensor.b @ tensor.a if isinstance(tensor, FactoredTensor) else tensor


def permuted(weight: Any) -> Any:
    """As the converter permutes the rows of Llama's queries, of four heads."""
    return weight.reshape(4, 2, weight.shape[0] // 8, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


MATRIX: dict[str, Done] = {
    "as it is": lambda weight: weight.contiguous().clone().float().to(torch.float64),
    "permuted": permuted,
    "view": lambda weight: weight.view(-1, 6, IN).permute(1, 0, 2).reshape(OUT, IN),
    "rows": lambda weight: weight[4:10],
    "columns": lambda weight: weight[:, 2:5],
    "both": lambda weight: weight[..., 3:9][2:4, :],
    "chosen rows": lambda weight: weight[torch.tensor([3, 1, 2])],
    "split": lambda weight: weight.split([4, 20])[1],
    "split columns": lambda weight: torch.split(weight, 4, dim=-1)[2],
    "chunk": lambda weight: weight.chunk(5)[4],
    "transposed": lambda weight: weight.transpose(0, 1),
    "T": lambda weight: weight.T[:4],
    "torch's functions": lambda weight: torch.transpose(torch.reshape(weight, (OUT, IN)), 1, 0),
    "put together again": lambda weight: torch.cat([weight[8:], permuted(weight[:8])], dim=0),
    "scaled": lambda weight: 2 * weight / 3.0,
}
STACKED: dict[str, Done] = {
    "one": lambda weight: weight[1],
    "some": lambda weight: weight[1:],
    "rows of each": lambda weight: weight[:, 3:7, :],
    "transposed": lambda weight: weight.transpose(1, 2),
    "chunk": lambda weight: weight.chunk(2, dim=1)[1],
    "stacked": lambda weight: torch.stack([weight[2], weight[0]], dim=0),
    "put together": lambda weight: torch.cat([weight[2:], weight[:1]]),
}


@pytest.mark.parametrize("done", MATRIX.values(), ids=MATRIX.keys())
def test_matrix(done: Done) -> None:
    """What is done to a matrix is done to B @ A, numbers and shape."""
    tensor = factored()
    made = done(tensor)
    expected = done(whole(tensor))
    assert made.shape == tuple(expected.shape) and made.ndim == expected.ndim
    torch.testing.assert_close(whole(made), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("done", STACKED.values(), ids=STACKED.keys())
def test_experts(done: Done) -> None:
    """The same of all experts of a layer."""
    tensor = factored(3)
    torch.testing.assert_close(whole(done(tensor)), done(whole(tensor)))


@pytest.mark.parametrize(
    "done",
    [
        lambda weight: weight.reshape(IN, OUT),
        lambda weight: weight.reshape(-1),
        lambda weight: weight[0],
        lambda weight: weight[None],
        lambda weight: weight.reshape(2, 12, IN).permute(0, 2, 1).permute(1, 0, 2),
        lambda weight: weight * torch.ones(OUT, IN),
        lambda weight: torch.cat([weight, factored()]),
        lambda weight: torch.stack([weight, weight], dim=1),
        lambda weight: torch.exp(weight),
        lambda weight: weight.abs(),
    ],
)
def test_what_is_not_followed(done: Done) -> None:
    """What would mix rows with columns, or numbers with each other, is refused rather than done wrong."""
    with pytest.raises(NotFactored, match="does not follow"):
        done(factored())


def test_other_precisions() -> None:
    """Two matrices of different precision are both taken to float32."""
    tensor = FactoredTensor(torch.ones(RANK, IN, dtype=torch.bfloat16), torch.ones(OUT, RANK))
    assert (tensor.dtype, tensor.a.dtype, tensor.b.dtype) == (torch.float32,) * 3
