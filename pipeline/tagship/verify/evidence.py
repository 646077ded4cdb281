"""What a comparison showed, as it is told and kept."""

from dataclasses import dataclass

from tagship.verify.questions import Limits


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
