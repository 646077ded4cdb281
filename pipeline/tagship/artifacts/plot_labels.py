"""Where the labels of a plot's points go: beside their point, never on another label or on a point.

All numbers are pixels, y grows downwards.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

Place = tuple[float, float]
# Of a line of text, and of what a point takes to each side.
LINE = 16.0
MARKER = 7.0
# Between a point and a label at its side; the nearest first.
_GAPS = (MARKER + 3, 30.0, 60.0, 100.0, 150.0)
_STEP = 4.0
# A label that is farther from its point is led to it by a line.
_NEAR = 11.0
# What places are worth less than one at the right, in square pixels: at the left, above or below. Beside that, a label
# is rather at the height of its point.
_LEFT, _CENTER = 30.0, 60.0


class Box(Struct, frozen=True, kw_only=True):
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, other: "Box") -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )

    def nearest(self, place: Place) -> Place:
        """The place in the box that is nearest to another one."""
        x, y = place
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)

    def crossed_by(self, start: Place, end: Place) -> bool:
        """Whether a line passes through the inside of the box (Liang and Barsky's way)."""
        enters, leaves = 0.0, 1.0
        for axis, low, high in ((0, self.left, self.right), (1, self.top, self.bottom)):
            begin, way = start[axis], end[axis] - start[axis]
            if way == 0:
                if not low < begin < high:
                    return False
                continue
            one, other = sorted(((low - begin) / way, (high - begin) / way))
            enters, leaves = max(enters, one), min(leaves, other)
        return enters < leaves


class Label(Struct, frozen=True, kw_only=True):
    """`leader` is the line from the point to its label, where that is not beside it."""

    box: Box
    leader: tuple[Place, Place] | None


def place_labels(points: Sequence[Place], widths: Sequence[float], area: Box, *, strict: bool) -> list[Label] | None:
    """A place in `area` for the label of each point, of which `widths` has the widths; None if there is no room.

    With `strict`, no line to a label runs through another label either.
    """
    # Where many points are in one place, labels above and below would shut in the lines to all others.
    for centered in (True, False) if strict else (True,):
        offered = [_candidates(*of_point, area, centered) for of_point in zip(points, widths, strict=True)]
        if labels := _placed(points, offered, strict):
            return labels
    return None


def _placed(points: Sequence[Place], offered: Sequence[Iterator[Label]], strict: bool) -> list[Label] | None:
    """For each point the first of its labels that has room."""
    taken = [Box(left=x - MARKER, top=y - MARKER, right=x + MARKER, bottom=y + MARKER) for x, y in points]
    placed = dict[int, Label]()
    for number in sorted(range(len(points)), key=lambda number: (points[number], number)):
        before = list(placed.values())
        for label in offered[number]:
            if any(label.box.overlaps(box) for box in taken):
                continue
            if strict and any(_tangled(label, other) or _tangled(other, label) for other in before):
                continue
            placed[number] = label
            taken.append(label.box)
            break
        else:
            return None
    return [_led(placed[number], number, points) for number in range(len(points))]


def _led(label: Label, number: int, points: Sequence[Place]) -> Label:
    """The label, with a line to its point if it is as near to another one."""
    away = [_away(label.box, point) for point in points]
    shared = any(other <= away[number] for place, other in enumerate(away) if points[place] != points[number])
    return Label(box=label.box, leader=(points[number], label.box.nearest(points[number]))) if shared else label


def _tangled(one: Label, other: Label) -> bool:
    return one.leader is not None and other.box.crossed_by(*one.leader)


def _candidates(point: Place, width: float, area: Box, centered: bool) -> Iterator[Label]:
    """All places for a label, the best first: near, and rather at the right than at the left, above or below."""
    x, y = point
    sides = [(0.0, x + gap) for gap in _GAPS] + [(_LEFT, x - gap - width) for gap in _GAPS]
    if centered:
        sides.append((_CENTER, x - width / 2))
    rows = range(int((area.top - y) // _STEP), int((area.bottom - y) // _STEP) + 1)
    found = []
    for row in rows:
        top = y + row * _STEP - LINE / 2
        for cost, left in sides:
            box = Box(left=left, top=top, right=left + width, bottom=top + LINE)
            if area.holds(box):
                found.append((_away(box, point) + cost + abs(row * _STEP), top, left, box))
    for *_, box in sorted(found, key=lambda entry: entry[:3]):
        yield Label(box=box, leader=(point, box.nearest(point)) if _away(box, point) > _NEAR**2 else None)


def _away(box: Box, place: Place) -> float:
    """How far a place is from a box, squared."""
    x, y = box.nearest(place)
    return (x - place[0]) ** 2 + (y - place[1]) ** 2
