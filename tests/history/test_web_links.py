"""Links from a git remote's address: the repository's page, a commit, a comparison; never a secret."""

import subprocess
import sys

import pytest
from tagship.history import web_links
from tagship.history.web_links import commit_link, compare_link, web_address

GITHUB = "https://github.com/acme/model"


@pytest.mark.parametrize(
    ("remote", "web"),
    [
        ("https://github.com/acme/model.git", GITHUB),
        ("https://github.com/acme/model", GITHUB),
        ("https://github.com/acme/model/", GITHUB),
        ("https://github.com/acme/model.git/", GITHUB),
        ("https://github.com/acme/model/.git", GITHUB),
        ("HTTPS://GitHub.com/acme/model.git", GITHUB),
        ("https://github.com:443/acme/model.git", GITHUB),
        ("http://github.com/acme/model.git", GITHUB),
        ("http://github.com:80/acme/model.git", GITHUB),
        ("https://ada:s3cret@github.com/acme/model.git", GITHUB),
        ("https://ghp_s3cret@github.com/acme/model", GITHUB),
        ("https://ada:s3@cret@github.com/acme/model", GITHUB),
        ("https://github.com/acme/model.git?private_token=s3cret#s3cret", GITHUB),
        ("ssh://git@github.com/acme/model.git", GITHUB),
        ("ssh://git@github.com:2222/acme/model.git", GITHUB),
        ("git+ssh://git@github.com/acme/model.git", GITHUB),
        ("ssh://git@ssh.github.com:443/acme/model.git", GITHUB),
        ("git@ssh.github.com:acme/model.git", GITHUB),
        ("git@github.com:acme/model.git", GITHUB),
        ("git@GitHub.com:/acme/model.git/", GITHUB),
        ("github.com:acme/model", GITHUB),
        ("git@[github.com:2222]:acme/model.git", GITHUB),
        ("git://github.com:9418/acme/model.git", GITHUB),
        (" git@github.com:acme/model.git\n", GITHUB),
        ("git@hf.co:acme/model", "https://hf.co/acme/model"),
        ("git@git.sr.ht:~ada/model", "https://git.sr.ht/~ada/model"),
        ("https://gitlab.com/acme/group/model.git", "https://gitlab.com/acme/group/model"),
        ("https://git.example.org:8443/acme/model.git", "https://git.example.org:8443/acme/model"),
        ("http://git.example.org:3000/acme/model.git", "http://git.example.org:3000/acme/model"),
        ("http://127.0.0.1:8000/x.git", "http://127.0.0.1:8000/x"),
        ("http://localhost/x.git", "http://localhost/x"),
        ("http://[::1]:8000/x.git", "http://[::1]:8000/x"),
        ("ssh://git@[2001:db8::1]:2222/acme/model.git", "https://[2001:db8::1]/acme/model"),
        ("git@[2001:db8::1]:acme/model.git", "https://[2001:db8::1]/acme/model"),
        ("http://127.0.0.1.example.org/x.git", "https://127.0.0.1.example.org/x"),
        ("https://github.com/acme/model.github.io", "https://github.com/acme/model.github.io"),
        ("https://github.com/acme/model(1)%20x", "https://github.com/acme/model%281%29%20x"),
        ("git@example.org:acme/modèle.git", "https://example.org/acme/mod%C3%A8le"),
    ],
)
def test_web_address(remote: str, web: str) -> None:
    """Each form of address that git takes leads to the page at https, without user, secret, port of SSH and `.git`."""
    assert web_address(remote) == web


@pytest.mark.parametrize(
    "remote",
    [
        "",
        "file:///srv/git/model.git",
        "file://localhost/srv/git/model.git",
        "/srv/git/model.git",
        "../model",
        "./a:b",
        "model.git",
        "C:\\git\\model",
        "C:/git/model",
        "c:model",
        "\\\\server\\git\\model",
        "host:\\git\\model",
        "ext::ssh -i key host",
        "codecommit::eu-west-1://model",
        "ftp://example.org/model.git",
        "https://github.com",
        "https://github.com/.git",
        "https:///acme/model.git",
        "https://exa mple.org/acme/model",
        "https://exam<ple>.org/acme/model",
        "https://example.org:port/acme/model",
        "https://[::1/acme/model",
        "git@github.com:",
        "https://github.com/acme/\nmodel",
    ],
)
def test_no_web_address(remote: str) -> None:
    """Files, local paths, remote helpers and what is no address have no page."""
    assert web_address(remote) is None


@pytest.mark.parametrize(
    "remote",
    [
        "https://ada:s3/cret@github.com/acme/model",
        "https://ada:12/s3cret@github.com/acme/model",
        "https://s3cret/x@github.com/acme/model",
        "https://ada:1/s3#cret@github.com/acme/model",
        "https://ada:1/s3?cret@github.com/acme/model",
        "ada:s3cret@github.com:acme/model",
    ],
)
def test_secret_that_breaks_the_address(remote: str) -> None:
    """A secret with a raw separator is not taken for a host or a path."""
    assert web_address(remote) is None


@pytest.mark.parametrize(
    ("web", "commit", "compare"),
    [
        (GITHUB, "/commit/abc", "/compare/v1...v2"),
        ("https://huggingface.co/acme/model", "/commit/abc", "/compare/v1...v2"),
        ("https://codeberg.org/acme/gitlab", "/commit/abc", "/compare/v1...v2"),
        ("http://127.0.0.1:8000/x", "/commit/abc", "/compare/v1...v2"),
        ("https://gitlab.com/acme/model", "/-/commit/abc", "/-/compare/v1...v2"),
        ("https://gitlab.example.org/acme/model", "/-/commit/abc", "/-/compare/v1...v2"),
        ("https://bitbucket.org/acme/model", "/commits/abc", "/branches/compare/v2%0Dv1"),
        ("https://git.sr.ht/~ada/model", "/commit/abc", "/log/v2"),
        ("https://notsr.ht/acme/model", "/commit/abc", "/compare/v1...v2"),
    ],
)
def test_links(web: str, commit: str, compare: str) -> None:
    """The host's name tells the forge, and the forge the form of its links."""
    assert commit_link(web, "abc") == web + commit
    assert compare_link(web, "v1", "v2") == web + compare


def test_tags_are_encoded() -> None:
    """A tag with characters that mean something in a URL is percent-encoded; braces are only text."""
    assert compare_link(GITHUB, "rel/v1", "v2.0.0+a#b") == f"{GITHUB}/compare/rel%2Fv1...v2.0.0%2Ba%23b"
    assert compare_link("https://git.sr.ht/~a/b", "v1", "{old}é") == "https://git.sr.ht/~a/b/log/%7Bold%7D%C3%A9"


def test_loaded_alone() -> None:
    """The build loads the module before anything is installed: it imports nothing but the standard library."""
    load = f"import runpy; runpy.run_path({web_links.__file__!r})"
    subprocess.run([sys.executable, "-I", "-S", "-c", load], check=True)
