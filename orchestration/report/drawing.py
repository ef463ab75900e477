"""How a figure becomes inline SVG: palette, sizes, axes with margins in inches, strokes and bars as single paths.

Colours become CSS variables of the page, so that ink and lines follow light and dark. What is drawn belongs in
figures/.
"""

import io
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter, MaxNLocator

from orchestration.report import wording as say

# Stand-ins that matplotlib can draw with; the page's style sheet says what they are in light and in dark.
INK, SOFT, RULE, PAPER = "#101112", "#505152", "#c0c1c2", "#fdfcfb"
BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = (
    "#0072b2",
    "#56b4e9",
    "#009e73",
    "#e69f00",
    "#d55e00",
    "#cc79a7",
)  # Okabe-Ito
VARIABLES = {
    INK: "ink",
    SOFT: "soft",
    RULE: "rule",
    PAPER: "paper",
    BLUE: "blue",
    SKY: "sky",
    GREEN: "green",
    ORANGE: "orange",
    VERMILION: "vermilion",
    PURPLE: "purple",
}

_STYLE = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the layout is measured alike everywhere
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.unicode_minus": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "figure.facecolor": "none",
    "lines.linewidth": 1.5,
}
SIZES = {"wide": (7.8, 4.2), "narrow": (3.7, 3.6)}  # inches


@dataclass(frozen=True)
class Size:
    """One of the two drawings: inches, and how much fits."""

    name: str
    width: float
    height: float

    @property
    def is_wide(self) -> bool:
        return self.name == "wide"


def svg(identity: str, size: Size, title: str, alt: str, paint: Callable[[Canvas, Size], None]) -> str:
    """An inline <svg role="img"> whose ids are unique on the page and whose bytes depend on nothing but its input."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own matplotlibrc must not change the report
        matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": identity})
        canvas = Canvas(figsize=(size.width, size.height))
        FigureCanvasSVG(canvas)
        paint(canvas, size)
        stream = io.StringIO()
        canvas.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # a hundredth of a point is finer than any screen or press
    text = re.sub(r' (?:d|x|y)="[^"]+"', lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]), text)
    text = re.sub(
        r"<svg[^>]*>",
        f'<svg viewBox="0 0 {size.width * 72:g} {size.height * 72:g}" role="img" aria-labelledby='
        f'"{identity}-t {identity}-d"><title id="{identity}-t">{escape(title)}</title><desc id="{identity}-d">'
        f"{escape(alt)}</desc>",
        text,
        count=1,
    )
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)  # it would style the whole page
    text = re.sub(r" font-family: [^;\"]*;?", "", text)  # the page's
    text = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", text)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    own = {f"{identity}-t", f"{identity}-d"}
    text = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used | own else "", text)
    text = re.sub(
        r"#[0-9a-f]{6}\b", lambda match: f"var(--{VARIABLES[match[0]]})" if match[0] in VARIABLES else match[0], text
    )
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def axes(canvas: Canvas, size: Size, *, left: float, right: float, top: float, bottom: float) -> Axes:
    """Axes with margins in inches."""
    return canvas.add_axes(
        (left / size.width, bottom / size.height, 1 - (left + right) / size.width, 1 - (top + bottom) / size.height)
    )


def depth(axes: Axes, size: Size, inches: float) -> float:
    """A distance in inches as a fraction of the axes' height."""
    return inches / (axes.get_position().height * size.height)


def under_axis(
    axes: Axes, size: Size, heading: str, at: float, rows: Iterable[tuple[float, list[tuple[float, int]], str, str]]
) -> None:
    """Lines of counts below the axis, each exactly under its x, after a stroke like the curve they belong to."""
    width = axes.get_position().width * size.width
    axes.annotate(
        heading,
        (-0.66 / width, depth(axes, size, at)),
        xycoords="axes fraction",
        va="center",
        fontsize=7.5,
        color=SOFT,
    )
    for inches, counts, colour, dash in rows:
        y = depth(axes, size, inches)
        axes.plot(
            [-0.66 / width, -0.36 / width],
            [y, y],
            transform=axes.transAxes,
            color=colour,
            linestyle=dash,
            clip_on=False,
        )
        for x, count in counts:
            axes.text(
                x, y, say.count(count), transform=axes.get_xaxis_transform(), ha="center", va="center", fontsize=7.5
            )


def bars(
    axes: Axes,
    bars: list[tuple[int, float]],
    colour: str,
    *,
    horizontal: bool = False,
    alpha: float = 1,
    reach: tuple[float, float] = (-0.41, 0.41),
) -> None:
    """Bars from 0, a single path for all of them: thousands of elements would make the page heavy.

    Args:
        bars: place and length of each.
        reach: from where to where a bar is wide, around its place.
    """
    if not bars:
        return
    points, codes = [], []
    for place, length in bars:
        near, far = place + reach[0], place + reach[1]
        corners = [(near, 0), (near, length), (far, length), (far, 0), (near, 0)]
        points += [(y, x) for x, y in corners] if horizontal else corners
        codes += [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]
    axes.add_patch(PathPatch(Outline(points, codes), facecolor=colour, linewidth=0, alpha=alpha))
    axes.autoscale_view()


def dots(axes: Axes, points: list[tuple[float, float]], **style) -> None:
    """Markers without a line."""
    axes.plot([x for x, _ in points], [y for _, y in points], linestyle="none", **style)


def segments(axes: Axes, segments: list[tuple[float, float, float, float]], **style) -> None:
    """Separate strokes as one path."""
    xs = [x for x1, _, x2, _ in segments for x in (x1, x2, math.nan)]
    ys = [y for _, y1, _, y2 in segments for y in (y1, y2, math.nan)]
    axes.plot(xs, ys, linestyle="-", solid_capstyle="butt", **style)


def polylines(axes: Axes, paths: list[list[tuple[float, float]]], **style) -> None:
    """Separate lines as one path."""
    xs = [x for path in paths for x in [*(x for x, _ in path), math.nan]]
    ys = [y for path in paths for y in [*(y for _, y in path), math.nan]]
    axes.plot(xs, ys, **style)


def week_ticks(axes: Axes, size: Size) -> None:
    """Ticks of a week axis at multiples that fit scans and cycles."""
    locator = MaxNLocator(9 if size.is_wide else 5, steps=[1, 1.2, 2.4, 6, 10], integer=True)
    axes.xaxis.set_major_locator(locator)


def signed(value: float, _position: int) -> str:
    """A tick's label with its sign, for percentages of change."""
    return f"{value:+.0f}".replace("-", "\u2212") if value else "0"


SIGNED = FuncFormatter(signed)
