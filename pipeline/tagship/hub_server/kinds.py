"""What kinds of repositories there are, and the addresses of each."""

from enum import Enum

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request


class Kind(Enum):
    """Models, and datasets as the same thing under another prefix; the value is what the client calls it."""

    MODEL = "model"
    DATASET = "dataset"

    @property
    def plural(self) -> str:
        """As in `/api/models`."""
        return f"{self.value}s"

    @property
    def prefix(self) -> str:
        """What stands before `namespace/name` in the address of a page or file."""
        return "" if self is Kind.MODEL else f"{self.plural}/"


class _Plural(Convertor[str]):
    regex = "|".join(kind.plural for kind in Kind)

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _Prefix(_Plural):
    regex = "|".join(kind.prefix for kind in Kind if kind.prefix) + "|"


register_url_convertor("plural", _Plural())
register_url_convertor("prefix", _Prefix())

# Of a repository in the API, and of its pages and files.
API = "/api/{plural:plural}/{namespace}/{name}"
WEB = "/{prefix:prefix}{namespace}/{name}"


def kind_of(request: Request) -> Kind:
    """Of which kind the repository in the request's path is."""
    params = request.path_params
    found = (kind for kind in Kind if params.get("plural") == kind.plural or params.get("prefix") == kind.prefix)
    return next(found, Kind.MODEL)
