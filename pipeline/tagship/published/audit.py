"""What a published release claims, held against what the Hub has: its files, its seals, its tag, its card, and main
since then.

Nothing here is needed but the Hub: the manifest in the repo says what there should be.
"""

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tagship.artifacts.card_changes import is_withdrawn, leads_to, same_but_for_changes
from tagship.artifacts.manifest import CARD_FILE, MANIFEST_FILE, SEALS, FileEntry, Manifest
from tagship.hub.connection import Hub
from tagship.hub.failures import hub_errors
from tagship.hub.patience import current, set_current
from tagship.hub.repository import KEPT, remote_files, small_file
from tagship.hub_server.cards import BadCard, metadata
from tagship.naming.version import is_prerelease, is_semver
from tagship.published.finding import DIFFERENT, NOTE, OK, Finding
from tagship.published.releases import Published, Unread, card_at, differing, is_main_unused
from tagship.published.seals import NOT_ASKED, Sealed, Signatures, look_at_seals
from tagship.system.called import called
from tagship.system.templating import human_size
from tagship.verify.evidence import PASSED

_AT_ONCE = 8


class Audit(Struct, frozen=True, kw_only=True):
    """What came of looking at one release."""

    release: Published
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.level != DIFFERENT for finding in self.findings)


def audit(hub: Hub, release: Published, signatures: Signatures = NOT_ASKED) -> Audit:
    """Compare a release with its manifest, and with what is asked of its signature. Every small file is read, of large
    ones the Hub's own SHA-256. Raises ToolError when the Hub does not answer."""
    look = _Look(hub, release)
    parts = (look.files(), look.seals(signatures), look.tag(), look.card(), look.evidence(), look.main())
    return Audit(release=release, findings=tuple(finding for part in parts for finding in part))


def compare_files(hub: Hub, release: Published) -> Iterator[Finding]:
    """As `audit`, of the files alone."""
    return _Look(hub, release).files()


def unread(release: Unread) -> Finding:
    """What is to be said of a release whose manifest cannot be read."""
    return Finding(level=DIFFERENT, about=MANIFEST_FILE, told=release.problem)


class _Look:
    """One release, looked at."""

    def __init__(self, hub: Hub, release: Published) -> None:
        self._hub, self._release = hub, release
        with hub_errors(f"list {release.repo_id}"):
            self._there = dict(remote_files(hub, release.repo_id, release.commit))
        names = sorted(self._there.keys() - set(KEPT))
        with ThreadPoolExecutor(_AT_ONCE, initializer=set_current, initargs=(current(),)) as pool:
            self._digests = dict(zip(names, pool.map(self._sha256, names), strict=True))

    @property
    def _manifest(self) -> Manifest:
        return self._release.manifest

    def files(self) -> Iterator[Finding]:
        """Every file that the manifest lists is there with its content, and no other."""
        listed = {entry.path: entry for entry in self._manifest.files}
        found = self._digests.keys() - {MANIFEST_FILE, *SEALS}
        problems = [Finding(level=DIFFERENT, about=name, told="missing") for name in sorted(listed.keys() - found)]
        for name in sorted(found - listed.keys()):
            problems.append(Finding(level=DIFFERENT, about=name, told=f"not in {MANIFEST_FILE}"))
        for name in sorted(listed.keys() & found):
            if (digest := self._digests[name]) != listed[name].sha256:
                told = f"other content: SHA-256 {digest[:12]}…, released as {listed[name].sha256[:12]}…"
                problems.append(Finding(level=DIFFERENT, about=name, told=told))
        yield from problems or [self._all_files(list(listed.values()))]

    def _all_files(self, entries: list[FileEntry]) -> Finding:
        size = human_size(sum(entry.size for entry in entries))
        return Finding(level=OK, about="files", told=f"{len(entries)}, {size}: each SHA-256 is the manifest's")

    def _sha256(self, name: str) -> str:
        remote = self._there[name]
        if remote.lfs:
            return str(remote.lfs.sha256)
        return hashlib.sha256(self._read(name)).hexdigest()

    def _read(self, name: str) -> bytes:
        repo_id, commit = self._release.repo_id, self._release.commit
        with hub_errors(f"read {name} of {repo_id}"):
            return small_file(self._hub.reading(repo_id), repo_id, name, commit)

    def seals(self, signatures: Signatures) -> Iterator[Finding]:
        """Provenance and signature are of these files, and by the key that is asked for."""
        manifest = self._manifest
        return look_at_seals(Sealed(manifest=manifest, digests=self._digests, read=self._read), signatures)

    def tag(self) -> Iterator[Finding]:
        """The tag is the one that was released, in the repo that it was released to."""
        release, manifest = self._release, self._manifest
        if manifest.repo_id != release.repo_id:
            told = f"released as {manifest.repo_id}, of which this is a copy or a new name"
            yield Finding(level=NOTE, about="repo", told=told)
        if release.tag is None and manifest.tag is not None:
            told = f"not there: the release was not finished, or the tag deleted; {called()} release sets it"
            yield Finding(level=DIFFERENT, about=f"tag {manifest.tag}", told=told)
        elif manifest.tag == release.tag:
            told = f"on {release.commit[:10]}, of the source commit {manifest.commit[:10]}"
            yield Finding(level=OK, about=f"tag {release.tag}" if release.tag else "main", told=told)
        else:
            # An alias, such as `stable`, is somebody's own affair; what looks like a version is not.
            level = DIFFERENT if is_semver(str(release.tag).rpartition("v")[2]) else NOTE
            told = f"on files that were released as {manifest.tag or 'no version'}"
            yield Finding(level=level, about=f"tag {release.tag}", told=told)

    def card(self) -> Iterator[Finding]:
        """The card claims of base model, license and version what the manifest does."""
        if CARD_FILE not in self._there:
            return
        try:
            said = metadata(card_at(self._hub, self._release.repo_id, self._release.commit) or "")
        except BadCard as error:
            yield Finding(level=DIFFERENT, about=CARD_FILE, told=str(error))
            return
        right = Finding(level=OK, about="card", told="base model, license and version are the manifest's")
        yield from list(self._claims(said)) or [right]

    def _claims(self, said: Mapping[str, Any]) -> Iterator[Finding]:
        manifest = self._manifest
        parents = {manifest.base_model, *manifest.siblings}
        bases = said.get("base_model")
        for base in bases if isinstance(bases, list) else [bases]:
            if base not in parents:
                yield _claim("base_model", base, " or ".join(sorted(parents)))
        for key, value in (("license", manifest.license), ("version", manifest.version)):
            if said.get(key) != value:
                yield _claim(key, said.get(key), value)

    def evidence(self) -> Iterator[Finding]:
        """What is said to have been shown was shown of these files."""
        for export in self._manifest.each():
            about = f"evidence of {export.quant}" if self._manifest.parts else "evidence"
            shown = export.shown()
            if shown:
                level = OK if shown.outcome == PASSED and not shown.is_short else NOTE
                yield Finding(level=level, about=about, told=shown.summary)
            elif export.evidence:
                yield Finding(level=DIFFERENT, about=about, told="of other files than these")
            else:
                yield Finding(level=NOTE, about=about, told="none: nothing was recorded of its verification")

    def main(self) -> Iterator[Finding]:
        """What main has beside what was released: of tagship's own doing, or of somebody else's."""
        release = self._release
        if release.head == release.commit:
            return
        changed = differing(self._hub, release, release.head)
        if not changed:
            yield from self._changed_card()
        elif other := self._release_on_main():
            yield Finding(level=NOTE, about="main", told=f"is at {other}")
        elif release.unfinished:  # what that has is looked at by itself
            yield Finding(level=NOTE, about="main", told=f"is at {release.unfinished}, which has no tag")
        elif is_prerelease(self._manifest.version or "") and is_main_unused(self._hub, self._release):
            yield Finding(level=NOTE, about="main", told="has no version yet: this one is a prerelease")
        else:
            listed = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
            yield Finding(level=DIFFERENT, about="main", told=f"changed since the release: {listed}")

    def _release_on_main(self) -> str | None:
        """The other release of this repo that main is at, but for its card."""
        release = self._release
        for tag, commit in release.others.items():
            if not differing(self._hub, replace(release, commit=commit), release.head):
                return tag
        return None

    def _changed_card(self) -> Iterator[Finding]:
        release = self._release
        now, then = (card_at(self._hub, release.repo_id, at) for at in (release.head, release.commit))
        if now == then:
            return
        if now is None or then is None:
            what = "deleted" if now is None else "added"
            yield Finding(level=DIFFERENT, about="main", told=f"{CARD_FILE} was {what} since the release")
            return
        if not same_but_for_changes(now, then):
            yield Finding(level=DIFFERENT, about="main", told=f"{CARD_FILE} was changed since the release")
            return
        following = leads_to(now)
        told = [f"leads to {following}"] * bool(following) + ["says that this was withdrawn"] * is_withdrawn(now)
        yield Finding(level=NOTE, about="main", told=f"the card {', and '.join(told) or 'has a notice'}")


def _claim(key: str, said: object, meant: object) -> Finding:
    return Finding(level=DIFFERENT, about=f"card {key}", told=f"says {said}, and the manifest {meant}")
