"""What there is to say of the base of a run: where it is, how the adapter fits it, its license and its revision."""

from collections.abc import Iterator

from tagship.gguf.architectures import ConverterSupport
from tagship.release.examination.adapter_findings import counted
from tagship.release.examination.facts import BaseFacts, Examination, Fit, LicenseFacts, LlamaCppFacts
from tagship.release.finding import OK, STOP, WARN, Finding
from tagship.runs.base_at_hand import CACHE, FOLDER
from tagship.runs.licenses import Terms
from tagship.system.templating import human_size
from tagship.weights.partial import HEADERS


def base_findings(base: BaseFacts) -> Iterator[Finding]:
    """Where the base is, whole or in part, and what it is."""
    place = {FOLDER: f"in {base.at_hand.folder}", CACHE: "in the Hub's cache"}.get(base.at_hand.place, "not here")
    yield Finding(level=OK, what=f"base {base.model.id}: {place}{_shards(base)}")
    for problem in (base.problem, base.code_problem):
        if problem:
            yield problem.finding()
    if base.to_fetch:
        yield Finding(level=OK, what=f"a release fetches {human_size(base.to_fetch)} of it")
    if about := [*_about(base)]:
        yield Finding(level=OK, what=", ".join(about))


def fit_findings(found: Examination) -> Iterator[Finding]:
    """Whether the adapter's modules are in the base, what it does to tied embeddings, and the vocabulary."""
    if found.base is None or found.fit is None:
        return
    fit, described = found.fit, found.base.described
    assert described is not None
    if described.guessed:
        yield Finding(
            level=WARN,
            what=f"all {fit.parameters} parameters that the adapter changes are named in the base; the shapes of "
            f"{len(described.guessed)} tensors are not known here, and were not compared",
        )
    else:
        names = "" if fit.renamed is None else f", some under other names ({fit.renamed[0]} is {fit.renamed[1]})"
        told = "" if described.basis == HEADERS else "; of shards that are not here, by their other layers"
        yield Finding(
            level=OK,
            what=f"all {fit.parameters} parameters that the adapter changes are in the base, and fit{names}{told}",
        )
    yield Finding(level=OK, what=f"ties: {_ties(fit)}")
    yield from _vocabulary(fit)


def llama_cpp_findings(facts: LlamaCppFacts) -> Iterator[Finding]:
    """Whether llama.cpp's converter knows the model."""
    if facts.architecture is None:
        yield Finding(level=WARN, what="llama.cpp: config.json names no architecture, so it cannot be told")
        return
    support = facts.support or ConverterSupport(knows=None)
    if support.knows:
        yield Finding(level=OK, what=f"llama.cpp's converter knows {facts.architecture}")
    elif support.knows is None:
        yield Finding(
            level=WARN,
            what=f"{support.problem}, so that it cannot be told whether it knows {facts.architecture}",
            remedy='pip install -e ".[gguf]"',
        )
    else:
        yield Finding(
            level=STOP if facts.needed else WARN,
            what=str(support.problem),
            remedy="point LLAMA_CPP_DIR at a newer checkout of llama.cpp, or leave the ollama format out",
        )


def license_findings(facts: LicenseFacts, base: BaseFacts) -> Iterator[Finding]:
    """What the base's license is, and what it allows."""
    if facts.overruled:
        yield Finding(
            level=WARN,
            what=f"license: {facts.overruled} by the base's own card, and published as {facts.id}",
            remedy=f'leave license out of [bases."{base.model.id}"], unless that card is wrong',
        )
    if facts.id is None:
        # Where its card was not seen, a release may find it there.
        unseen = base.at_hand.place != FOLDER and base.hub.why_not is not None
        yield Finding(
            level=WARN if unseen else STOP,
            what=f"license: {'nothing here' if unseen else 'nothing'} says which one {base.model.id} has",
            remedy=f'read its page, and add to release.toml: [bases."{base.model.id}"] license = "…"',
        )
    elif facts.terms is None:
        named = " ".join(filter(None, (facts.name, f"({facts.link})" if facts.link else None)))
        which = ", ".join(filter(None, (facts.id, named)))
        yield Finding(
            level=WARN,
            what=f"license: {which}, by {facts.said_by}: its terms are not known here",
            remedy="read it before you publish",
        )
    else:
        level = OK if facts.terms.commercial and facts.terms.derivatives else WARN
        yield Finding(level=level, what=f"license: {facts.id}, by {facts.said_by}: {_allowed(facts.terms)}")


def revision_findings(base: BaseFacts) -> Iterator[Finding]:
    """Whether the Hub still has the revision that the run recorded."""
    recorded, hub = base.model.revision, base.hub
    if hub.unknown and base.model.path is None:
        yield Finding(
            level=STOP,
            what=f"revision: there is no model {base.model.id} on the Hub, or the token may not see it",
            remedy=f'name it with --base, or say where it is: [bases."{base.model.id}"] path = "FOLDER"',
        )
    elif hub.gated and _is_to_be_fetched(base):
        yield Finding(
            level=STOP,
            what=f"revision: the base model {base.model.id} is gated, and the token may not read it",
            remedy="accept its terms on its page, and set HF_TOKEN",
        )
    elif hub.why_not is not None:
        said = f"recorded is {recorded[:12]}" if recorded else "the run recorded none"
        yield Finding(level=OK, what=f"revision: {said}; the Hub did not say more ({hub.why_not})")
    elif recorded is None:
        yield Finding(
            level=OK, what=f"revision: the run recorded none, so that a release takes main, now {_short(hub.head)}"
        )
    elif hub.commit is None:
        yield Finding(
            level=STOP,
            what=f"revision: the Hub has no {recorded} of {base.model.id}",
            remedy=f'say which one the run was trained on: [bases."{base.model.id}"] revision = "main"',
        )
    elif hub.commit == hub.head:
        yield Finding(level=OK, what=f"revision: {_short(hub.commit)} is still the head of main")
    else:
        by = f" by {hub.behind} {'commit' if hub.behind == 1 else 'commits'}" if hub.behind else ""
        yield Finding(
            level=WARN,
            what=f"revision: main went on{by} from {_short(hub.commit)}, which a release takes, to {_short(hub.head)}",
        )


def _is_to_be_fetched(base: BaseFacts) -> bool:
    return base.model.path is None and (base.files is None or base.at_hand.here != base.files.names)


def _shards(base: BaseFacts) -> str:
    if base.files is None:
        return ", and which files its weights are in is not known" if base.at_hand.place != FOLDER else ""
    here, named = len(base.at_hand.here), len(base.files.names)
    files = "file" if named == 1 else "files"
    return (
        f", {here} of {named} {files} of weights"
        if here < named
        else f", {'its' if named == 1 else 'all'} {named} {files} of weights"
    )


def _about(base: BaseFacts) -> Iterator[str]:
    if base.architecture:
        trained = base.trained_class
        yield f"{base.architecture}{f', trained as {trained}' if trained and trained != base.architecture else ''}"
    if base.described:
        guess = "" if not base.described.guessed else "about "
        yield f"{guess}{counted(base.described.numbers)} parameters"
        yield f"{human_size(base.described.nbytes)} in {' and '.join(list(base.described.dtypes)[:2])}"


def _ties(fit: Fit) -> str:
    if not fit.tied:
        return "the base has an embedding and a head of its own" + (
            ", and the adapter changes some of that" if fit.touches_vocabulary else "; the adapter leaves both"
        )
    if fit.untied:
        return "the base ties embedding and head, and the adapter trained them apart: the merged model has both"
    changed = "and the adapter changes both alike" if fit.touches_vocabulary else "and the adapter leaves them"
    return f"the base ties embedding and head, {changed}: they stay tied"


def _vocabulary(fit: Fit) -> Iterator[Finding]:
    if fit.rows is None:
        return
    resized = "" if fit.merged_rows in (None, fit.rows) else f", resized by the run to {fit.merged_rows}"
    added = fit.tokens - fit.base_tokens if fit.base_tokens else 0
    more = f", {added} more than the base's" if added > 0 else ""
    tokens = f"; the tokenizer has {fit.tokens} tokens{more}" if fit.tokens else ""
    yield Finding(level=OK, what=f"vocabulary: the embedding has {fit.rows} rows{resized}{tokens}")


def _allowed(terms: Terms) -> str:
    commercial = {True: "commercial use", False: "no commercial use", None: "commercial use under conditions"}
    said = [commercial[terms.commercial], "fine-tunes" if terms.derivatives else "no fine-tunes to be published"]
    duties = f"; {', '.join(terms.duties)}" if terms.duties else ""
    return f"{terms.name}: {' and '.join(said)}{duties}"


def _short(commit: str | None) -> str:
    return commit[:12] if commit else "unknown"
