"""Forest plot: every hazard ratio of serum HER2 beside each other, with n, events and the tests of interaction."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from orchestration.report import drawing
from orchestration.report import wording as say
from orchestration.report.drawing import BLUE, INK, RULE, SOFT, VERMILION, Size
from orchestration.report.figures.figure import Figure, Mark, painted
from orchestration.report.missing import why
from orchestration.report.published import Published, Row
from orchestration.study import Study

_COLUMNS = (
    "section",
    "label",
    "analysis",
    "endpoint",
    "stratum",
    "term",
    "n",
    "events",
    "hazard_ratio",
    "ci_low",
    "ci_high",
    "p_value",
    "interaction_p",
    "caveat",
)
_DOUBLING = ("log2_ratio", "log2_ratio_unadjusted")
_WIDEST = 16.0  # a limit beyond 1/16 or 16 is drawn as an arrow at the edge


@dataclass(frozen=True)
class _Line:
    """A hazard ratio, or (without a row) a heading with what stands at its right."""

    section: str
    label: str
    row: Row | None = None
    test: Row | None = None

    @property
    def is_estimated(self) -> bool:
        return self.row is not None and self.row.estimate is not None


def forest(published: Published, study: Study) -> Figure:
    name, title = "forest", "Hazard ratios of serum HER2 for progression or death"
    lines = [line for section in _sections(published, study) for line in section]
    estimated = [line for line in lines if line.is_estimated]
    if not estimated:
        return Figure(name, title, _COLUMNS, missing=why(published, study, "landmark"))
    data = [
        (
            line.section,
            line.label,
            row.analysis,
            row.endpoint,
            row.stratum,
            row.term,
            row.n,
            row.events,
            row.estimate if line.row else None,
            row.ci_low if line.row else None,
            row.ci_high if line.row else None,
            row.p_value if line.row else None,
            line.test.p_value if line.test else None,
            row.caveat,
        )
        for line in lines
        if (row := line.row or line.test) is not None
    ]
    primary = next((line for line in estimated if line.row.is_primary), estimated[0])
    tests = [f"{line.label} {say.p_value(line.test.p_value)}" for line in lines if line.test and line.test.p_value]
    cut = any(_beyond(line.row) for line in estimated)

    def paint(canvas: Canvas, size: Size) -> None:
        (_paint_wide if size.is_wide else _paint_narrow)(canvas, size, lines)

    return painted(
        name,
        title,
        _COLUMNS,
        data,
        paint,
        alt=f"Forest plot of {say.plural(len(estimated), 'hazard ratio')} on a logarithmic axis. "
        + " ".join(f"{line.section}, {line.label}: {_numbers(line.row)}, n {line.row.n}." for line in estimated)
        + (f" Tests of interaction, p: {', '.join(tests)}." if tests else ""),
        legend=(
            *((Mark("Primary analysis", VERMILION, "block"),) if primary.row.is_primary else ()),
            Mark("Other analyses", BLUE, "block"),
            Mark(f"{say.level(study.analysis.level)} confidence interval", BLUE),
        ),
        note="Above 1: a higher value went with earlier progression or death. The side of a square grows with the"
        " number of events. Subgroups are compared by the test of interaction, never by what is significant within one"
        " of them; p values at their headings are of these tests, not adjusted for their number. All are associations."
        f"{' An arrow: the limit lies beyond the axis.' if cut else ''}",
        sizes={"wide": (7.8, 0.19 * len(lines) + 0.75), "narrow": (3.7, 0.29 * len(lines) + 0.75)},
    )


# --- what stands in it ------------------------------------------------------------------------------------------------


def _sections(published: Published, study: Study) -> Iterator[list[_Line]]:
    """Each section begins with its heading; a section without rows is left out."""
    rules = study.analysis
    ratios = [
        row
        for row in published.estimates
        if row.statistic == "hazard_ratio" and row.population == rules.population and not say.bias(row)
    ]
    weeks = [f"week {week}" for week in rules.landmarks_weeks]
    doubling = [row for row in ratios if row.term in _DOUBLING]
    landmarks = [row for row in doubling if row.analysis == "landmark"]
    plain = [row for row in landmarks if row.stratum in weeks and row.endpoint == "PFS"]
    groups = (
        ("Landmark, per doubling of sHER2/baseline", sorted(plain, key=lambda row: _order(row, weeks))),
        (
            "Sensitivity of the landmark",
            sorted(
                (row for row in landmarks if row not in plain and row.term == "log2_ratio"),
                key=lambda row: _order(row, weeks),
            ),
        ),
        ("Current value, per doubling", [row for row in doubling if row.analysis == "time-dependent Cox"]),
        (
            f"Fall of at least {rules.change_thresholds_pct.fall} % against none",
            sorted(
                (
                    row
                    for row in ratios
                    if row.term == f"fall_{rules.change_thresholds_pct.fall}"
                    and row.endpoint == "PFS"
                    and (row.stratum in weeks or row.analysis == "Mantel-Byar")
                ),
                key=lambda row: _order(row, weeks),
            ),
        ),
    )
    for heading, rows in groups:
        if rows:
            yield [_Line(heading, ""), *(_Line(heading, _label(row), row) for row in rows)]
    yield from _subgroups(published, study, doubling)
    biased = [
        row
        for row in published.estimates
        if row.statistic == "hazard_ratio" and row.population == rules.population and say.bias(row)
    ]
    if biased:
        heading = "For comparison only"
        labels = [f"{row.analysis}: {say.bias(row)}" for row in biased]
        yield [_Line(heading, ""), *(_Line(heading, label, row) for label, row in zip(labels, biased, strict=True))]


def _subgroups(published: Published, study: Study, doubling: list[Row]) -> Iterator[list[_Line]]:
    """A heading for each thing that divides the population, with its test of interaction; below it the parts."""
    tests = {
        row.stratum: row
        for row in published.estimates
        if (row.analysis, row.endpoint, row.statistic) == ("interaction", "PFS", "interaction_p")
        and row.population == study.analysis.population
    }
    parts = [row for row in doubling if row.analysis in ("subgroup", "interaction") and ": " in row.stratum]
    names = dict.fromkeys([*tests, *(row.stratum.split(": ")[0] for row in parts)])
    if not names:
        return
    section = f"Landmark week {study.analysis.primary_week} by subgroup"
    yield [_Line(section, "")]
    for name in names:
        own = [row for row in parts if row.stratum.split(": ")[0] == name]
        yield [
            _Line(section, name, None, tests.get(name)),
            *(_Line(section, f"  {say.signs(row.stratum.split(': ', 1)[1])}", row) for row in own),
        ]


def _order(row: Row, weeks: list[str]) -> tuple:
    stratum = row.stratum.split(",")[0]
    return (
        row.analysis != "landmark",
        weeks.index(stratum) if stratum in weeks else len(weeks),
        row.term != "log2_ratio",
        row.endpoint,
        row.stratum,
    )


def _label(row: Row) -> str:
    if row.analysis not in ("landmark", "time-dependent Cox"):
        return row.analysis
    if row.analysis == "time-dependent Cox":
        return "Time-dependent Cox model"
    parts = [say.capital(row.stratum)]
    if row.endpoint != "PFS":
        parts.append("other censoring rules")
    if row.term == "log2_ratio_unadjusted":
        parts.append("not adjusted")
    return ", ".join(parts) + (" (primary)" if row.is_primary else "")


# --- drawing ----------------------------------------------------------------------------------------------------------


def _paint_wide(canvas: Canvas, size: Size, lines: list[_Line]) -> None:
    left, right = 3.95, 1.62
    axes = drawing.axes(canvas, size, left=left, right=right, top=0.3, bottom=0.45)
    width = axes.get_position().width * size.width
    _ratio_axis(axes, size, lines, 0.0)

    def column(inches: float) -> float:
        """A place left (below 0) or right of the axes as a fraction of their width."""
        return inches / width

    heads = ((0.75 - left, "", "left"), (-0.75, "n", "right"), (-0.2, "Events", "right"))
    for inches, text, side in (*heads, (width + 0.1, "Hazard ratio (CI)", "left")):
        axes.text(column(inches), -1.0, text, transform=axes.get_yaxis_transform(), ha=side, va="center", color=SOFT)
    for place, line in enumerate(lines):
        text = line.label or line.section
        bold = "bold" if not line.label else "normal"
        indent = 0.12 * (bool(line.label) + line.label.startswith(" "))
        put = {"transform": axes.get_yaxis_transform(), "va": "center"}
        axes.text(column(0.05 + indent - left), place, text.strip(), weight=bold, **put)
        if line.row is not None:
            axes.text(column(-0.75), place, say.count(line.row.n), ha="right", **put)
            axes.text(column(-0.2), place, say.count(line.row.events), ha="right", **put)
            axes.text(column(width + 0.1), place, _numbers(line.row), **put)
        elif line.test is not None:
            axes.text(column(width + 0.1), place, _interaction(line.test), **put)


def _paint_narrow(canvas: Canvas, size: Size, lines: list[_Line]) -> None:
    """The words of a line stand above its interval."""
    axes = drawing.axes(canvas, size, left=0.1, right=1.35, top=0.1, bottom=0.45)
    width = axes.get_position().width * size.width
    _ratio_axis(axes, size, lines, 0.22)
    for place, line in enumerate(lines):
        put = {"transform": axes.get_yaxis_transform(), "va": "center"}
        text = line.label.strip() or line.section
        if line.row is not None:
            text += f"; n {say.count(line.row.n)}, events {say.count(line.row.events)}"
            axes.text(1 + 0.06 / width, place + 0.22, _numbers(line.row), fontsize=7.5, **put)
        elif line.test is not None:
            text += f": {_interaction(line.test)}"
        weight = "bold" if not line.label else "normal"
        axes.text(0, place - 0.24, text, fontsize=7.5, weight=weight, **put)


def _ratio_axis(axes: Axes, size: Size, lines: list[_Line], below: float) -> None:
    """The intervals on a log axis around 1."""
    rows = [(place + below, line.row) for place, line in enumerate(lines) if line.is_estimated]
    ends = [end for _, row in rows for end in (row.estimate, row.ci_low, row.ci_high) if end]
    reach = min(max([2.0, *(max(end, 1 / end) for end in ends)]), _WIDEST) * 1.1
    most = max([row.events or 0 for _, row in rows] + [1])
    axes.set_xscale("log", base=2)
    axes.set(xlim=(1 / reach, reach), ylim=(len(lines) - 0.4, -0.7), xlabel="Hazard ratio" if size.is_wide else "")
    for at, row in rows:
        colour = VERMILION if row.is_primary else BLUE
        low, high = max(row.ci_low or row.estimate, 1 / reach), min(row.ci_high or row.estimate, reach)
        drawing.segments(axes, [(low, at, high, at)], color=colour, linewidth=1.2)
        for edge, limit, marker in ((1 / reach, row.ci_low, "<"), (reach, row.ci_high, ">")):
            if limit is not None and (limit < edge if marker == "<" else limit > edge):
                drawing.dots(axes, [(edge, at)], marker=marker, markersize=4, color=colour, clip_on=False)
        side = 3.2 + 4.0 * math.sqrt((row.events or 0) / most)
        if 1 / reach <= row.estimate <= reach:
            drawing.dots(axes, [(row.estimate, at)], marker="s", markersize=side, color=colour, markeredgewidth=0)
    line = {"color": INK, "linewidth": 0.8, "linestyle": (0, (4, 3)), "zorder": 0}
    if below:  # words stand above each interval: the line leaves them free
        for at, _ in rows:
            axes.plot([1, 1], [at - 0.22, at + 0.25], **line)
    else:
        axes.axvline(1, **line)
    power = math.floor(math.log2(reach))
    step = 1 if power <= 2 else 2
    powers = range(-power // step * step, power + 1, step)
    axes.xaxis.set_major_locator(FixedLocator([2.0**exponent for exponent in powers]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value >= 0.5 else f"1/{1 / value:g}"))
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines["left"].set_visible(False)
    headings = [place for place, line in enumerate(lines) if not line.label and place]
    for place in headings:
        axes.axhline(place - 0.55, color=RULE, linewidth=0.5, zorder=0)


def _numbers(row: Row) -> str:
    limits = say.interval(row.statistic, row.ci_low, row.ci_high)
    return say.quantity(row.statistic, row.estimate) + (f" ({limits})" if limits else "")


def _interaction(test: Row) -> str:
    return "interaction: NE" if test.p_value is None else f"interaction p {say.relation(test.p_value)}"


def _beyond(row: Row) -> bool:
    return any(end is not None and not 1 / _WIDEST <= end <= _WIDEST for end in (row.ci_low, row.ci_high))
