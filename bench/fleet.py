"""A simulation of a large release on many machines, plain arithmetic from what docs/performance.md measured: 100
adapters x 5 variants of a 70B base on 1 to 64 nodes.
"""

import heapq

from msgspec import Struct


class Node(Struct, frozen=True, kw_only=True):
    """A machine: cores; bytes a second of its disk and of its line; whether its memory holds the base."""

    cores: int = 32
    disk: float = 2e9
    line: float = 1.25e9
    holds_base: bool = True


class Variant(Struct, frozen=True, kw_only=True):
    """A format and type: bytes for each parameter, and core seconds for each 1e9 parameters to make one."""

    name: str
    size: float
    making: float


# Core seconds for 1e9 parameters, by docs/performance.md: merging 5 for 3.8; q8_0 and q4_k_m 23 and 82 for 3.8, on two
# cores. q5_k_m is taken to be as long as q4_k_m.
VARIANTS = (
    Variant(name="vllm", size=2.0, making=1.3),
    Variant(name="q8_0", size=1.07, making=6.1),
    Variant(name="q5_k_m", size=0.71, making=21.5),
    Variant(name="q4_k_m", size=0.61, making=21.5),
    Variant(name="lora", size=0.006, making=0),
)
ADAPTERS, PARAMETERS = 100, 70e9
# Verifying a unit: 155 core seconds of 1e9 parameters; ten readings of the base's files, where memory does not hold it.
VERIFYING, READINGS = 155.0, 10
# Of cores beyond two nobody has measured how much is lost; and a line of the Hub's own is not known to us.
EFFICIENCY = 0.7
# Who gathers hashes what is fetched from a bucket, and packs it: on one machine, by what a core reads a second.
HASHING = 0.8e9


def simulate() -> None:
    """Print the makespan of a release for each number of nodes, and what bounds it."""
    for node in (Node(), Node(holds_base=False)):
        memory = "holds the base" if node.holds_base else "does not hold the base"
        print(f"\n{node.cores} cores, disk {node.disk / 1e9:g} GB/s, line {node.line / 1e9:g} GB/s; memory {memory}\n")
        print("| nodes | units, `--to-hub` | bound by | gathering from a bucket | base fetched | results |")
        print("|---:|---:|---|---:|---:|---:|")
        for count in (1, 2, 4, 8, 16, 32, 64):
            print(_row(node, count))


def _row(node: Node, count: int) -> str:
    seconds, bound = makespan(node, count)
    results = sum(variant.size for variant in VARIANTS) * PARAMETERS * ADAPTERS
    gathering = results / min(node.line, HASHING)
    fetched = 2 * PARAMETERS * min(count, ADAPTERS * len(VARIANTS))
    return (
        f"| {count} | {seconds / 3600:.1f} h | {bound} | {gathering / 3600:.1f} h | {fetched / 1e12:.2f} TB "
        f"| {results / 1e12:.1f} TB |"
    )


def makespan(node: Node, count: int) -> tuple[float, str]:
    """Seconds until the last unit is done, the longest given first to whoever is free; and what most of it is spent on.
    Each node fetches the base before its first unit."""
    units = sorted((parts_of(node, variant) for variant in VARIANTS for _ in range(ADAPTERS)), key=_total, reverse=True)
    free = [2 * PARAMETERS / node.line] * count
    for parts in units:
        heapq.heapreplace(free, free[0] + _total(parts))
    spent = {name: sum(parts[name] for parts in units) for name in units[0]}
    return max(free), max(spent, key=lambda name: spent[name])


def parts_of(node: Node, variant: Variant) -> dict[str, float]:
    """The seconds of a unit by what they are spent on. One that reads while it computes has the longer of the two."""
    core_seconds = (VERIFYING + variant.making) * PARAMETERS / 1e9
    computing = core_seconds / (node.cores * EFFICIENCY)
    reading = (1 if node.holds_base else READINGS) * 2 * PARAMETERS / node.disk
    working = {"cores": computing, "disk": 0.0} if computing >= reading else {"cores": 0.0, "disk": reading}
    return working | {"line": variant.size * PARAMETERS / node.line}


def _total(parts: dict[str, float]) -> float:
    return sum(parts.values())


if __name__ == "__main__":
    simulate()
