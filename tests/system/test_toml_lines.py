"""Which line of a TOML file a key is in."""

import pytest
from tagship.system.toml_lines import line_of

DOCUMENT = '''\
[project]
namespace = "acme"

[naming.bases]
"org/name.v1" = "x"
[formats.lora]
repo = { untagged = "{run}" }
a.b = 1

[card]
description = """
[project]
title = "no key"
"""
title = "key"
[[naming.older.repo]]
tagged = "1"
[[naming.older.repo]]
tagged = "2"
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("project.namespace", 2),
        ('naming.bases."org/name.v1" may only have letters', 5),
        ("formats.lora.repo.untagged", 7),
        ("formats.lora.a.b", 8),
        ("card.title must be a string", 15),
        ("naming.older.repo[1].tagged", 17),
        ("naming.older.repo[2].tagged is empty", 19),
        ("naming.older.repo must be", 16),
        ("formats.lora.missing", 6),
        ("hub.endpoint", 1),
        ("", 1),
    ],
)
def test_line_of(key: str, line: int) -> None:
    """The line of the key with which a message begins, or of the nearest table that is there."""
    assert line_of(DOCUMENT, key) == line
