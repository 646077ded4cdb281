"""Questions to a model, what it answers, and how far two answers may be apart: the common tongue of
runtimes and formats. numpy is imported where arrays are written and read: every task reads this."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    LogProbs = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far an export may be from base + adapter.

    `kl` is the highest mean Kullback-Leibler divergence of the next-token distributions, in
    nats; `same_tokens` asks for equal greedy answers, but for ties.
    """

    kl: float
    same_tokens: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What is asked.

    `prompts` are people's messages; each is rendered by the model's chat template, where it has
    one. `forced` holds, for each prompt, the token ids of the answer whose next-token
    distributions are wanted; empty when the model's own answer is to be used. `moment` is the time that a template
    is told which writes one; None for now.
    """

    prompts: tuple[str, ...]
    max_tokens: int
    forced: tuple[tuple[int, ...], ...] = ()
    moment: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer.

    `prompt` is the rendered text, `prompt_ids` its tokens as the runtime sees them, `ids` the
    greedy answer's tokens with the stop token that ended it, `text` the answer, `logprobs` the natural
    logarithms of the next-token probabilities at each token of the forced (or own) answer, shape
    (tokens, vocabulary); -inf where the runtime does not report a token.
    """

    prompt: str
    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    text: str
    logprobs: "LogProbs"


Answers = tuple[Answer, ...]


def write_answers(path: Path, answers: Answers) -> None:
    """Write answers to a .npz file, for another process to read."""
    import numpy as np

    described = [
        {"prompt": answer.prompt, "prompt_ids": answer.prompt_ids, "ids": answer.ids, "text": answer.text}
        for answer in answers
    ]
    arrays = {f"logprobs_{number}": answer.logprobs for number, answer in enumerate(answers)}
    np.savez(path, described=np.array(json.dumps(described)), **arrays)  # type: ignore[arg-type]


def read_answers(path: Path) -> Answers:
    """Read what `write_answers` wrote."""
    import numpy as np

    with np.load(path, allow_pickle=False) as stored:
        return tuple(
            Answer(
                prompt=item["prompt"],
                prompt_ids=tuple(item["prompt_ids"]),
                ids=tuple(item["ids"]),
                text=item["text"],
                logprobs=stored[f"logprobs_{number}"],
            )
            for number, item in enumerate(json.loads(str(stored["described"])))
        )
