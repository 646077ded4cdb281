"""What a comparison showed, as it is told and kept."""

from dataclasses import dataclass

from tagship.verify.questions import Answers, Limits, Questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A question that a model was asked, the prompt that its template makes of it, and what it answered; `ended` is
    whether the answer ended by itself."""

    question: str
    prompt: str
    answer: str
    ended: bool


def example_of(questions: Questions, answers: Answers) -> Example | None:
    """The first question with an answer to show."""
    for question, answer in zip(questions.prompts, answers, strict=True):
        if answer.text.strip():
            ended = len(answer.ids) < questions.max_tokens
            return Example(question=question, prompt=answer.prompt, answer=answer.text, ended=ended)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a comparison showed: `kl` is the mean over all `tokens` of the answers, in nats. `unlike` are the
    conversations, by name, of which the runtime makes another prompt than the model's own chat template."""

    prompts: int
    tokens: int
    same: int
    kl: float
    limits: Limits
    unlike: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        equal = f"{self.same} of {self.prompts} greedy answers equal"
        return f"{equal}, mean KL {self.kl:.2g} nats over {self.tokens} tokens (limit {self.limits.kl:g})"
