"""Secrets are looked for where their marks are; what is found is what looking everywhere finds."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tagship.system.secrets import FORMATS, is_placeholder, secrets_in

NUMBER = b"0123456789abcdefghij"
BETWEEN = [b"", b" ", b"\n", b'"', b"_", b"-", b".", b"/", b":", b"@", b"x", b"sk-", b"gh", b"https://", b"://", NUMBER]
WRITTEN = st.sampled_from([each.pattern.encode() for each in FORMATS.values()])
SECRETS = WRITTEN.flatmap(lambda pattern: st.from_regex(pattern, fullmatch=True))


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.one_of(st.sampled_from(BETWEEN), SECRETS), max_size=8).map(
        lambda parts: b"".join(parts).replace(b"\0", b"n")
    )
)
@example(b"a://b://user:" + NUMBER + b"@host")
@example(b"xrk_live_" + NUMBER + b"-rk_live_" + NUMBER)
def test_as_if_it_was_looked_for_everywhere(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever stands before, between and behind secrets of all kinds."""
    path = tmp_path_factory.getbasetemp() / "text"
    path.write_bytes(content)
    everywhere = [
        (match.start(), what)
        for what, each in FORMATS.items()
        for match in re.finditer(each.pattern.encode(), content)
        if not is_placeholder(match[0])
    ]
    assert list(secrets_in(path)) == [(content.count(b"\n", 0, at) + 1, what) for at, what in sorted(everywhere)]
