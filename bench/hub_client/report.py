"""What became of the client's tests: which of them spoke to the Hub, what they were about, what failed and why."""

import json
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

_LEFT = Path(__file__).parent / "left.toml"
_MODELS = "repositories of models and datasets"


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one test that spoke to the Hub; `message` is why it failed."""

    test: str
    passed: bool
    message: str

    @property
    def group(self) -> str:
        """The file, and the class if there is one."""
        return "::".join(self.test.split("::")[:-1])


def outcomes(report: Path) -> list[Outcome]:
    """Those tests that made a request, in their own phases or in those of a fixture right before."""
    phases = defaultdict(list)
    seen: Counter[str] = Counter()
    for line in report.read_text().splitlines():
        phase = json.loads(line)
        made, seen[phase["worker"]] = phase["requests"] - seen[phase["worker"]], phase["requests"]
        phases[phase["test"]].append({**phase, "made": made})
    return list(_spoken(phases))


def _spoken(phases: dict[str, list[dict[str, object]]]) -> Iterator[Outcome]:
    for test, parts in phases.items():
        if any(part["made"] for part in parts) and not any(part["outcome"] == "skipped" for part in parts):
            failed = [part for part in parts if part["outcome"] == "failed"]
            yield Outcome(test=test, passed=not failed, message=str(failed[0]["message"]) if failed else "")


def _matches(test: str, patterns: list[str]) -> bool:
    return any(re.search(pattern, test) for pattern in patterns)


def print_report(found: list[Outcome]) -> bool:
    """Print it by product and class; whether each failure is explained, and each explanation still needed."""
    left = tomllib.loads(_LEFT.read_text())
    products: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in found:
        named = (name for name, patterns in left["products"].items() if _matches(outcome.test, patterns))
        products[next(named, _MODELS)].append(outcome)
    _print_groups(products.pop(_MODELS, []))
    print("\nNot counted:")
    for name, several in sorted(products.items()):
        print(f"{sum(one.passed for one in several):4} of {len(several):4}  {name}")
    others = [one for several in products.values() for one in several]
    return _explained([one for one in found if one not in others], left["failing"])


def _print_groups(found: list[Outcome]) -> None:
    groups = defaultdict(list)
    for outcome in found:
        groups[outcome.group].append(outcome.passed)
    for group, results in sorted(groups.items()):
        print(f"{sum(results):4} of {len(results):4}  {group}")
    passed = sum(outcome.passed for outcome in found)
    print(f"{passed:4} of {len(found):4}  {_MODELS}: {passed / max(len(found), 1):.1%}")


def _explained(found: list[Outcome], reasons: list[dict[str, object]]) -> bool:
    failed, fine = [one for one in found if not one.passed], True
    for entry in reasons:
        patterns = [str(pattern) for pattern in entry["tests"]]  # type: ignore[attr-defined]
        of_this = [one for one in failed if _matches(one.test, patterns)]
        print(f"\nLeft: {entry['reason']}")
        for one in of_this:
            print(f"      {one.test}")
        for one in found:
            if one.passed and _matches(one.test, patterns):
                fine = False
                print(f"PASSES, take it out of left.toml: {one.test}")
        failed = [one for one in failed if one not in of_this]
    for one in failed:
        print(f"\nFAILED {one.test}\n       {one.message[:500]}")
    return fine and not failed
