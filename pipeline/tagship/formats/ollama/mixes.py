"""`[formats.ollama.mixes]`: mixes of types that are found for a model, each by what it is to have.

A mix is called by its author, and its name stands where a quantization type stands: in files, repos, tags, `--quant`.
"""

import re
from collections.abc import Iterator

from msgspec import Struct

from tagship.gguf.labels import label_in, unread_label_in
from tagship.gguf.quant_mix import QUANTS
from tagship.gguf.tensor_choices import CHOOSABLE
from tagship.gguf.types import TENSOR_TYPES
from tagship.system.toml_reader import Reader

# What is in the names of other exports, or tells what a file is; also after a dot.
_TAKEN = ("gguf", "safetensors", "lora", "vllm", "ollama", "mlx", "latest", "main", "imatrix", "mmproj", "adapter")
_NAME = re.compile(r"[a-z][a-z0-9.]{0,18}[a-z0-9]")


class MixAim(Struct, frozen=True, kw_only=True):
    """What a mix is to have: at most so many bits for each weight of the file (`bpw`), or the fewest whose mean
    Kullback-Leibler divergence from the unquantized model is at most `kl` nats; one of the two is None."""

    name: str
    bpw: float | None = None
    kl: float | None = None

    @property
    def part(self) -> str:
        """What it is among what exports are made from."""
        return f"mix {self.name}"

    def __str__(self) -> str:
        return f"{self.bpw:g} bits for each weight" if self.bpw is not None else f"{self.kl:g} nats at most"


def read_mixes(table: Reader) -> tuple[MixAim, ...]:
    """The mixes of a policy, in their order; mistakes are noted."""
    return tuple(_read_mixes(table))


def _read_mixes(table: Reader) -> Iterator[MixAim]:
    for name, mix in table.tables():
        if not table.is_table(name):  # which was noted
            continue
        if problem := problem_of_name(name):
            table.note(name, problem)
        bpw, kl = mix.number("bpw"), mix.number("kl")
        if bpw is not None and kl is not None:
            mix.note("kl", "is asked for beside bpw: a mix has one or the other; make two of it")
        elif bpw is None and kl is None and not mix.has("bpw") and not mix.has("kl"):
            mix.note("bpw", "is missing: say bpw = 4.5 (bits for each weight) or kl = 0.02 (nats, at most)")
        mix.close()
        yield MixAim(name=name, bpw=bpw, kl=None if bpw is not None else kl)


def problem_of_name(name: str) -> str | None:
    """Why a mix may not be called so."""
    types = {*QUANTS, *CHOOSABLE, *(kind.name.lower() for kind in TENSOR_TYPES.values())}
    if not _NAME.fullmatch(name) and name not in types:
        return "is no name for a mix: 2 to 20 small letters, digits and dots, which begin with a letter, such as small"
    as_file = f"x-{name}"
    read = name if name in types else label_in(as_file) or unread_label_in(as_file)
    if read:
        return f"would be read as the type {read}: call it by what it is for, such as small, or laptop"
    if not set(_TAKEN).isdisjoint(name.split(".")):
        return "has a meaning in names already: call it by what it is for, such as small, or laptop"
    return None
