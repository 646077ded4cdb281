"""The embedded Hub in the foreground, and cleaned up."""

from pathlib import Path

from tagship.cli.session import Session
from tagship.release.step import hub_root
from tagship.system.errors import UsageError
from tagship.system.templating import human_size


def serve_hub(session: Session, port: int, root: str | None) -> None:
    """The embedded Hub in the foreground, until it is interrupted."""
    from tagship.hub_server.app import serve

    folder = _folder(session, root)

    def announce(url: str) -> None:
        session.console.step("Embedded Hub", f"{url}  ({folder})")
        session.console.note(f"any client finds it with HF_ENDPOINT={url}; Ctrl-C stops it")

    serve(root=folder, namespace=session.config.namespace, port=port, announce=announce)


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


def _folder(session: Session, root: str | None) -> Path:
    return Path(root).absolute() if root else hub_root(session.config)
