"""Markdown from strangers as HTML that can be shown.

markdown-it-py, which rich brings anyway, has no HTML in it of its own: with `html` off, tags of the text are
shown as text, and links other than http, https, mailto and relative ones stay text. So there is nothing left to
sanitize, which is why no sanitizer is needed. Pages are sent with a Content-Security-Policy on top.
"""

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

# A parser that is given a megabyte of brackets takes seconds.
_LONGEST = 200_000

_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:|/|#", re.IGNORECASE)


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    return MarkdownIt("js-default", {"html": False, "linkify": False, "typographer": False, "maxNesting": 20})


def rendered(text: str, *, base: str = "") -> str:
    """HTML of the text, of its beginning if it is very long; `base` is what relative links are relative to."""
    parser = _parser()
    tokens = parser.parse(text[:_LONGEST])
    if base:
        for token in tokens:
            for child in token.children or []:
                for attribute in ("href", "src"):
                    target = child.attrs.get(attribute)
                    if isinstance(target, str) and not _ABSOLUTE.match(target):
                        child.attrs[attribute] = f"{base}/{target}"
    return str(parser.renderer.render(tokens, parser.options, {}))
