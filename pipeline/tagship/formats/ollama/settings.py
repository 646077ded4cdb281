"""What `[formats.ollama]` says, and `[export]` of importance matrices."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tagship.formats.ollama.mixes import MixAim
from tagship.gguf.quant_mix import QUANTS, takes_choices
from tagship.gguf.tensor_choices import CHOOSABLE, TensorChoice, problem_of
from tagship.system.toml_reader import Reader, hint


class OllamaSettings(Struct, frozen=True, kw_only=True):
    """`[formats.ollama]`: the quantization types; and where no template can be derived from the
    model's own, the name of one in templates/ that is written in Go's language. `imatrix` is the importance matrix
    that quantization is weighed by (`[export] imatrix`, `--imatrix`); where it is "make", `calibration` is the text
    that one is made of (`[export] imatrix_text`). `tensors` are types that are chosen for tensors, each for one
    quantization type or for all (None). `mixes` are found for a model (`[formats.ollama.mixes]`)."""

    quants: tuple[str, ...]
    template: str | None
    imatrix: Path | None
    calibration: Path | None = None
    tensors: tuple[tuple[str | None, TensorChoice], ...] = ()
    mixes: tuple[MixAim, ...] = ()

    @property
    def exports(self) -> tuple[str, ...]:
        """The quantization types, and the names of the mixes."""
        return (*self.quants, *(mix.name for mix in self.mixes))

    def mix(self, quant: str | None) -> MixAim | None:
        """The mix of that name; None for a quantization type."""
        return next((mix for mix in self.mixes if mix.name == quant), None)

    def of(self, quant: str) -> "OllamaSettings":
        """What of it an export is made by: of that quantization type, or of the mix of that name."""
        aim = self.mix(quant)
        mixes, choices = (aim,) if aim else (), () if aim else self.choices(quant)
        return replace(self, quants=(), mixes=mixes, tensors=tuple((None, choice) for choice in choices))

    @property
    def weighed(self) -> bool:
        """Whether there is an importance matrix, or will be."""
        return bool(self.imatrix or self.calibration)

    def choices(self, quant: str) -> tuple[TensorChoice, ...]:
        """What is chosen in a quantization type, its own choices first; nothing in files of floats."""
        if not takes_choices(quant):
            return ()
        return tuple(choice for wanted in (quant, None) for of, choice in self.tensors if of == wanted)


def read_tensors(table: Reader) -> tuple[tuple[str | None, TensorChoice], ...]:
    """`[formats.ollama.tensors]`: types by patterns of names, in their order; a table in it, called as a quantization
    type is, has those of that type alone."""
    found: list[tuple[str | None, TensorChoice]] = []
    keys = table.keys()
    for key in keys:
        if not table.is_table(key):
            found += [(None, choice) for choice in _choices(table, [key])]
            continue
        if key not in QUANTS or not takes_choices(key):
            table.note(key, "is no quantization type whose tensors may get types of their own")
        of_type = table.table(key)
        found += [(key, choice) for choice in _choices(of_type, of_type.keys())]
    return tuple(found)


def _choices(table: Reader, patterns: Iterable[str]) -> Iterator[TensorChoice]:
    for pattern in patterns:
        if problem := problem_of(pattern):
            table.note(pattern, problem)
        chosen = table.text(pattern).lower()
        if chosen in CHOOSABLE:
            yield TensorChoice(pattern, chosen.upper())
        else:
            table.note(pattern, f"chooses no type of tensors: {chosen!r}{hint(chosen, CHOOSABLE)}")
