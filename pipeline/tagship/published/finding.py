"""What came of looking at one thing of a published release."""

from msgspec import Struct

OK, NOTE, DIFFERENT = "ok", "note", "different"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `level` is `ok`, `note` for what is only to be known, or `different` for what is
    not as the manifest claims; `about` is a file, or what of the release this is about."""

    level: str
    about: str
    told: str
