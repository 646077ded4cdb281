"""The plot of sizes and divergences: what an SVG shows, to whom, and of which numbers."""

import random
import re
from itertools import combinations, pairwise
from math import log
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tagship.artifacts.quality_plot import Point, plot

SVG = "{http://www.w3.org/2000/svg}"
SIZES = {"q8_0": 8.54, "q6_k": 6.6, "q5_k_m": 5.73, "q5_k_s": 5.6, "q4_k_m": 4.92, "q4_k_s": 4.69, "q2_k": 3.18}
DIVERGENCES = {
    **{"q8_0": 0.00026, "q6_k": 0.0012, "q5_k_m": 0.0047, "q5_k_s": 0.0051, "q4_k_m": 0.0168, "q4_k_s": 0.0201},
    "q2_k": 0.233,
}
RELEASE = [Point(label=name, size=int(size * 1e9), kl=DIVERGENCES[name]) for name, size in SIZES.items()]
Box = tuple[float, float, float, float]


def at(label: str, size: float, kl: float) -> Point:
    return Point(label=label, size=int(size), kl=kl)


class Drawing:
    """What an SVG holds, as a reader sees it."""

    def __init__(self, points: list[Point], title: str = "A model") -> None:
        self.source = plot(points, title=title)
        self.root = ElementTree.fromstring(self.source)
        self.groups: dict[str, list[ElementTree.Element]] = {}
        for group in self.root.findall(f"{SVG}g"):
            self.groups.setdefault(group.attrib["class"], []).append(group)

    @property
    def labels(self) -> list[ElementTree.Element]:
        return list(self.groups["text"][1])

    @property
    def dots(self) -> dict[str, tuple[float, float]]:
        """The places of points, by what is said of them up to the colon."""
        return {
            (dot.findtext(f"{SVG}title") or "").partition(": ")[0]: (float(dot.attrib["cx"]), float(dot.attrib["cy"]))
            for dot in self.groups["point"][0]
        }

    @property
    def frame(self) -> Box:
        (rect,) = self.root.iter(f"{SVG}rect")
        x, y, width, height = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        return x, y, x + width, y + height

    def ticks(self, axis: str) -> dict[str, float]:
        """Where the labels of an axis are, on its own scale of pixels."""
        anchor, place = {"x": ("middle", "x"), "y": ("end", "y")}[axis]
        found = [text for text in self.groups["muted"][0] if text.attrib["text-anchor"] == anchor]
        return {
            text.text or "": float(text.attrib[place]) - (4 if axis == "y" else 0)
            for text in found
            if "divergence" not in (text.text or "") and "size" not in (text.text or "")
        }

    def check_labels(self) -> None:
        """Each label has room of its own, within the frame: none is on another, nor on a point."""
        boxes = [box_of(label) for label in self.labels]
        dots = [(x - 5, y - 5, x + 5, y + 5) for x, y in self.dots.values()]
        assert not any(overlap(one, other) for one, other in combinations(boxes, 2))
        assert not any(overlap(box, dot) for box in boxes for dot in dots)
        left, top, right, bottom = self.frame
        assert all(left <= box[0] and top <= box[1] and box[2] <= right and box[3] <= bottom for box in boxes)


def box_of(label: ElementTree.Element) -> Box:
    """What a line in a monospaced font of 12 pixels takes: letters are 0.6 em wide, up to 10 high and 3 deep."""
    x, y = float(label.attrib["x"]), float(label.attrib["y"])
    return x, y - 10, x + 0.6 * 12 * len(label.text or ""), y + 3


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_points_are_where_their_numbers_are() -> None:
    """Sizes are on a linear scale and divergences on a logarithmic one, and ticks are on the same scales."""
    drawing = Drawing(RELEASE)
    x, y = drawing.ticks("x"), drawing.ticks("y")
    assert list(x) == ["3", "4", "5", "6", "7", "8", "9"]
    assert list(y) == [*("0.0002", "0.0005", "0.001", "0.002", "0.005"), *("0.01", "0.02", "0.05", "0.1", "0.2", "0.5")]
    assert "File size (GB)" in drawing.source
    for point in RELEASE:
        across, down = drawing.dots[point.label]
        assert across == pytest.approx(x["3"] + (x["9"] - x["3"]) * (point.size / 1e9 - 3) / 6, abs=0.2)
        share = log(point.kl / 0.001) / log(100)
        assert down == pytest.approx(y["0.001"] + (y["0.1"] - y["0.001"]) * share, abs=0.2)


def test_labels_and_description() -> None:
    """Each point has its label, and who cannot see the plot is told what it shows."""
    drawing = Drawing(RELEASE, "Phi 3")
    assert sorted(label.text or "" for label in drawing.labels) == sorted(SIZES)
    assert drawing.root.findtext(f"{SVG}title") == "Phi 3"
    assert "q5_k_m: 5.7 GB, 0.0047 nats" in (drawing.root.findtext(f"{SVG}desc") or "")
    assert drawing.root.attrib["role"] == "img"


def test_same_points_make_the_same_bytes() -> None:
    """The order in which points are given changes nothing."""
    points = [*RELEASE, *(at(name, 16.07e9, kl) for name, kl in (("f16", 0), ("bf16", 0), ("other", 0.01)))]
    drawn = {plot(random.Random(seed).sample(points, len(points)), title="A model") for seed in range(10)}
    assert len(drawn) == 1


LINE = [at(f"UD-IQ{number}_K_XL", 4.9e9 + number * 1e7, 0.02 + number * 0.0004) for number in range(20)]
CROWDS = {
    "a release": RELEASE,
    "one": [at("q4_k_m", 98.5e6, 0.025)],
    "nothing": [at("empty", 0, 0)],
    "all equal": [at(f"type_{number:02}", 4.9e9, 0.02) for number in range(20)],
    "all equal and zero": [at(f"type_{number:02}", 4.9e9, 0) for number in range(20)],
    "a dense line": LINE,
    "equal sizes": [at(f"type_{number:02}", 4.9e9, 0.01 * 1.05**number) for number in range(20)],
    "equal divergences": [at(f"type_{number:02}", 4e9 + number * 4e7, 0.01) for number in range(20)],
    "long labels": [at(f"{number} {'long ' * 12}", 4.9e9, 0.02) for number in range(20)],
    "far apart": [at(f"t{number}", 1000 * 2**number, 10.0 ** (-6 + number * 0.4)) for number in range(18)],
    "more than a release has": [at(f"type_{number:02}", 4.9e9 + number % 7, 0.02) for number in range(45)],
}


@pytest.mark.parametrize("name", CROWDS)
def test_labels_do_not_overlap(name: str) -> None:
    """However many points are in one place, each label can be read."""
    drawing = Drawing(CROWDS[name])
    assert len(drawing.labels) == len(CROWDS[name])
    drawing.check_labels()


@pytest.mark.parametrize("name", ["all equal", "a dense line"])
def test_lines_lead_to_labels(name: str) -> None:
    """A label that is not beside its point has a line to it, and that line runs through no other label."""
    drawing = Drawing(CROWDS[name])
    boxes = [box_of(label) for label in drawing.labels]
    lines = [tuple(float(line.attrib[end]) for end in ("x1", "y1", "x2", "y2")) for line in drawing.groups["leader"][0]]
    assert len(lines) >= 10
    for x1, y1, x2, y2 in lines:
        along = [(x1 + (x2 - x1) * step / 200, y1 + (y2 - y1) * step / 200) for step in range(200)]
        assert not any(overlap(box, (x, y, x, y)) for box in boxes for x, y in along)


def test_label_that_is_near_another_point() -> None:
    """A label has a line to its point also where it is beside it, if it is as near to another one."""
    drawing = Drawing(RELEASE)
    starts = {(float(line.attrib["x1"]), float(line.attrib["y1"])) for line in drawing.groups["leader"][0]}
    assert starts == {drawing.dots["q5_k_s"]}


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Point,
            label=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=30),
            size=st.integers(0, 10**12) | st.integers(4 * 10**9, 5 * 10**9),
            kl=st.just(0.0) | st.floats(-1e-6, 20) | st.floats(0.01, 0.03),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_points(points: list[Point]) -> None:
    """Whatever the numbers, points and ticks are within the frame, ticks have room and labels are apart."""
    drawing = Drawing(points)
    drawing.check_labels()
    left, top, right, bottom = drawing.frame
    assert all(left <= x <= right and top <= y <= bottom for x, y in drawing.dots.values())
    across, down = sorted(drawing.ticks("x").values()), sorted(drawing.ticks("y").values())
    assert len(across) >= 2
    assert down
    assert left <= across[0] and across[-1] <= right and top <= down[0] and down[-1] <= bottom
    assert all(other - one >= 50 for one, other in pairwise(across))
    assert all(other - one >= 13 for one, other in pairwise(down))


def test_zero_has_a_place() -> None:
    """What is equal to its model, or differs by float32's rounding, is below all that has a logarithm, at 0."""
    points = [*RELEASE, at("f16", 16.07e9, 0), at("bf16", 16.07e9, 3e-8), at("f32", 32.1e9, -1e-9)]
    drawing = Drawing(points)
    zero = drawing.ticks("y")["0"]
    assert {drawing.dots[name][1] for name in ("f16", "bf16", "f32")} == {zero}
    assert zero > max(place for label, place in drawing.ticks("y").items() if label != "0") + 20
    assert zero > drawing.dots["q8_0"][1] + 20
    assert "f32: 32.1 GB, 0 nats" in drawing.source


def test_only_zeros() -> None:
    """Where nothing differs, zero is the only tick."""
    drawing = Drawing([at("f16", 2e9, 0), at("f32", 4e9, 0)])
    assert list(drawing.ticks("y")) == ["0"]
    assert {place for _, place in drawing.dots.values()} == {drawing.ticks("y")["0"]}


@pytest.mark.parametrize(
    ("sizes", "unit", "ticks"),
    [
        ((98.5e6,), "MB", ["92", "94", "96", "98", "100", "102", "104"]),
        ((999.6e6, 1.0e9), "GB", ["0.94", "0.96", "0.98", "1.00", "1.02", "1.04", "1.06"]),
        ((88e6, 145e6), "MB", ["80", "90", "100", "110", "120", "130", "140", "150"]),
        ((61_000, 240_000), "kB", ["50", "100", "150", "200", "250"]),
        ((7,), "B", ["6.6", "6.8", "7.0", "7.2", "7.4"]),
        ((1e6, 750e9), "GB", ["0", "200", "400", "600", "800"]),
    ],
)
def test_sizes(sizes: tuple[float, ...], unit: str, ticks: list[str]) -> None:
    """Sizes are in the unit of the largest, in powers of ten as the Hub has them, and equal ones have an axis, too."""
    drawing = Drawing([at(f"type_{place}", size, 0.01) for place, size in enumerate(sizes)])
    assert f"File size ({unit})" in drawing.source
    assert list(drawing.ticks("x")) == ticks


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((0.02,), ["0.01", "0.02", "0.05"]),
        ((0.025,), ["0.02", "0.05"]),
        ((0.00001, 0.00003), ["10⁻⁵", "2·10⁻⁵", "5·10⁻⁵"]),
        ((0.000001, 3), ["10⁻⁶", "10⁻⁵", "0.0001", "0.001", "0.01", "0.1", "1"]),
        ((0.7, 13), ["0.5", "1", "2", "5", "10", "20"]),
    ],
)
def test_divergences(values: tuple[float, ...], ticks: list[str]) -> None:
    """Ticks are 1, 2 and 5 times powers of ten, or these alone where the range is wide."""
    drawing = Drawing([at(f"type_{place}", 1e9, value) for place, value in enumerate(values)])
    assert list(drawing.ticks("y")) == ticks


def test_names_are_text() -> None:
    """Whatever a name holds is text in the SVG, and what XML cannot hold, or turns the direction of writing, is not."""
    title = 'A </text><script>alert("1")</script> & ]]> \x00\x1b\ud800\u202e\n two'
    drawing = Drawing([at("<b onload='x'>&amp;", 1e9, 0.01), at("型" * 40, 2e9, 0.02)], title)
    assert drawing.root.findtext(f"{SVG}title") == 'A </text><script>alert("1")</script> & ]]> ��� two'
    first, other = sorted(label.text or "" for label in drawing.labels)
    assert first == "<b onload='x'>&amp;"
    assert re.fullmatch("型{11}…", other)
    names = {element.tag.removeprefix(SVG) for element in drawing.root.iter()}
    assert names == {"svg", "title", "desc", "style", "g", "text", "line", "rect", "circle"}
    attributes = {name for element in drawing.root.iter() for name in element.attrib}
    assert not [name for name in attributes if name.startswith("on") or "href" in name]
    assert "url(" not in drawing.source


def test_long_title_ends_within_the_picture() -> None:
    """A title that is too long is cut where all can see it, and whole where programs read it."""
    title = "word " * 60
    drawing = Drawing(RELEASE, title)
    (heading,) = drawing.groups["text"][0]
    assert (heading.text or "").endswith("word…")
    assert len(heading.text or "") <= 76
    assert drawing.root.findtext(f"{SVG}title") == title.strip()


def luminance(color: str) -> float:
    """Relative luminance (WCAG 2.1)."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_light_and_dark() -> None:
    """The page shows through, and letters and points stand out from a light one and a dark one (WCAG's 4.5 to 1);
    letters stand out from their rim, which is drawn below them, whatever is behind that."""
    drawing = Drawing(RELEASE)
    assert [rect.get("fill") for rect in drawing.root.iter(f"{SVG}rect")] == [None]
    assert {group.attrib["fill"] for group in drawing.groups["line"]} == {"none"}
    style = drawing.root.findtext(f"{SVG}style") or ""
    assert style.startswith("@media (prefers-color-scheme:dark){")
    dark = dict(re.findall(r"\.(\w+)\{fill:(#\w{6})", style))
    for name in ("text", "muted", "point"):
        for group in drawing.groups[name]:
            assert contrast(group.attrib["fill"], "#ffffff") >= 4.5
            assert contrast(group.attrib["fill"], group.attrib["stroke"]) >= 4.5
        for page in ("#000000", "#0b0f19", "#0d1117", "#1f2328"):
            assert contrast(dark[name], page) >= 4.5
    assert all(group.attrib["paint-order"] == "stroke" for group in drawing.groups["text"] + drawing.groups["muted"])


@pytest.mark.parametrize("points", [[], [at("a", -1, 0.1)], [at("a", 1, float("nan"))], [at("a", 1, float("inf"))]])
def test_nothing_to_plot(points: list[Point]) -> None:
    """No points, and numbers that are none, are refused."""
    with pytest.raises(ValueError, match="nothing to plot, or no size or no divergence"):
        plot(points, title="A model")
