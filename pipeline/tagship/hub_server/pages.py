"""A plain page about a repository, so that the address that a release prints opens in a browser."""

from html import escape
from urllib.parse import quote

from tagship.hub_server.history import Entry


def repo_page(repo_id: str, commit: str, entries: list[Entry], readme: str) -> str:
    """The HTML of the page; nothing from the repository is trusted, all of it is escaped."""
    rows = "\n".join(
        f'<tr><td><a href="/{repo_id}/resolve/{commit}/{quote(entry.path)}">{escape(entry.path)}</a></td>'
        f"<td>{entry.size:,} bytes</td></tr>"
        for entry in entries
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{escape(repo_id)}</title>
<h1>{escape(repo_id)}</h1>
<p>Commit <code>{commit}</code></p>
<table>
{rows}
</table>
<pre>{escape(readme)}</pre>
</html>
"""
