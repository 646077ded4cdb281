"""Sequences of tokens put together for one pass of a model over all of them."""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

Ids = tuple[int, ...]


def batches(sequences: Sequence[Ids], most: int) -> Iterator[list[Ids]]:
    """Sequences of like lengths together, so that little is padded."""
    batch: list[Ids] = []
    for ids in sorted(sequences, key=len, reverse=True):
        if batch and len(batch[0]) * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(ids)
    if batch:
        yield batch


def packs(sequences: Sequence[Ids], most: int) -> Iterator[list[Ids]]:
    """Sequences of so many tokens together at most, or a longer one alone."""
    pack: list[Ids] = []
    for ids in sequences:
        if pack and sum(map(len, pack)) + len(ids) > most:
            yield pack
            pack = []
        pack.append(ids)
    if pack:
        yield pack


def padded(batch: Sequence[Ids], device: Any) -> tuple[Any, Any]:
    """Token ids and mask of sequences, shape (sequences, longest); what is behind the end of one is not looked at."""
    import torch

    longest = max(map(len, batch))
    ids = torch.zeros((len(batch), longest), dtype=torch.long, device=device)
    mask = torch.zeros((len(batch), longest), dtype=torch.long, device=device)
    for row, sequence in enumerate(batch):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    return ids, mask


def shared_beginning(ids: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens at the beginning are the same, but for the last of `ids`: there is something to compute."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids[:-1], other, strict=False)))
