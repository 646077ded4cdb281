"""How a base was held in NF4 while an adapter was trained on it, as a configuration of bitsandbytes says it."""

import re

from msgspec import Struct

from tagship.system.errors import ReleaseError


class Nf4(Struct, frozen=True, kw_only=True):
    """How a base was held in NF4: whether with double quantization, and the modules that were `skipped`, as
    `llm_int8_skip_modules` names them; None where nothing was said, which leaves the head as it is."""

    double: bool
    skipped: tuple[str, ...] | None = None

    def holds(self, module: str, *, head: bool) -> bool:
        """Whether a linear module is in 4 bits, by its name; transformers leaves the head out where it is told
        nothing else."""
        if self.skipped is None:
            return not head
        return not any(_matches(pattern, module) for pattern in self.skipped)


def _matches(pattern: str, module: str) -> bool:
    """As transformers has it (should_convert_module): from the start up to the end of a module's name, as a regular
    expression or as it is, or at the end."""
    try:
        found = re.match(rf"(?:{pattern})(?:(?<=\.)|(?=\.|$))", module)
    except re.error:
        raise ReleaseError(f"llm_int8_skip_modules has {pattern!r:.80}, which is no name of modules") from None
    return found is not None or module.endswith(pattern)
