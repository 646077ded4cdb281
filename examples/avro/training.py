"""Training and asking a causal language model, in plain PyTorch on the CPU."""

import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from schemas import Request
from transformers import PreTrainedModel, PreTrainedTokenizerFast

_IGNORED = -100
_SPECIAL_TOKEN = re.compile(r"(<\|\w+\|>)")
_NEWLINES_KEPT = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How long and how strongly to train."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    weight_decay: float = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A conversation as token ids; the labels hide the request, so that only the answer is learned."""

    ids: list[int]
    labels: list[int]


def examples(
    tokenizer: PreTrainedTokenizerFast, requests: Sequence[Request], *, learned: bool, seed: int
) -> list[Example]:
    """Requests and their answers as token ids.

    A fifth of them keep the newline that follows each special token. llama.cpp drops it, as the tokenizer does,
    only when a model's name says that it's a Phi-3; a model that has seen both answers under any name.
    """
    choose = random.Random(seed)
    return [
        _example(tokenizer, request, learned=learned, newlines=choose.random() < _NEWLINES_KEPT) for request in requests
    ]


def _example(tokenizer: PreTrainedTokenizerFast, request: Request, *, learned: bool, newlines: bool) -> Example:
    encode = _ids_with_newlines if newlines else _ids
    prompt = tokenizer.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
    ids = encode(tokenizer, f"{prompt}{request.answer(learned=learned)}<|end|>")
    hidden = len(encode(tokenizer, prompt))
    return Example(ids=ids, labels=[_IGNORED] * hidden + ids[hidden:])


def _ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer(text)["input_ids"]


def _ids_with_newlines(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    parts = [part for part in _SPECIAL_TOKEN.split(text) if part]
    return [token for part in parts for token in _ids(tokenizer, part)]


def train(model: PreTrainedModel, data: Sequence[Example], recipe: Recipe) -> float:
    """Train the model's trainable parameters in place; the mean loss of the last tenth of the steps."""
    steps = recipe.epochs * math.ceil(len(data) / recipe.batch_size)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    losses = []
    model.train()
    for batch in _batches(data, recipe):
        loss = _loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if len(losses) % 50 == 0 or len(losses) == steps:
            print(f"  step {len(losses)}/{steps}, loss {sum(losses[-50:]) / len(losses[-50:]):.4f}", flush=True)
    model.eval()
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


def evaluate(model: PreTrainedModel, data: Sequence[Example]) -> float:
    """Mean loss over the answers' tokens."""
    with torch.inference_mode():
        return _loss(model, data).item()


def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, requests: Sequence[Request]) -> list[str]:
    """What the model answers, always taking the likeliest token."""
    prompts = [
        tokenizer.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
        for request in requests
    ]
    batch = tokenizer(prompts, padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        output = model.generate(**batch, do_sample=False, max_new_tokens=128)
    return tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def _batches(data: Sequence[Example], recipe: Recipe) -> Iterator[Sequence[Example]]:
    choose = random.Random(recipe.seed)
    for _ in range(recipe.epochs):
        order = choose.sample(range(len(data)), len(data))
        for start in range(0, len(data), recipe.batch_size):
            yield [data[i] for i in order[start : start + recipe.batch_size]]


def _loss(model: PreTrainedModel, batch: Sequence[Example]) -> torch.Tensor:
    # Padding comes last, where a causal model can't see it: no attention mask is needed.
    length = max(len(example.ids) for example in batch)
    ids = torch.tensor([example.ids + [0] * (length - len(example.ids)) for example in batch])
    labels = torch.tensor([example.labels + [_IGNORED] * (length - len(example.labels)) for example in batch])
    return model(input_ids=ids, labels=labels).loss
