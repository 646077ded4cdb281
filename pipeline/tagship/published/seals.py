"""What seals a published release, held against what the Hub has: its signature by the key, its provenance by digests.

The digests are those that an audit has anyway: of large files the Hub's own, so that nothing large is fetched.
"""

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from tagship.artifacts.manifest import PROVENANCE_FILE, SIGNATURE_FILE, Manifest
from tagship.artifacts.trust.keys import PublicKey
from tagship.artifacts.trust.provenance import read_provenance
from tagship.artifacts.trust.signature import NotSigned, claimed, key_id_of, verify
from tagship.naming.version import is_semver, precedence
from tagship.published.finding import DIFFERENT, NOTE, OK, Finding
from tagship.system.errors import ReleaseError
from tagship.system.shown import visible


class Signatures(Struct, frozen=True, kw_only=True):
    """What is asked of signatures: the keys that they may be by, none where those are not known; whether releases
    `must` have one, and from which version on, None where it is from the first."""

    keys: tuple[PublicKey, ...] = ()
    must: bool = False
    first: str | None = None

    def must_have(self, version: str | None) -> bool:
        """Whether a release of a version has to be signed."""
        if not self.must or self.first is None or version is None or not is_semver(version):
            return self.must
        return precedence(version) >= precedence(self.first)


NOT_ASKED = Signatures()


class Sealed(Struct, frozen=True, kw_only=True):
    """A published release: its manifest, the SHA-256 of every file that the Hub has of it, by path, but for the Hub's
    own; and what gives the bytes of a small one."""

    manifest: Manifest
    digests: Mapping[str, str]
    read: Callable[[str], bytes]

    def but_for(self, *names: str) -> dict[str, str]:
        return {path: digest for path, digest in self.digests.items() if path not in names}


def look_at_seals(release: Sealed, signatures: Signatures) -> Iterator[Finding]:
    """What there is to say of a release's provenance and of its signature."""
    if PROVENANCE_FILE in release.digests:
        yield _provenance(release)
    if SIGNATURE_FILE in release.digests:
        yield _signature(release, signatures)
    elif signatures.must_have(release.manifest.version):
        told = "not signed, as [sign] asks; one from before there were signatures is told by [sign] first"
        yield Finding(level=DIFFERENT, about="signature", told=told)


def _provenance(release: Sealed) -> Finding:
    try:
        said = read_provenance(release.read(PROVENANCE_FILE), PROVENANCE_FILE)
    except ReleaseError as error:
        return Finding(level=DIFFERENT, about="provenance", told=str(error))
    if other := _differing(said.subjects, release.but_for(PROVENANCE_FILE, SIGNATURE_FILE)):
        return Finding(level=DIFFERENT, about="provenance", told=f"of other files than these: {other}")
    if said.commit != release.manifest.commit:
        told = f"of the commit {said.commit}, and the manifest is of {release.manifest.commit}"
        return Finding(level=DIFFERENT, about="provenance", told=told)
    told = f"of these {len(said.subjects)} files, made of {release.manifest.commit[:10]} by {visible(said.builder)}"
    return Finding(level=OK, about="provenance", told=told)


def _signature(release: Sealed, signatures: Signatures) -> Finding:
    files = release.but_for(SIGNATURE_FILE)
    try:
        content = release.read(SIGNATURE_FILE)
        by = key_id_of(content)
        if other := _differing(claimed(content), files):
            return Finding(level=DIFFERENT, about="signature", told=f"of other files than these: {other}")
        if by is None:
            told = f"of these {len(files)} files, by an identity: model_signing verify sigstore checks it"
            return Finding(level=DIFFERENT if signatures.keys else NOTE, about="signature", told=told)
        named = f"by the key {visible(by)[:64]}"
        if not signatures.keys:
            told = f"of these {len(files)} files, {named}, which is not at hand: [sign] public_key names its file"
            return Finding(level=NOTE, about="signature", told=told)
        key = next((key for key in signatures.keys if key.id == by), None)
        if key is None:
            told = f"{named}, and not by {' or '.join(key.id for key in signatures.keys)}"
            return Finding(level=DIFFERENT, about="signature", told=told)
        verify(content, files, key)
    except NotSigned as error:
        return Finding(level=DIFFERENT, about="signature", told=f"not valid: {error}")
    except ReleaseError as error:
        return Finding(level=DIFFERENT, about="signature", told=str(error))
    return Finding(level=OK, about="signature", told=f"of these {len(files)} files, {named}")


def _differing(said: Mapping[str, str], there: Mapping[str, str]) -> str:
    """The files, a few of them, that are not on both sides with one digest; nothing where all are."""
    names = sorted(name for name in said.keys() | there.keys() if said.get(name) != there.get(name))
    return visible(", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else ""))
