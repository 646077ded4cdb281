"""What came of looking at one thing of a published release."""

from dataclasses import dataclass

OK, NOTE, DIFFERENT = "ok", "note", "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `level` is `ok`, `note` for what is only to be known, or `different` for what is
    not as the manifest claims; `about` is a file, or what of the release this is about."""

    level: str
    about: str
    told: str
