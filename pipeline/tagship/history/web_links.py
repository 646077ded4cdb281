"""Links for people, from the address of a git remote: the repository's page, a commit, a comparison.

The address may carry a password or a token: no part of a user's name or secret reaches a link.
"""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Forge:
    """A kind of web front end for git: which hosts it runs on, and its addresses below a repository's page."""

    hosts: re.Pattern[str]
    commit: str
    compare: str


_FORGES = (
    Forge(hosts=re.compile("gitlab"), commit="/-/commit/{sha}", compare="/-/compare/{old}...{new}"),
    Forge(hosts=re.compile("bitbucket"), commit="/commits/{sha}", compare="/branches/compare/{new}%0D{old}"),
    # SourceHut compares nothing: its log of the new one is the nearest.
    Forge(hosts=re.compile(r"(?:^|\.)sr\.ht$"), commit="/commit/{sha}", compare="/log/{new}"),
    # GitHub, Gitea, Forgejo, Hugging Face.
    Forge(hosts=re.compile(""), commit="/commit/{sha}", compare="/compare/{old}...{new}"),
)
_SSH = ("ssh", "git+ssh", "ssh+git")
# Where a forge takes SSH on the port of HTTPS, under another name than its pages'.
_SSH_HOSTS = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
}
_DEFAULT_PORTS = {"http": 80, "https": 443}
# `[user@]host:path`, also `[user@][host:port]:path`. One letter is a drive of Windows, `name::` a remote helper.
_SCP = re.compile(r"(?:[^@:/\\\[\]]+@)?(?:\[(?P<bracketed>[^\[\]@/]+)\]|(?P<host>[^@:/\\\[\]]{2,})):(?P<path>[^:\\].*)")
_HOST = re.compile(r"\w[\w.-]*|\[[0-9a-f:.]+\]")
_LOOPBACK = re.compile(r"(?:.*\.)?localhost|127(?:\.[0-9]+){3}|\[::1\]")


def web_address(remote_url: str) -> str | None:
    """The web page of the repository behind a remote's URL, without user, password, `.git` and query.

    None for what has no page: files, paths, remote helpers, and addresses that can't be told from a secret.
    The page is at https, but for http on this machine or on a port of its own, which has no TLS.
    """
    remote_url = remote_url.strip()
    if re.search(r"[\s\x00-\x1f\x7f]", remote_url):
        return None
    try:
        return _url_page(urlsplit(remote_url)) if "://" in remote_url else _scp_page(remote_url)
    except ValueError:  # no valid host or port
        return None


def commit_link(web: str, sha: str) -> str:
    """The page of a commit; `web` is from `web_address`."""
    return web + _forge_of(web).commit.format(sha=_quoted(sha))


def compare_link(web: str, old: str, new: str) -> str:
    """The page of what changed from one tag, branch or commit to another; `web` is from `web_address`."""
    return web + _forge_of(web).compare.format(old=_quoted(old), new=_quoted(new))


def _forge_of(web: str) -> Forge:
    host = urlsplit(web).hostname or ""
    return next(forge for forge in _FORGES if forge.hosts.search(host))


def _url_page(url: SplitResult) -> str | None:
    # A raw / ? or # in a password ends the host too early, and the rest of the secret comes after it.
    if not url.hostname or "@" in url.path + url.query + url.fragment:
        return None
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    if url.scheme in (*_SSH, "git"):
        return _page("https", _SSH_HOSTS.get(host, host), url.path)
    if url.scheme not in _DEFAULT_PORTS:
        return None
    own_port = url.port is not None and url.port != _DEFAULT_PORTS[url.scheme]
    plain = url.scheme == "http" and (own_port or _LOOPBACK.fullmatch(host) is not None)
    return _page("http" if plain else "https", host, url.path, f":{url.port}" if own_port else "")


def _scp_page(address: str) -> str | None:
    found = _SCP.fullmatch(address)
    if found is None or "@" in found["path"]:
        return None
    host = (found["host"] or _without_port(found["bracketed"])).lower()
    return _page("https", _SSH_HOSTS.get(host, host), found["path"])


def _without_port(bracketed: str) -> str:
    return f"[{bracketed}]" if bracketed.count(":") > 1 else bracketed.partition(":")[0]


def _page(scheme: str, host: str, path: str, port: str = "") -> str | None:
    path = path.strip("/").removesuffix(".git").strip("/")
    if not path or not _HOST.fullmatch(host):
        return None
    # Parentheses are encoded: they would end a link in Markdown.
    return f"{scheme}://{host}{port}/{_quoted(path, safe='/%~+:,=')}"


def _quoted(text: str, safe: str = "") -> str:
    return quote(text, safe=safe, errors="replace")
