"""What the licenses of base models allow a fine-tune to be used for, in plain words.

By the Hub's identifiers (https://huggingface.co/docs/hub/repositories-licenses). Only what stands in the licenses
themselves (their texts are linked there) is told, and of a license that is not in this table nothing is. It is no
legal advice.
"""

from msgspec import Struct


class Terms(Struct, frozen=True, kw_only=True):
    """What a license allows: `commercial` use and `derivatives` (which a fine-tune is), None where it depends; `duties`
    of those who publish one, a clause each."""

    name: str
    commercial: bool | None
    derivatives: bool | None
    duties: tuple[str, ...] = ()


_NOTICE = ("pass on its text and its copyright notice",)
_APACHE = ("pass on its text and any NOTICE file", "say which files were changed")
_CREDIT = ("credit the authors and link the license", "say that it was changed")
_ALIKE = ("publish what is made of it under the same license",)
_RAIL = ("pass on its use restrictions to all who get the model",)
_GPL = ("publish what is made of it under the same license, with its source",)


def _llama(version: str, prefix: str, *more: str) -> Terms:
    return Terms(
        name=f"Llama {version} Community License",
        commercial=None,  # not beyond 700 million monthly users, without a license of its own from Meta
        derivatives=True,
        duties=(
            'show "Built with Meta Llama 3"' if version == "3" else 'show "Built with Llama"',
            f'begin the name of a fine-tuned model with "{prefix}"',
            "pass on the license and its attribution notice",
            "follow its acceptable use policy",
            "ask Meta for a license where products had more than 700 million monthly users",
            *more,
        ),
    )


_NOT_IN_EUROPE = "its multimodal models are not licensed to people and companies in the European Union"
_GEMMA = Terms(
    name="Gemma Terms of Use",
    commercial=True,
    derivatives=True,
    duties=(
        "pass on the terms and their use restrictions, also to those who get the fine-tune",
        "say which files were changed",
        "add a NOTICE file that names the Gemma Terms of Use",
    ),
)

TERMS = {
    "apache-2.0": Terms(name="Apache License 2.0", commercial=True, derivatives=True, duties=_APACHE),
    "mit": Terms(name="MIT License", commercial=True, derivatives=True, duties=_NOTICE),
    "bsd-2-clause": Terms(name="BSD 2-Clause License", commercial=True, derivatives=True, duties=_NOTICE),
    "bsd-3-clause": Terms(name="BSD 3-Clause License", commercial=True, derivatives=True, duties=_NOTICE),
    "isc": Terms(name="ISC License", commercial=True, derivatives=True, duties=_NOTICE),
    "unlicense": Terms(name="The Unlicense", commercial=True, derivatives=True),
    "cc0-1.0": Terms(name="CC0 1.0", commercial=True, derivatives=True),
    "cc-by-4.0": Terms(name="CC BY 4.0", commercial=True, derivatives=True, duties=_CREDIT),
    "cc-by-sa-4.0": Terms(name="CC BY-SA 4.0", commercial=True, derivatives=True, duties=_CREDIT + _ALIKE),
    "cc-by-nc-4.0": Terms(name="CC BY-NC 4.0", commercial=False, derivatives=True, duties=_CREDIT),
    "cc-by-nc-sa-4.0": Terms(name="CC BY-NC-SA 4.0", commercial=False, derivatives=True, duties=_CREDIT + _ALIKE),
    "cc-by-nd-4.0": Terms(name="CC BY-ND 4.0", commercial=True, derivatives=False, duties=_CREDIT[:1]),
    "cc-by-nc-nd-4.0": Terms(name="CC BY-NC-ND 4.0", commercial=False, derivatives=False, duties=_CREDIT[:1]),
    "gpl-3.0": Terms(name="GNU GPL 3", commercial=True, derivatives=True, duties=_GPL),
    "lgpl-3.0": Terms(name="GNU LGPL 3", commercial=True, derivatives=True, duties=_GPL),
    "agpl-3.0": Terms(
        name="GNU AGPL 3", commercial=True, derivatives=True, duties=(*_GPL, "also to those who use it over a network")
    ),
    "openrail": Terms(name="OpenRAIL", commercial=None, derivatives=True, duties=_RAIL),
    "bigscience-openrail-m": Terms(name="BigScience OpenRAIL-M", commercial=True, derivatives=True, duties=_RAIL),
    "bigcode-openrail-m": Terms(name="BigCode OpenRAIL-M", commercial=True, derivatives=True, duties=_RAIL),
    "bigscience-bloom-rail-1.0": Terms(name="BLOOM RAIL 1.0", commercial=True, derivatives=True, duties=_RAIL),
    "llama2": Terms(
        name="Llama 2 Community License",
        commercial=None,
        derivatives=True,
        duties=(
            "pass on the license and its attribution notice",
            "follow its acceptable use policy",
            "ask Meta for a license where products had more than 700 million monthly users",
            "train no other language models with what it writes",
        ),
    ),
    "llama3": _llama("3", "Llama 3"),
    "llama3.1": _llama("3.1", "Llama"),
    "llama3.2": _llama("3.2", "Llama", _NOT_IN_EUROPE),
    "llama3.3": _llama("3.3", "Llama"),
    "llama4": _llama("4", "Llama", _NOT_IN_EUROPE),
    "gemma": _GEMMA,
}
