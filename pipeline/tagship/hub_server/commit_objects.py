"""Commits as git keeps them, in a user's name."""

import re
import time

from tagship.hub_server.git import EMAIL, Git

# What git's format of a name cannot hold.
_NO_NAME = re.compile(r"[<>\n\0]")


def write_commit(git: Git, tree: str, parents: list[str], message: str, *, author: str) -> str:
    """The id of a new commit of this tree; no ref leads to it yet."""
    who = f"{_NO_NAME.sub('', author)} <{EMAIL}> {int(time.time())} +0000"
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), f"author {who}", f"committer {who}"]
    text = "\n".join([*lines, "", f"{message.rstrip()}\n"])
    return git.line("hash-object", "-t", "commit", "-w", "--stdin", feed=text.encode(errors="replace"))


def tree_of(git: Git, commit: str) -> str:
    """The tree of a commit."""
    return git.line("rev-parse", "--verify", f"{commit}^{{tree}}")
