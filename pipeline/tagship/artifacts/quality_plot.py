"""A plot of the quantization types of a release: how large each file is, and how far from the model it was made of.

The SVG stands alone: no script, no font, nothing that is fetched. Its colors follow the reader's, light or dark;
letters have a rim, so that they are legible also on a page that is dark where its reader's system is light.
"""

from collections.abc import Sequence
from math import isfinite
from xml.etree import ElementTree

from msgspec import Struct

from tagship.artifacts.plot_axes import Axis, SizeAxis, log_axis, size_axis
from tagship.artifacts.plot_labels import Box, Label, Place, place_labels
from tagship.artifacts.plot_text import clean, columns_of, shortened
from tagship.system.templating import human_size

# A divergence that is lower is the rounding of float32, and has its place at 0, which no logarithm has.
ZERO = 1e-7

_WIDTH, _HEIGHT = 760, 440
_LEFT, _TOP, _RIGHT, _BOTTOM = 84, 50, 24, 58
# Between the frame and what is at the ends of the axes; for zeros; and what a plot grows by until all labels have room.
_INSET, _ZEROS, _MORE = 14, 36, 80
# How often room is looked for with lines to labels that run through none.
_STRICT = 3
_SIZE = 12
# The columns of a label, and of a title; the width of a column of a label: monospaced fonts have 0.55 to 0.61.
_COLUMNS, _TITLE_COLUMNS, _COLUMN = 24, 76, 0.61 * _SIZE
# What a label has at its sides.
_SPACE = 6
_SANS = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
_MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
_LIGHT = {"text": "#1f2328", "muted": "#59636e", "line": "#d1d9e0", "point": "#0969da", "rim": "#ffffff"}
_DARK = {"text": "#f0f6fc", "muted": "#9198a1", "line": "#3d444d", "point": "#4493f8", "rim": "#0d1117"}


class Point(Struct, frozen=True, kw_only=True):
    """A file: `label` is its quantization type, `size` bytes, `kl` its mean Kullback-Leibler divergence in nats."""

    label: str
    size: int
    kl: float


class _Layout(Struct, frozen=True, kw_only=True):
    height: int
    sizes: SizeAxis
    divergences: Axis | None  # None where all are zero
    zeros: bool

    @property
    def frame(self) -> Box:
        return Box(left=_LEFT, top=_TOP, right=_WIDTH - _RIGHT, bottom=self.height - _BOTTOM)

    def x(self, place: float) -> float:
        return round(self.frame.left + _INSET + place * (self.frame.right - self.frame.left - 2 * _INSET), 1)

    def y(self, kl: float) -> float:
        low = self.frame.bottom - _INSET
        if kl < ZERO or self.divergences is None:
            return low
        low -= _ZEROS if self.zeros else 0
        return round(low - self.divergences.place(kl) * (low - self.frame.top - _INSET), 1)

    def place(self, point: Point) -> Place:
        return self.x(self.sizes.place(point.size)), self.y(point.kl)


def plot(points: Sequence[Point], *, title: str, curve: Sequence[Point] = ()) -> str:
    """An SVG of sizes (x) and divergences (y, logarithmic), with a label at each point; the same points make the same
    bytes. It grows in height where the labels of many points need that. A `curve` is a dashed line of what was
    predicted.

    Raises ValueError where there is no point, or one has no size or divergence.
    """
    if not points or not all(point.size >= 0 and isfinite(point.kl) for point in (*points, *curve)):
        raise ValueError(f"nothing to plot, or no size or no divergence: {points}")
    points = sorted(points, key=lambda point: (point.size, point.kl, point.label))
    shown = [shortened(point.label, _COLUMNS) for point in points]
    layout, labels = _arranged(points, [columns_of(label) * _COLUMN + _SPACE for label in shown], curve)
    root = _root(layout, points, title)
    _draw_axes(root, layout)
    _draw_curve(root, [(layout.place(point), point) for point in sorted(curve, key=lambda point: point.size)])
    _draw_points(root, points, [layout.place(point) for point in points], labels)
    group = _group(root, "text", fill=_LIGHT["text"], **_RIM, **{"font-family": _MONO, "font-size": str(_SIZE)})
    for text, label in zip(shown, labels, strict=True):
        _text(group, text, (label.box.left + _SPACE / 2, label.box.bottom - 4))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


_RIM = {"stroke": _LIGHT["rim"], "stroke-width": "3", "stroke-linejoin": "round", "paint-order": "stroke"}


def _arranged(points: Sequence[Point], widths: Sequence[float], curve: Sequence[Point]) -> tuple[_Layout, list[Label]]:
    drawn = (*points, *curve)
    sizes = size_axis([point.size for point in drawn])
    positive = [point.kl for point in drawn if point.kl >= ZERO]
    divergences = log_axis(positive) if positive else None
    zeros = len(positive) < len(drawn)
    attempt = 0
    while True:
        height = _HEIGHT + attempt * _MORE
        layout = _Layout(height=height, sizes=sizes, divergences=divergences, zeros=zeros)
        places = [layout.place(point) for point in points]
        if labels := place_labels(places, widths, layout.frame, strict=attempt < _STRICT):
            return layout, labels
        attempt += 1


def _root(layout: _Layout, points: Sequence[Point], title: str) -> ElementTree.Element:
    box = {"width": str(_WIDTH), "height": str(layout.height), "viewBox": f"0 0 {_WIDTH} {layout.height}"}
    root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **box, "role": "img"})
    ElementTree.SubElement(root, "title").text = clean(title)
    described = "; ".join(_described(point) for point in points)
    ElementTree.SubElement(root, "desc").text = f"File size and mean KL divergence of each type. {described}"
    ElementTree.SubElement(root, "style").text = _style()
    heading = {"font-family": _SANS, "font-size": "16", "font-weight": "600"}
    group = _group(root, "text", fill=_LIGHT["text"], **_RIM, **heading)
    _text(group, shortened(title, _TITLE_COLUMNS), (_WIDTH / 2, 28), **{"text-anchor": "middle"})
    return root


def _style() -> str:
    dark = _DARK
    rules = (
        f".text{{fill:{dark['text']};stroke:{dark['rim']}}}",
        f".muted{{fill:{dark['muted']};stroke:{dark['rim']}}}",
        f".line{{stroke:{dark['line']}}}",
        f".leader{{stroke:{dark['muted']}}}",
        f".point{{fill:{dark['point']};stroke:{dark['rim']}}}",
    )
    return f"@media (prefers-color-scheme:dark){{{''.join(rules)}}}"


def _draw_axes(root: ElementTree.Element, layout: _Layout) -> None:
    frame = layout.frame
    lines = _group(root, "line", stroke=_LIGHT["line"], fill="none")
    texts = _group(root, "muted", fill=_LIGHT["muted"], **_RIM, **{"font-family": _SANS, "font-size": str(_SIZE)})
    for value, label in layout.sizes.axis.ticks:
        x = layout.x(layout.sizes.axis.place(value))
        _line(lines, (x, frame.top), (x, frame.bottom))
        _text(texts, label, (x, frame.bottom + 18), **{"text-anchor": "middle"})
    rows = [(layout.y(value), label) for value, label in (layout.divergences.ticks if layout.divergences else ())]
    if layout.zeros:
        rows.append((layout.y(0), "0"))
    for y, label in rows:
        _line(lines, (frame.left, y), (frame.right, y))
        _text(texts, label, (frame.left - 8, y + 4), **{"text-anchor": "end"})
    if layout.zeros and layout.divergences:  # the axis is cut between the logarithms and zero
        y = frame.bottom - _INSET - _ZEROS / 2
        _line(lines, (frame.left, y), (frame.right, y), **{"stroke-dasharray": "2 6", "stroke-width": "2"})
    box = {"width": _digits(frame.right - frame.left), "height": _digits(frame.bottom - frame.top)}
    ElementTree.SubElement(lines, "rect", {"x": _digits(frame.left), "y": _digits(frame.top), **box})
    middle = (frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2
    _text(texts, f"File size ({layout.sizes.unit})", (middle[0], layout.height - 16), **{"text-anchor": "middle"})
    turned = {"transform": f"rotate(-90 20 {_digits(middle[1])})", "text-anchor": "middle"}
    _text(texts, "Mean KL divergence (nats, logarithmic)", (20, middle[1]), **turned)


def _draw_curve(root: ElementTree.Element, places: Sequence[tuple[Place, Point]]) -> None:
    if not places:
        return
    group = _group(root, "leader", stroke=_LIGHT["muted"], fill="none", **{"stroke-dasharray": "4 4"})
    through = " ".join(f"{_digits(x)},{_digits(y)}" for (x, y), _ in places)
    line = ElementTree.SubElement(group, "polyline", {"points": through})
    told = "; ".join(f"{human_size(point.size)}, {max(point.kl, 0):.3g} nats" for _, point in places)
    ElementTree.SubElement(line, "title").text = f"{clean(places[0][1].label)}: {told}"


def _draw_points(
    root: ElementTree.Element, points: Sequence[Point], places: Sequence[Place], labels: Sequence[Label]
) -> None:
    leaders = _group(root, "leader", stroke=_LIGHT["muted"])
    for label in labels:
        if label.leader:
            _line(leaders, *label.leader)
    dots = _group(root, "point", fill=_LIGHT["point"], stroke=_LIGHT["rim"], **{"stroke-width": "1.5"})
    for point, (x, y) in zip(points, places, strict=True):
        dot = ElementTree.SubElement(dots, "circle", {"cx": _digits(x), "cy": _digits(y), "r": "5"})
        ElementTree.SubElement(dot, "title").text = _described(point)


def _described(point: Point) -> str:
    return f"{clean(point.label)}: {human_size(point.size)}, {max(point.kl, 0):.3g} nats"


def _group(parent: ElementTree.Element, name: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, "g", {"class": name, **attributes})


def _line(parent: ElementTree.Element, start: Place, end: Place, **attributes: str) -> None:
    ends = {"x1": _digits(start[0]), "y1": _digits(start[1]), "x2": _digits(end[0]), "y2": _digits(end[1])}
    ElementTree.SubElement(parent, "line", {**ends, **attributes})


def _text(parent: ElementTree.Element, text: str, place: Place, **attributes: str) -> None:
    at = {"x": _digits(place[0]), "y": _digits(place[1])}
    ElementTree.SubElement(parent, "text", {**at, **attributes}).text = text


def _digits(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
