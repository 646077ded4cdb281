"""The embedded Hub in the foreground."""

from pathlib import Path

from tagship.cli.session import Session
from tagship.release.step import hub_root


def serve_hub(session: Session, port: int, root: str | None) -> None:
    """The embedded Hub in the foreground, until it is interrupted."""
    from tagship.hub_server.app import serve

    folder = Path(root).absolute() if root else hub_root(session.config)

    def announce(url: str) -> None:
        session.console.step("Embedded Hub", f"{url}  ({folder})")
        session.console.note(f"any client finds it with HF_ENDPOINT={url}; Ctrl-C stops it")

    serve(root=folder, namespace=session.config.namespace, port=port, announce=announce)
