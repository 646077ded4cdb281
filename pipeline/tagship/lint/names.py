"""A name that is held against what is there: what it says by the policy's patterns, and in its words."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from tagship.lint.finding import OK, WARN, Finding
from tagship.lint.held import Fact
from tagship.naming.fields import FieldValue, PatternError
from tagship.naming.name_rules import NameRules
from tagship.naming.names import NamingPolicy, make_name
from tagship.naming.parsing import RUN, NamingScheme, read_as
from tagship.naming.version import is_semver
from tagship.system.called import called

_VERSION_AT_THE_END = re.compile(r"-v(?P<version>\d+\.\d+\.\d+\S*)$")


class Named(Struct, frozen=True, kw_only=True):
    """A name: `what` it is (`run`, `export`, `artifact`, `repo`), its `fields` by the policy's pattern for such names
    or an older one (`parsed`), and its quantization type. `rules` are those of the places that it goes to. `mended` is
    what checks have found its fields to be in truth, so that each of them proposes the one name that mends all."""

    text: str
    what: str
    naming: NamingPolicy
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    parsed: bool = False
    quant: str | None = None
    rules: Sequence[NameRules] = ()
    mended: dict[str, FieldValue] = field(default_factory=dict)

    @property
    def plain(self) -> str:
        """The name without a namespace before it."""
        return self.text.rpartition("/")[2]

    @property
    def dataset(self) -> str | None:
        """The data set that it says, if it says one."""
        value = self.fields.get("dataset")
        return value if isinstance(value, str) else None

    @property
    def base(self) -> str:
        """What of it speaks of the base model: its word, or where no pattern says which that is, all but a data set."""
        value = self.fields.get("base")
        return value if isinstance(value, str) else self.plain

    @property
    def words(self) -> list[str]:
        """Its words, but for those that name a base model and a data set."""
        others = {value.lower() for value in (self.fields.get("base"), self.dataset) if isinstance(value, str)}
        return [word for word in re.split(r"[-/_]", self.plain.lower()) if word not in others]

    @property
    def version(self) -> str | None:
        """The version that it carries."""
        value = self.fields.get("version")
        if isinstance(value, str):
            return value
        found = None if self.parsed else _VERSION_AT_THE_END.search(self.plain)
        return found["version"] if found and is_semver(found["version"]) else None

    def corrected(self, name: str, value: FieldValue) -> str:
        """How it comes to say what is so."""
        self.mended[name] = value
        fields = {**self.fields, **self.mended}
        if self.what == RUN and self.parsed:
            with suppress(PatternError):
                return f"rename the folder to {make_name(self.naming.run, fields, RUN)}"
        if "run" in self.fields or self.what != RUN:
            return f"say {name} {value} in the name of the run, and export it again"
        return f"{called()} name --new makes a name with {name} {value}"

    def compared(self, about: str, said: object, fact: Fact[Any], *, level: str = OK) -> Finding:
        """A finding that the name agrees with a fact, or at another level does not."""
        return Finding(
            level=level, field=about, name=self.text, said=str(said), held=shown(fact.value), where=fact.where
        )

    def lacks(self, about: str, why: str, remedy: str | None) -> Finding:
        """A finding that it leaves something out, and why people miss that."""
        return Finding(
            level=WARN, field=about, name=self.text, held=f"it is left out; {why}", remedy=remedy, omission=True
        )


def named(text: str, what: str, scheme: NamingScheme, rules: Sequence[NameRules] = ()) -> Named:
    """A name read as one of its kind by the policy, or by its words alone where no pattern makes it."""
    reading = next(iter(read_as(what, text, scheme)), None)
    if reading is None:
        return Named(text=text, what=what, naming=scheme.naming, rules=rules)
    return Named(
        text=text,
        what=what,
        naming=scheme.naming,
        fields=reading.fields,
        parsed=True,
        quant=reading.quant,
        rules=rules or (),
    )


def shown(value: object) -> str:
    """A fact as people read it."""
    if isinstance(value, float):
        return f"{value:g}"
    return value.isoformat() if isinstance(value, datetime) else str(value)
