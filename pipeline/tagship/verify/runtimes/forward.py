"""What a model of transformers computes along sequences of tokens, in as few passes over its weights as can be.

A pass takes many sequences at once and goes as far as the final hidden states. Those are kept: logits are made of them
again, row by row, as a distribution is as wide as the vocabulary. A sequence that goes on from one that is known is
computed from there, by the keys and values of the pass before.
"""

import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from tagship.verify.questions import Tokens
from tagship.verify.runtimes.abreast import expect, forget, pause, run_with_expected
from tagship.verify.runtimes.batches import Ids, batches, packs, padded, shared_beginning

# Tokens in a pass, with padding: so many at most, and of wide models as many as have activations of so many bytes
# where they are the widest, four times the hidden states. Sequences behind each other are fewer, as attention looks at
# each pair of their tokens before it leaves out those of others.
_TOKENS, _LEAST_TOKENS = 4096, 512
_ACTIVATIONS = 192 << 20
_PACKED = 2048
# As many tokens are computed twice, at both ends of what is packed, to see that sequences know nothing of each other;
# by how much of their size they may differ.
_SEEN_TWICE, _NEAR = 16, 1e-3
# Bytes of logits in a block.
_BLOCK = 96 << 20
# Kinds of layers, as configurations call them, whose keys and values can be gone on from anywhere.
_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
_WINDOWS = ("sliding_window", "attention_chunk_size")


class _Kept(Struct):
    """Keys and values of the last pass: for each of its sequences the tokens, and where in the cache each of them
    is."""

    cache: Any
    ids: list[Ids]
    slots: list[list[int]]


class Forward:
    """The passes of a model over tokens. `model` is one that writes text, in float32 or computing in it."""

    def __init__(self, model: Any) -> None:
        self._model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._backbone = self._model.base_model
        parameters = inspect.signature(self._model.forward).parameters
        self._keeps_fewer = "logits_to_keep" in parameters
        self._takes_positions = "position_ids" in parameters
        self._packs = self._can_go_on()
        self._output: type[Any] | None = None  # what the backbone gives; None where logits are not made of that alone
        self._columns = 0
        self._hidden: dict[Ids, Any] = {}
        self._kept: _Kept | None = None
        for layer in _layers(self._backbone):
            layer.register_forward_pre_hook(lambda module, given: pause())

    def rows(self, sequences: Sequence[Tokens]) -> Iterator[Any]:
        """Logits as `Model.rows` has them, as arrays."""
        beginnings = [sequence.ids[:-1] for sequence in sequences]
        self._compute(beginnings, keep=False, packs_them=_reads_text(sequences))
        self._kept = None  # nothing goes on after this
        for ids, sequence in zip(beginnings, sequences, strict=True):
            yield from (part.numpy() for part in self._logits_of(self._hidden[ids][sequence.since - 1 :]))

    def greedy(self, sequences: Sequence[Tokens]) -> list[list[int]]:
        """The likeliest next tokens as `Model.greedy` has them."""
        self._compute([sequence.ids for sequence in sequences], keep=True)
        hidden = [self._hidden[sequence.ids][sequence.since - 1 :] for sequence in sequences]
        return [[token for part in self._logits_of(rows) for token in part.argmax(dim=-1).tolist()] for rows in hidden]

    def expect(self, sequences: Sequence[Tokens]) -> None:
        """Have the rows of these computed along with the next pass of any model."""
        import torch

        beginnings = [sequence.ids[:-1] for sequence in sequences]

        def compute() -> None:
            with torch.inference_mode():  # which is a thread's own
                self._compute_anew(self._unknown(beginnings), keep=False, packs_them=_reads_text(sequences))

        expect(self, compute)

    def close(self) -> None:
        """Expect nothing any more."""
        forget(self)

    def _logits_of(self, hidden: Any) -> Iterator[Any]:
        for rows in hidden.split(max(1, _BLOCK // (4 * self._columns))):
            yield (self._logits(rows) if self._output else rows).cpu()

    def _compute(self, sequences: Sequence[Ids], *, keep: bool, packs_them: bool = False) -> None:
        """Have the hidden states of all of these."""
        if new := self._unknown(sequences):
            run_with_expected(lambda: self._compute_now(new, keep=keep, packs_them=packs_them))

    def _compute_now(self, new: Sequence[Ids], *, keep: bool, packs_them: bool) -> None:
        going_on = [ids for ids in new if self._row_before(ids) is not None]
        if going_on and self._may_go_on(going_on):
            self._go_on(going_on)
            new = self._unknown(new)
        if new:
            self._kept = self._compute_anew(new, keep=keep, packs_them=packs_them)

    def _compute_anew(self, new: Sequence[Ids], *, keep: bool, packs_them: bool) -> _Kept | None:
        """The same from the beginning. Returns keys and values to go on from, where they are to be kept, and are of all
        of these."""
        if self._packs and packs_them:
            self._pack(new)
            new = self._unknown(new)
        kept = None
        for batch in batches(new, self._most_tokens()):
            kept = self._begin(batch, keep=keep and len(new) == len(batch))
        return kept

    def _unknown(self, sequences: Sequence[Ids]) -> list[Ids]:
        return [ids for ids in dict.fromkeys(sequences) if not self._is_known(ids)]

    def _most_tokens(self) -> int:
        width = getattr(self._model.config.get_text_config(), "hidden_size", None) or 1
        return max(min(_TOKENS, _ACTIVATIONS // (4 * 4 * int(width))), min(_LEAST_TOKENS, _TOKENS))

    def _is_known(self, ids: Ids) -> bool:
        """Whether a sequence was computed, or begins one that was."""
        if ids not in self._hidden:
            longer = next((other for other in self._hidden if other[: len(ids)] == ids), None)
            if longer is None:
                return False
            self._hidden[ids] = self._hidden[longer][: len(ids)]
        return True

    # From the beginning

    def _begin(self, batch: Sequence[Ids], *, keep: bool) -> _Kept | None:
        from transformers import DynamicCache

        keep = keep and self._can_go_on()
        cache = DynamicCache() if keep else None
        given, mask = padded(batch, self._device())
        hidden = self._pass(given, {} if mask.all() else {"attention_mask": mask}, cache)
        for row, ids in enumerate(batch):
            self._hidden[ids] = hidden[row, : len(ids)].clone()
        return _Kept(cache, list(batch), [list(range(len(ids))) for ids in batch]) if keep else None

    def _pack(self, sequences: Sequence[Ids]) -> None:
        """Compute sequences behind each other, which spares what padding takes. A model that lets them see each other
        is asked so no more."""
        for pack in packs(sequences, min(_PACKED, self._most_tokens())):
            if not self._packs or len(pack) == 1:
                continue
            again = pack[0][:_SEEN_TWICE]
            parts = [*pack, again]
            places = [place for ids in parts for place in range(len(ids))]
            given, positions = self._tensor([token for ids in parts for token in ids]), self._tensor(places)
            hidden = self._pass(given, {"position_ids": positions}, None)[0].split([len(ids) for ids in parts])
            difference = (hidden[-1] - hidden[0][: len(again)]).norm()
            self._packs = bool(difference <= _NEAR * hidden[-1].norm())
            if self._packs:
                self._hidden.update((ids, part.clone()) for ids, part in zip(pack, hidden, strict=False))

    def _tensor(self, numbers: Sequence[int]) -> Any:
        import torch

        return torch.tensor([list(numbers)], device=self._device())

    # From where a pass before ended

    def _go_on(self, batch: Sequence[Ids]) -> None:
        import torch

        kept = self._kept
        assert kept is not None
        rows = [row for ids in batch if (row := self._row_before(ids)) is not None]
        known = [shared_beginning(ids, kept.ids[row]) for ids, row in zip(batch, rows, strict=True)]
        rest = [ids[number:] for ids, number in zip(batch, known, strict=True)]
        given, fresh = padded(rest, self._device())
        before = kept.cache.get_seq_length()
        kept.cache.batch_select_indices(torch.tensor(rows, device=given.device))
        seen = torch.zeros((len(batch), before), dtype=torch.long, device=given.device)
        for place, (row, number) in enumerate(zip(rows, known, strict=True)):
            seen[place, kept.slots[row][:number]] = 1
        more: dict[str, Any] = {"attention_mask": torch.cat([seen, fresh], dim=1)}
        if self._takes_positions:
            starts = torch.tensor(known, device=given.device)[:, None]
            more["position_ids"] = starts + torch.arange(given.shape[1], device=given.device)[None]
        hidden = self._pass(given, more, kept.cache)
        slots = []
        for place, (ids, row, number) in enumerate(zip(batch, rows, known, strict=True)):
            old = kept.ids[row]
            self._hidden[ids] = torch.cat([self._hidden[old][:number], hidden[place, : len(ids) - number]])
            slots.append([*kept.slots[row][:number], *range(before, before + len(ids) - number)])
        self._kept = _Kept(kept.cache, list(batch), slots)

    def _row_before(self, ids: Ids) -> int | None:
        """The sequence of the pass before that has the most in common with this one."""
        if self._kept is None:
            return None
        shared = [shared_beginning(ids, other) for other in self._kept.ids]
        best = max(range(len(shared)), key=shared.__getitem__)
        return best if shared[best] else None

    def _can_go_on(self) -> bool:
        """Whether keys and values say all of what was read: states of other kinds cannot be gone back in."""
        config = self._model.config.get_text_config()
        return self._takes_positions and set(getattr(config, "layer_types", None) or ()) <= _ATTENTION

    def _may_go_on(self, batch: Sequence[Ids]) -> bool:
        """Whether all that is in the cache is within the window of every layer: a window counts places in it."""
        assert self._kept is not None
        config = self._model.config.get_text_config()
        windows = [size for name in _WINDOWS if isinstance(size := getattr(config, name, None), int)]
        longest = self._kept.cache.get_seq_length() + max(map(len, batch))
        return all(longest < window for window in windows)

    # The model

    def _pass(self, given: Any, more: dict[str, Any], cache: Any) -> Any:
        """The final hidden states of one pass, float32, shape (sequences, tokens, width); the logits themselves, where
        those are made of more."""
        if not self._columns:
            return self._first_pass(given, more, cache)
        asked = {"input_ids": given, "use_cache": cache is not None, "past_key_values": cache, **more}
        if self._output is None:
            return self._model(**asked).logits.float()
        return self._backbone(**asked).last_hidden_state.float()

    def _first_pass(self, given: Any, more: dict[str, Any], cache: Any) -> Any:
        """A pass that also shows whether the model is what this takes it for: a backbone, and what makes logits of its
        last hidden states."""
        import torch

        seen: list[Any] = []
        mine = threading.get_ident()  # another pass may be going on

        def see(module: Any, inputs: Any, output: Any) -> None:
            if threading.get_ident() == mine:
                seen.append(output)

        hook = self._backbone.register_forward_hook(see)
        fewer = {"logits_to_keep": 1} if self._keeps_fewer else {}
        try:
            made = self._model(input_ids=given, use_cache=cache is not None, past_key_values=cache, **more, **fewer)
        finally:
            hook.remove()
        self._columns = made.logits.shape[-1]
        hidden = getattr(seen[-1], "last_hidden_state", None) if seen else None
        if hidden is not None:
            self._output = type(seen[-1])
            if torch.allclose(self._logits(hidden[0, -1:].float()), made.logits[0, -1:].float(), rtol=1e-3, atol=1e-3):
                return hidden.float()
        self._output = None
        return self._model(input_ids=given, use_cache=False, **more).logits.float()

    def _logits(self, hidden: Any) -> Any:
        """The logits of rows of hidden states: all that the model does after its backbone."""
        import torch

        with _in_place_of(self._backbone, self._output, hidden[None]):
            ids = torch.zeros((1, len(hidden)), dtype=torch.long, device=hidden.device)
            return self._model(input_ids=ids, use_cache=False).logits[0].float()

    def _device(self) -> Any:
        return next(self._model.parameters()).device


def _reads_text(sequences: Sequence[Tokens]) -> bool:
    """Whether sequences are not answers alone. Those are read as `greedy` reads them: a process that did not follow
    them finds the same digits."""
    return any(sequence.since == 1 for sequence in sequences)


def _layers(backbone: Any) -> Iterator[Any]:
    """The layers of a model, which have most of its weights: of modules that are listed, the largest list."""
    from torch.nn import ModuleList

    lists = [module for module in backbone.modules() if isinstance(module, ModuleList)]
    sizes = [sum(parameter.numel() for parameter in listed.parameters()) for listed in lists]
    return iter(lists[sizes.index(max(sizes))] if lists else ())


@contextmanager
def _in_place_of(backbone: Any, output: Any, hidden: Any) -> Iterator[None]:
    """Have a backbone give these hidden states, whatever it is asked."""
    backbone.forward = lambda *arguments, **named: output(last_hidden_state=hidden)
    try:
        yield
    finally:
        del backbone.forward
