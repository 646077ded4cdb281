"""`[release]`: what is done as one."""

from dataclasses import dataclass

from tagship.system.toml_reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePolicy:
    """`partial` is whether a release whose units were done apart is published also where some are missing; it then says
    which. By default it is all of them or nothing."""

    partial: bool = False


def read_release(table: Reader) -> ReleasePolicy:
    """The table `[release]`."""
    policy = ReleasePolicy(partial=table.flag("partial", False))
    table.close()
    return policy
