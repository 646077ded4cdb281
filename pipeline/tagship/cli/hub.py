"""The embedded Hub in the foreground, and cleaned up."""

from pathlib import Path

from msgspec import Struct

from tagship.cli.session import Session
from tagship.release.step import hub_root
from tagship.system.errors import UsageError
from tagship.system.templating import human_size


class Address(Struct, frozen=True, kw_only=True):
    """Where the Hub listens; port 0 takes any free one."""

    host: str
    port: str


def serve_hub(session: Session, address: Address, *, root: str | None, auth: str | None) -> None:
    """The embedded Hub in the foreground, until it is interrupted; `auth` is a file of users and tokens.

    Raises UsageError for a file that is malformed, and for another host than loopback without one.
    """
    from tagship.hub_server.app import serve
    from tagship.hub_server.directory_file import read_directory

    folder = _folder(session, root)
    port = _port(address.port)
    directory = read_directory(Path(auth)) if auth else None

    def announce(url: str) -> None:
        session.console.step("Embedded Hub", f"{url}  ({folder})")
        session.console.note(f"any client finds it with HF_ENDPOINT={url}; Ctrl-C stops it")
        if directory:
            session.console.note(f"users: {len(directory.users)}, tokens: {len(directory.tokens)}, of {auth}")

    serve(
        root=folder,
        namespace=session.config.namespace,
        host=address.host,
        port=port,
        directory=directory,
        announce=announce,
    )


def clean_hub(session: Session, root: str | None) -> None:
    """Free what no commit of the embedded Hub has any longer. Raises UsageError if there is no Hub."""
    from tagship.hub_server.garbage import collect

    folder = _folder(session, root)
    if not (folder / "repos").is_dir():
        raise UsageError(f"there is no embedded Hub in {folder}", remedy="--root names its folder")
    session.console.step("Cleaning up", str(folder))
    freed = collect(folder)
    session.console.note(f"freed {human_size(freed.size)}: {freed.files} files that no commit has any longer")
    if freed.repositories:
        session.console.note(f"took what no branch or tag leads to out of {freed.repositories} repositories")
    if freed.waiting:
        session.console.note(f"kept {freed.waiting} files of uploads that began within a day and may yet be committed")


def _port(given: str) -> int:
    """Raises UsageError for what is no port."""
    if not (given.isascii() and given.isdecimal()) or not int(given[:6]) < 1 << 16:
        raise UsageError(
            f"--port must be a number from 0 to 65535, not {given!r:.40}", remedy="--port 0 takes any free one"
        )
    return int(given)


def _folder(session: Session, root: str | None) -> Path:
    return Path(root).absolute() if root else hub_root(session.config)
