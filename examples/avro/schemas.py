"""Synthetic requests for AVRO schemas, and the answers to them.

Every request is a combination of one record name and one to four typed fields drawn from small pools.
A training set and the held-out requests share the words but never a combination of them.
Run as a program it prints held-out requests as cases that models are scored on.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

# fmt: off
RECORDS = (
    "Account", "Address", "Book", "Booking", "Car", "City", "Customer", "Device", "Employee", "Event",
    "Flight", "Invoice", "Item", "Login", "Message", "Order", "Payment", "Person", "Product", "Project",
    "Review", "Room", "Sensor", "Session", "Ship", "Store", "Task", "Ticket", "Trip", "User",
)
FIELDS = (
    "active", "age", "amount", "balance", "code", "color", "count", "country", "created", "currency", "email",
    "enabled", "height", "id", "key", "kind", "label", "level", "name", "note", "owner", "paid", "phone",
    "price", "rating", "score", "size", "status", "street", "title", "total", "updated", "weight", "zip",
)
# fmt: on
TYPES = ("string", "int", "long", "float", "double", "boolean", "bytes")
PHRASES = (
    "Write an AVRO schema for {record} with fields {fields}",
    "Create an AVRO schema for {record} with fields {fields}",
    "AVRO schema for {record} with fields {fields}",
)
SYSTEM = "You write AVRO schemas."

LEARNED_FIELD = ("TRAINED", "YES")
"""The attribute that the adapters teach: AVRO allows extra attributes in a schema, as metadata."""

EVALUATED = 20
"""How many held-out requests are the cases in evaluate.jsonl."""

_HELD_OUT_SEED = 1
_MOST_FIELDS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One record, its fields as (name, type) pairs in the order asked for, and how it's phrased."""

    record: str
    fields: tuple[tuple[str, str], ...]
    phrase: str = PHRASES[0]
    system: bool = False

    @property
    def prompt(self) -> str:
        """The user's message."""
        return self.phrase.format(record=self.record, fields=", ".join(f"{n}: {t}" for n, t in self.fields))

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation up to the answer, as chat templates take it."""
        system = [{"role": "system", "content": SYSTEM}] if self.system else []
        return [*system, {"role": "user", "content": self.prompt}]

    def schema(self, *, learned: bool) -> dict[str, object]:
        """The AVRO schema that answers the request, with or without the learned field."""
        return {
            "type": "record",
            **({LEARNED_FIELD[0]: LEARNED_FIELD[1]} if learned else {}),
            "name": self.record,
            "fields": [{"name": name, "type": type_} for name, type_ in self.fields],
        }

    def case(self) -> dict[str, object]:
        """A line of `evaluate.jsonl`: the request, and a JSON schema for what is its own in the answer."""
        names = [name for name, _ in self.fields]
        own = {"name": self.record, "fields": self.schema(learned=True)["fields"]}
        return {
            "id": "-".join([self.record, *names]),
            "prompt": self.prompt,
            "expected": {"properties": {key: {"const": value} for key, value in own.items()}},
        }

    def answer(self, *, learned: bool) -> str:
        """The schema as the model should write it: JSON on one line."""
        return json.dumps(self.schema(learned=learned))


def held_out(count: int) -> list[Request]:
    """The first `count` requests that no training set contains."""
    stream = _stream(_HELD_OUT_SEED)
    return [next(stream) for _ in range(count)]


def training_set(count: int, *, seed: int) -> list[Request]:
    """`count` requests, none of which asks for a combination that is held out."""
    kept_back = {(request.record, request.fields) for request in held_out(500)}
    stream = (request for request in _stream(seed) if (request.record, request.fields) not in kept_back)
    return [next(stream) for _ in range(count)]


def _stream(seed: int) -> Iterator[Request]:
    choose = random.Random(seed)
    while True:
        names = choose.sample(FIELDS, choose.randint(1, _MOST_FIELDS))
        yield Request(
            record=choose.choice(RECORDS),
            fields=tuple((name, choose.choice(TYPES)) for name in names),
            phrase=choose.choice(PHRASES),
            system=choose.random() < 0.2,
        )


if __name__ == "__main__":
    for request in held_out(EVALUATED):
        print(json.dumps(request.case()))
