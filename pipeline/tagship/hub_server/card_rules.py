"""What the Hub takes in the metadata of a model card: its list of licenses, languages, and the types of its fields.

Sources: https://huggingface.co/docs/hub/repositories-licenses and https://huggingface.co/docs/hub/model-cards. The
Hub's own check is a request (`/api/validate-yaml`), which nobody can make before they are online.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

OTHER = "other"
_LICENSES = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
    lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl
    openmdw-1.0 openmdw-1.1 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
    fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown
    other
"""
LICENSES = frozenset(_LICENSES.split())
# ISO 639-1. Of three letters (639-2 and 639-3) there are 8,000, which are not listed here.
_CODES = """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo
    es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg
    ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn
    no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw
    ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
_TWO_LETTERS = frozenset(_CODES.split())
_SPECIAL_LANGUAGES = ("code", "multilingual")
RELATIONS = ("adapter", "merge", "quantized", "finetune")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_LICENSE_NAME = re.compile(r"[a-z0-9.-]+")
_URL = re.compile(r"""https?://[^\s()<>|"'`\\]+""")
# Of a repository's own files those that the Hub takes for the text of its license.
LICENSE_FILES = ("LICENSE", "LICENSE.md", "LICENSE.txt")


def problems(data: Mapping[str, Any]) -> Iterator[str]:
    """What the Hub objects to in a card's metadata, in its own manner: the field, its value, what is allowed."""
    for field, check in _CHECKS.items():
        if data.get(field) is not None:
            yield from (f'"{field}" {problem}' for problem in check(data[field]))
    if data.get("license") == OTHER:
        yield from _other_license(data)


def _other_license(data: Mapping[str, Any]) -> Iterator[str]:
    """A license that is not on the list is told by a name and by its text: a file of the repository, or a page."""
    name, link = data.get("license_name"), data.get("license_link")
    if not (isinstance(name, str) and _LICENSE_NAME.fullmatch(name)):
        yield f'"license_name" must be given for the license "other", in lower case, digits, - and ., and is {name!r}'
    if not (isinstance(link, str) and (link in LICENSE_FILES or _URL.fullmatch(link))):
        yield f'"license_link" must be LICENSE, LICENSE.md or a URL for the license "other", and is {link!r}'


def _licenses(value: Any) -> Iterator[str]:
    for name in value if isinstance(value, list) else [value]:
        if name not in LICENSES:
            yield f"with value {name!r} is not valid: it must be one of https://hf.co/docs/hub/repositories-licenses"


def _languages(value: Any) -> Iterator[str]:
    for code in value if isinstance(value, list) else [value]:
        known = isinstance(code, str) and (code in _SPECIAL_LANGUAGES or code in _TWO_LETTERS)
        if not known and not (isinstance(code, str) and re.fullmatch("[a-z]{3}", code)):
            yield f"with value {code!r} is not valid: it must be an ISO 639 code, such as en, code or multilingual"


def _ids(value: Any) -> Iterator[str]:
    for name in value if isinstance(value, list) else [value]:
        if not (isinstance(name, str) and _ID.fullmatch(name)):
            yield f"with value {name!r} is not valid: it must be an id on the Hub"


def _list_of_texts(value: Any) -> Iterator[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        yield f"must be a list of texts, and is {value!r:.80}"


def _text(value: Any) -> Iterator[str]:
    # YAML reads a version such as 1.0 as a number, and the Hub shows what it reads.
    if not isinstance(value, str | int | float | date) or isinstance(value, bool):
        yield f"must be a text, and is {value!r:.80}"


def _relation(value: Any) -> Iterator[str]:
    if value not in RELATIONS:
        yield f"with value {value!r} is not valid: it must be one of {', '.join(RELATIONS)}"


_CHECKS: Mapping[str, Callable[[Any], Iterator[str]]] = {
    "base_model": _ids,
    "base_model_relation": _relation,
    "datasets": _ids,
    "language": _languages,
    "library_name": _text,
    "license": _licenses,
    "metrics": _list_of_texts,
    "model_name": _text,
    "new_version": _ids,
    "pipeline_tag": _text,
    "tags": _list_of_texts,
}
