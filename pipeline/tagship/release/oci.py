"""The step that brings a release to an OCI registry, between its commit on the Hub and its tag, which says the
digest."""

from collections.abc import Iterator, Sequence

from tagship.artifacts.manifest import TELLING
from tagship.naming.name_rules import PLUS_IN_REPO_NAMES
from tagship.oci.artifact import Artifact, Description, digest_of, digests_of, make_artifact
from tagship.oci.registry import OciRepository
from tagship.release.plan import Plan
from tagship.release.publishing import unless_published
from tagship.release.repos import laid
from tagship.release.results import Committed, Exported, Fetched, Laid, Pushed, Results
from tagship.release.step import Tools
from tagship.release.targets import Target, by_repo
from tagship.system.errors import ReleaseError


def check_registry(plan: Plan) -> None:
    """Raise ReleaseError where a release could not be pushed: without `oras`, or the right to write."""
    if unless_pushed(plan) is None:
        for repo_id in by_repo(plan.targets):
            _repository(plan, repo_id).check()


def push_repo(plan: Plan, targets: Sequence[Target], done: Results, tools: Tools) -> Iterator[object]:
    """Push what a repo of the Hub got as an artifact. Raises ReleaseError where its tag has other files."""
    contents = laid(targets, done)
    repository, tag = _repository(plan, contents.repo_id), _tag(plan)
    artifact = make_artifact(_description(plan, contents, done, tools), contents.files)
    there = repository.manifest(tag)
    digest = _released(f"{repository}:{tag}", artifact, there) if there is not None else None
    if digest is None:
        _check_here(contents, done)
        with tools.console.bytes(str(repository), contents.size) as advance:
            repository.push(artifact, tag, lambda path: contents.elsewhere.get(path, contents.folder / path), advance)
        digest = artifact.digest
    tools.console.note(f"{repository}:{tag}@{digest}{', as before' if there is not None else ''}")
    yield Pushed(repo_id=contents.repo_id, reference=f"{repository}:{tag}", digest=digest)


def unless_pushed(plan: Plan) -> str | None:
    if reason := unless_published(plan):
        return reason
    if plan.config.publish.oci is None:
        return "[publish] oci names no registry"
    if plan.proposes:
        return "nothing is released before it is merged"
    return None if plan.stream else "no version"


def _released(where: str, artifact: Artifact, there: bytes) -> str:
    """The digest of what a tag has, if it is this release: what verifying showed may differ. Raises ReleaseError."""
    if there == artifact.manifest:
        return artifact.digest
    try:
        before, now = digests_of(there), digests_of(artifact.manifest)
    except ValueError as error:
        raise ReleaseError(f"{where} is {error}", remedy="name another place in [publish] oci") from None
    others = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
    if set(others) <= set(TELLING):
        return digest_of(there)
    raise ReleaseError(
        f"{where} was pushed before with other files: {', '.join(path for path in others if path not in TELLING)}",
        remedy="release a new version; a published version is never changed",
    )


def _check_here(contents: Laid, done: Results) -> None:
    upload = done.for_repo(Committed, contents.repo_id).upload
    if upload.sent:
        raise ReleaseError(
            f"{', '.join(sorted(upload.sent))} went straight to the Hub, and an OCI registry needs it from here",
            remedy="have units done without --to-hub, or leave [publish] oci out",
        )


def _repository(plan: Plan, repo_id: str) -> OciRepository:
    """Where a repo of the Hub goes: by its name, in small letters and without the version, which is the tag."""
    assert plan.config.publish.oci is not None
    name = repo_id.rpartition("/")[2].lower()
    version = (plan.version or "").replace("+", PLUS_IN_REPO_NAMES).lower()
    return OciRepository(plan.config.publish.oci, name.removesuffix(f"-v{version}").strip("-._"))


def _tag(plan: Plan) -> str:
    return str(plan.version).replace("+", PLUS_IN_REPO_NAMES)


def _description(plan: Plan, contents: Laid, done: Results, tools: Tools) -> Description:
    manifest = done.for_target(Exported, contents.targets[0]).manifest
    quants = [target.variant.quant for target in contents.targets if target.variant.quant]
    return Description(
        name=contents.repo_id.rpartition("/")[2],
        version=str(plan.version),
        title=contents.targets[0].title,
        vendor=plan.config.namespace,
        created=plan.moment,
        license=done.one(Fetched).base.license,
        documentation=tools.hub.lasting(f"{tools.hub.url}/{contents.repo_id}"),
        source=plan.source,
        revision=manifest.commit,
        quantization=", ".join(quants) or None,
    )
