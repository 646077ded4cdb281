"""What a name says of a release: format, quantization type, version; and what places allow."""

from collections.abc import Iterator

from msgspec.structs import replace

from tagship.gguf.labels import label_in
from tagship.lint.finding import ERROR, WARN, Finding
from tagship.lint.held import ADAPTER, GGUF, MERGED, Fact, Held
from tagship.lint.names import Named
from tagship.lint.quants import same_type
from tagship.naming.names import ARTIFACT, REPO
from tagship.naming.parsing import RUN
from tagship.system.called import called

_VERSION_IS_WANTED = "48% of the Hub's users want a version in a name, and 13% of names have one"
# What words in a name say that is there.
_MARKERS = {
    "lora": ADAPTER,
    "qlora": ADAPTER,
    "adapter": ADAPTER,
    "peft": ADAPTER,
    "gguf": GGUF,
    "vllm": MERGED,
    "mlx": MERGED,
    "merged": MERGED,
}


def check_markers(name: Named, held: Held) -> Iterator[Finding]:
    """Words for a format: what is there is of one of them. `lora-merged` says how it was trained, too."""
    words = [word for word in dict.fromkeys(name.words) if word in _MARKERS]
    if not held.holds or not words or name.what in (RUN, ARTIFACT):
        return
    right = next((word for word in words if _MARKERS[word] in held.holds), None)
    finding = name.compared("format", right or words[0], Fact(" and ".join(sorted(held.holds)), held.where))
    if right is not None:
        yield finding
    else:
        remedy = f"publish {_MARKERS[words[0]]} under this name, or leave {words[0]} out of it"
        yield replace(finding, level=ERROR, remedy=remedy)


def check_quant(name: Named, held: Held) -> Iterator[Finding]:
    """The quantization type that a repo or an export is named by, against its files."""
    said = name.quant.upper() if name.quant else label_in(name.plain) if GGUF in held.holds else None
    if said is None or name.what == RUN:
        return
    models = {file: found.file_type for file, found in held.ggufs.items() if found.kind == "model" and found.file_type}
    if label_in(said) is None and held.quant is not None:  # a mix of somebody's own, which no file's type is called for
        models = {}
    if not models and held.quant is not None:
        yield from _compared_quant(name, said, held.quant)
    right = [file for file, file_type in models.items() if same_type(said, file_type)]
    for file in right[:1] or list(models)[:1]:
        yield from _compared_quant(name, said, Fact(models[file], file))
    if right and len(right) < len(models):
        others = ", ".join(sorted({models[file] for file in models if file not in right}))
        yield Finding(
            level=WARN,
            field="quantization",
            name=name.text,
            said=said,
            held=f"files of {others} too",
            where=held.where,
            remedy="name the repo without a type, or publish one type in each",
        )


def _compared_quant(name: Named, said: str, fact: Fact[str]) -> Iterator[Finding]:
    finding = name.compared("quantization", said, fact)
    if same_type(said, fact.value):
        yield finding
    else:
        yield replace(finding, level=ERROR, remedy=f"quantize it as {said.lower()}, or name it {fact.value.lower()}")


def check_version(name: Named, held: Held) -> Iterator[Finding]:
    """The version: that of the manifest, of a tag on the repo, and of the GGUF itself."""
    if name.what == RUN:
        return
    said = name.version
    if said is None and name.what == REPO and name.naming.tags_versions:
        yield from _tagged_version(name, held)
        return
    if said is None:
        told = held.version.value if held.version else None
        remedy = f"say {told} in it" if told else f"{called()} bump --tag makes one, and names have it then"
        yield name.lacks("version", f"it is {told}" if told else _VERSION_IS_WANTED, remedy)
        return
    if held.version is not None:
        remedy = "publish it under the name of its version; a published version is never changed"
        yield _version(name, said, Fact(held.version.value or "no version", held.version.where), ERROR, remedy)
    for file, version in held.gguf_versions.items():
        # Of another program's file, it may be the base model's.
        yield _version(name, said, Fact(version, file), ERROR if held.version else WARN, "export it again")
    if held.repo_tags is not None:
        tags = held.repo_tags.value
        fact = Fact(said if said in tags else ", ".join(tags) or "no version tag", held.repo_tags.where)
        yield _version(name, said, fact, ERROR if tags else WARN, f"tag its commit with {said}")


def _tagged_version(name: Named, held: Held) -> Iterator[Finding]:
    """Where a repo has every version, its tags say them, and the one that it is at is among them."""
    at = held.version.value if held.version else None
    if at and held.repo_tags is not None:
        tags = held.repo_tags.value
        fact = Fact(at if at in tags else ", ".join(tags) or "no version tag", held.repo_tags.where)
        yield _version(name, at, fact, WARN, f"tag its commit with {at}")


def _version(name: Named, said: str, fact: Fact[str], level: str, remedy: str) -> Finding:
    finding = name.compared("version", said, fact)
    return finding if said == fact.value else replace(finding, level=level, remedy=remedy)


def check_rules(name: Named, held: Held) -> Iterator[Finding]:
    """The rules of the places that a name goes to."""
    for rules in name.rules:
        if problem := rules.problem(name.plain):
            yield Finding(
                level=ERROR,
                field="rules",
                name=name.text,
                said=None,
                held=problem,
                where=rules.name,
                remedy=f"nearest valid name: {rules.nearest(name.plain)}",
            )
