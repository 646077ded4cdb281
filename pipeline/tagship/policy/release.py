"""`[release]`: what is done as one."""

from msgspec import Struct

from tagship.system.toml_reader import Reader


class ReleasePolicy(Struct, frozen=True, kw_only=True):
    """`partial` is whether a release whose units were done apart is published also where some are missing; it then says
    which. By default it is all of them or nothing."""

    partial: bool = False


def read_release(table: Reader) -> ReleasePolicy:
    """The table `[release]`."""
    policy = ReleasePolicy(partial=table.flag("partial", False))
    table.close()
    return policy
