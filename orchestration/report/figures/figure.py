"""What every figure of the page is made of: the figure itself, its legend, the colours of groups and of responses.

How lines get on paper belongs in drawing.py; what is drawn in the module named after the figure.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from orchestration.report import drawing
from orchestration.report import wording as say
from orchestration.report.drawing import BLUE, INK, ORANGE, PURPLE, RULE, SIZES, SKY, SOFT, VERMILION, Size
from orchestration.study import Study

RESPONSE_COLOURS = {
    "CR": BLUE,
    "PR": SKY,
    "SD": ORANGE,
    "NON-CR/NON-PD": PURPLE,
    "PD": VERMILION,
    "NE": SOFT,
    "NA": RULE,
    "MISSING": RULE,
}
RESPONDER = (BLUE, "-", "o")
OTHER = (VERMILION, "--", "s")


@dataclass(frozen=True)
class Mark:
    """An entry of the legend, which the page sets in HTML."""

    label: str
    colour: str
    shape: str = "line"  # line | dash | dot | square | triangle | cross | diamond | arrow | block | tint

    @property
    def variable(self) -> str:
        return drawing.VARIABLES[self.colour]


@dataclass(frozen=True)
class Figure:
    """A figure of the page, or the reason why there is none."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple] = field(default_factory=list)
    missing: str = ""
    alt: str = ""
    legend: tuple[Mark, ...] = ()
    note: str = ""
    drawings: dict[str, str] = field(default_factory=dict)  # size -> svg


def painted(
    name: str,
    title: str,
    columns: tuple[str, ...],
    rows: list[tuple],
    paint: Callable[[Canvas, Size], None],
    *,
    alt: str,
    legend: tuple[Mark, ...] = (),
    note: str = "",
    sizes: dict[str, tuple[float, float]] | None = None,
) -> Figure:
    """The figure with both of its drawings: one for a wide screen and paper, one for a phone."""
    drawings = {}
    for kind, (width, height) in (SIZES | (sizes or {})).items():
        drawings[kind] = drawing.svg(f"{name}-{kind}", Size(kind, width, height), title, alt, paint)
    return Figure(name, title, columns, rows, "", alt, legend, note, drawings)


def thin(items: list, most: int) -> tuple[list, str]:
    """At most so many of an ordered list, evenly, and the words that say so."""
    step = math.ceil(len(items) / most)
    if step <= 1:
        return items, ""
    words = f" Every {say.ordinal(step)} of {say.plural(len(items), 'patient')} is drawn; the data file holds all."
    return items[::step], words


def two_groups(name: str, yes: int, no: int) -> tuple[Mark, Mark]:
    return (
        Mark(f"{say.capital(name)}: {say.plural(yes, 'patient')}", BLUE, "dot"),
        Mark(f"No {name}: {say.plural(no, 'patient')}", VERMILION, "square"),
    )


def week(study_day: int) -> float:
    """Weeks from the first dose, which is day 1; there is no day 0."""
    return (study_day - 1 if study_day > 0 else study_day) / 7


def sum_thresholds(axes: Axes, study: Study) -> None:
    """Lines at the changes of the sum that mean progression and partial response."""
    for level in (study.response.progression_pct, -study.response.partial_response_pct):
        axes.axhline(level, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(
            f"{level:+d} %".replace("-", "\u2212"),
            (1, level),
            (3, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
