"""`[fleet]`: where the units of a release are done."""

from msgspec import Struct

from tagship.system.toml_reader import Reader

HERE = "here"


class FleetPolicy(Struct, frozen=True, kw_only=True):
    """`engine` is what does the units: `here`, or one of tagship.fleet's. `cores` is how many processor cores a unit is
    given; None gives it a machine to itself.

    Of jobs of Hugging Face: the container's `image`, the machine's `flavor`, the most time (`6h`), and the shell line
    that installs tagship there, where that is not the one of this copy.
    """

    engine: str = HERE
    cores: int | None = None
    image: str = "python:3.12"
    flavor: str = "cpu-upgrade"
    timeout: str = "6h"
    install: str | None = None


def read_fleet(table: Reader) -> FleetPolicy:
    """The table `[fleet]`. Which engines there are is told where one is opened: addresses are some, too."""
    usual, has_cores = FleetPolicy(), table.has("cores")
    cores = table.count("cores", 1)
    policy = FleetPolicy(
        engine=table.text("engine", usual.engine),
        cores=cores if has_cores else None,
        image=table.text("image", usual.image),
        flavor=table.text("flavor", usual.flavor),
        timeout=table.parsed("timeout", usual.timeout, _time),
        install=table.optional_text("install"),
    )
    table.close()
    return policy


def _time(text: str) -> str:
    number, unit = text[:-1], text[-1:]
    if unit not in ("s", "m", "h", "d") or not number.isdecimal() or int(number) < 1:
        raise ValueError(f"must be a time such as 90m or 6h, not {text!r}")
    return text
