"""All checks of names against what is there, in the order in which people read what came of them."""

from collections.abc import Callable, Iterator, Sequence

from tagship.lint.finding import Finding, without_repetition
from tagship.lint.gguf_checks import check_ggufs
from tagship.lint.held import Held
from tagship.lint.model_checks import check_base, check_size, check_task
from tagship.lint.names import Named
from tagship.lint.release_checks import check_markers, check_quant, check_rules, check_version
from tagship.lint.training_checks import TRAINING_CHECKS

_CHECKS: tuple[Callable[[Named, Held], Iterator[Finding]], ...] = (
    check_base,
    check_size,
    *TRAINING_CHECKS,
    check_markers,
    check_quant,
    check_version,
    check_task,
    check_rules,
)


def lint_names(names: Sequence[Named], held: Held) -> list[Finding]:
    """Hold names against what is there: what one says that is not so, leaves out, and what agrees. What is found of
    several names, as one is inside of the next, is said of the first."""
    for name in names:
        list(_findings(name, held))  # after which each knows what else of the name is to be mended
    findings = [finding for name in names for finding in _findings(name, held)]
    return without_repetition([*findings, *check_ggufs(held)])


def _findings(name: Named, held: Held) -> Iterator[Finding]:
    return (finding for check in _CHECKS for finding in check(name, held))
