"""The figures: rows of the published warehouse in, inline SVG and the data behind it out.

Drawn with matplotlib's Figure and SVG canvas, each in two sizes: for paper and wide screens, and for a phone. Colours
become CSS variables of the page, so that ink and lines follow light and dark. Wording of the page belongs in page.py,
statistics in efficacy/; the one summary made here is the geometric mean that guides the eye through the trajectories.
"""

import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from orchestration.report import wording as say
from orchestration.report.published import Published, Row
from orchestration.study import Study

# Stand-ins that matplotlib can draw with; the page's style sheet says what they are in light and in dark.
INK, SOFT, RULE, PAPER = "#101112", "#505152", "#c0c1c2", "#fdfcfb"
BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7"  # Okabe-Ito
_VARIABLES = {
    INK: "ink", SOFT: "soft", RULE: "rule", PAPER: "paper", BLUE: "blue", SKY: "sky", GREEN: "green", ORANGE: "orange",
    VERMILION: "vermilion", PURPLE: "purple",
}  # fmt: skip

RESPONSE_COLOURS = {
    "CR": BLUE, "PR": SKY, "SD": ORANGE, "NON-CR/NON-PD": PURPLE, "PD": VERMILION, "NE": SOFT,
}  # fmt: skip
_RESPONDER = (BLUE, "-", "o")
_OTHER = (VERMILION, "--", "s")

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
SIZES = {"wide": (7.0, 3.9), "narrow": (3.7, 3.6)}  # inches


@dataclass(frozen=True)
class Size:
    """One of the two drawings: inches, and how much fits."""

    name: str
    width: float
    height: float

    @property
    def is_wide(self) -> bool:
        return self.name == "wide"


@dataclass(frozen=True)
class Mark:
    """An entry of the legend, which the page sets in HTML."""

    label: str
    colour: str
    shape: str = "line"  # line | dash | block | dot | square

    @property
    def variable(self) -> str:
        return _VARIABLES[self.colour]


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


# --- Kaplan-Meier -----------------------------------------------------------------------------------------------------

_CURVE_COLUMNS = ("endpoint", "population", "stratum", "time_months", "survival", "ci_low", "ci_high", "at_risk", "events",
                  "censored")  # fmt: skip


def kaplan_meier(published: Published, study: Study, endpoint: str) -> Figure:
    """One endpoint in the analysis population: steps, censor ticks, log-log band, number at risk under its ticks."""
    name = f"kaplan_meier_{endpoint.lower()}"
    title = {"PFS": "Progression-free survival", "OS": "Overall survival"}[endpoint]
    population = study.analysis.population
    curve = published.curve(endpoint, population)
    if not curve:
        return Figure(name, title, _CURVE_COLUMNS, missing=why_empty(published, study, "times"))
    median = published.estimate("survival", endpoint, "median_months", population)
    label = f"{_capital(say.population(population))}: {_median_text(median)}"
    return _survival_figure(
        name, title, [(label, curve, BLUE, "-")], {"PFS": "Alive without progression", "OS": "Alive"}[endpoint],
        "Months from first dose" if study.endpoints.start == "first_dose" else "Months from enrolment", study,
        f"Kaplan-Meier estimate of {title.lower()}. {label}. {_rates_text(published, study, endpoint)}",
    )  # fmt: skip


def landmark_curves(published: Published, study: Study) -> Figure:
    """PFS after the primary landmark by an early fall of serum HER2."""
    week = int(study.analysis.primary.rsplit("_", 1)[1])
    name, title = "landmark_pfs", f"PFS after week {week} by early fall of serum HER2"
    strata = sorted({row.stratum for row in published.curves if row.endpoint == "PFS" and row.stratum.startswith(f"week {week}:")})
    populations = sorted({row.population for row in published.curves if row.stratum in strata})
    if not strata:
        return Figure(name, title, _CURVE_COLUMNS, missing=why_empty(published, study, "landmark"))
    population = study.analysis.population if study.analysis.population in populations else populations[0]
    groups = []
    for stratum in strata:
        colour, dash, _ = _OTHER if "no fall" in stratum else _RESPONDER
        curve = published.curve("PFS", population, stratum)
        median = published.estimate("landmark", "PFS", "median_months", population, stratum)
        numbers = _median_text(median) if median else _count_text(curve)
        group = stratum.split(":", 1)[1].strip()
        groups.append((f"{_capital(group)}: {numbers}".replace(">=", "\u2265"), curve, colour, dash))
    test = published.estimate("landmark", "PFS", "logrank_p", population, f"week {week}")
    p = f" Log-rank p {_relation(test.p_value)}." if test and test.p_value is not None else ""
    return _survival_figure(
        name, title, groups, "Alive without progression", f"Months from the landmark (week {week}, study day "
        f"{landmark_day(study, week)})", study,
        f"Kaplan-Meier estimate of progression-free survival after week {week} in patients then at risk. "
        + ". ".join(label for label, *_ in groups) + f".{p}",
        f"The clock starts at the landmark; who had progressed, died or left before is not shown.{p} An association: a single"
        " arm cannot show that a marker is predictive.",
    )  # fmt: skip


def landmark_day(study: Study, week: int) -> int:
    return 7 * week + study.analysis.landmark_grace_days


def _survival_figure(name, title, groups, y_label, x_label, study, alt, note="") -> Figure:
    band = f"{study.analysis.level:.0%}".replace("%", " %")
    rows = [tuple(getattr(row, column) for column in _CURVE_COLUMNS) for _, curve, *_ in groups for row in curve]

    def paint(canvas: Canvas, size: Size) -> None:
        last = max(float(curve[-1].time_months) for _, curve, *_ in groups)
        ticks = _month_ticks(last, 9 if size.is_wide else 5)
        lines = len(groups)
        axes = _axes(canvas, size, left=0.74, right=0.15, top=0.12, bottom=0.66 + 0.17 * lines)
        for _, curve, colour, dash in groups:
            times = [0.0] + [float(row.time_months) for row in curve]
            heights = [1.0] + [float(row.survival) for row in curve]
            axes.plot(times, heights, drawstyle="steps-post", color=colour, linestyle=dash, solid_joinstyle="miter")
            bounded = [row for row in curve if row.ci_low is not None and row.ci_high is not None]
            axes.fill_between(
                [0.0] + [float(row.time_months) for row in bounded], [1.0] + [float(row.ci_low) for row in bounded],
                [1.0] + [float(row.ci_high) for row in bounded], step="post", color=colour, alpha=0.14, linewidth=0,
            )  # fmt: skip
            censored = [row for row in curve if row.censored]
            _segments(axes, [(float(r.time_months), float(r.survival) - 0.018, float(r.time_months), float(r.survival) + 0.018)
                             for r in censored], color=colour, linewidth=1)  # fmt: skip
        axes.set(xlim=(0, max(last, ticks[-1]) * 1.01), ylim=(0, 1.02), xlabel=x_label, ylabel=y_label)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.0f} %"))
        axes.axhline(0.5, color=RULE, linewidth=0.7, linestyle=(0, (2, 2)), zorder=0)
        below = [
            (-0.72 - 0.17 * line, [(tick, at_risk(curve, tick)) for tick in ticks], colour if lines > 1 else INK)
            for line, (_, curve, colour, _) in enumerate(groups)
        ]
        _under_axis(axes, size, "At risk", -0.55, below)

    shapes = {"-": "line", "--": "dash"}
    legend = tuple(Mark(label, colour, shapes[dash]) for label, _, colour, dash in groups)
    return _figure(
        name, title, _CURVE_COLUMNS, rows, paint, alt, legend,
        f"Steps: Kaplan-Meier estimate. Band: {band} confidence limits (log-log). Short strokes: censored. {note}".strip(),
    )  # fmt: skip


def at_risk(curve: list[Row], time: float) -> int:
    """Patients whose time is at least ``time`` months: the count at the first later point, since nobody leaves between."""
    return next((int(row.at_risk) for row in curve if float(row.time_months) >= time), 0)


def _month_ticks(last: float, most: int) -> list[int]:
    step = next(step for step in (1, 2, 3, 6, 12, 24, 48, 96, 1200) if last / step < most)
    return list(range(0, int(last) + 1, step))


def _median_text(row: Row | None) -> str:
    if row is None:
        return "median not computed"
    value = "median not reached" if row.estimate is None else f"median {say.quantity('median_months', row.estimate)} months"
    limits = say.interval("median_months", row.ci_low, row.ci_high)
    return f"{value}{f' ({_level(row)} CI {limits})' if limits else ''}; n = {say.count(row.n)}, {say.plural(row.events or 0, 'event')}"


def _count_text(curve: list[Row]) -> str:
    return f"n = {at_risk(curve, 0)}, {say.plural(sum(int(row.events) for row in curve), 'event')}"


def _level(row: Row) -> str:
    return f"{say.fixed(float(row.level or 0.95) * 100, 0)} %"


def _rates_text(published: Published, study: Study, endpoint: str) -> str:
    rates = [(month, published.estimate("survival", endpoint, f"rate_{month}m", study.analysis.population))
             for month in study.analysis.km_months]  # fmt: skip
    known = [f"{say.percent(row.estimate)} % at {month} months" for month, row in rates if row and row.estimate is not None]
    return f"Rates: {', '.join(known)}." if known else ""


def _relation(p: float) -> str:
    text = say.p_value(p)
    return text if text[0] in "<>" else f"= {text}"


# --- tumour -----------------------------------------------------------------------------------------------------------

MOST_BARS = 300


def waterfall(published: Published, study: Study) -> Figure:
    """Best change of the sum of diameters, a bar a patient, coloured by best overall response."""
    name, title = "waterfall", "Best change in the sum of target diameters"
    columns = ("subject_id", "best_pct_change", "best_overall_response", "confirmed_best_overall_response", "has_new_lesion")
    members = published.members(study.analysis.population)
    rows = [row for row in published.best_responses if row.subject_id in members]
    shown = sorted((row for row in rows if row.best_pct_change is not None), key=lambda row: (-row.best_pct_change, row.subject_id))
    if not shown:
        return Figure(name, title, columns, missing=why_empty(published, study, "changes"))
    with_new_lesion = {row.subject_id for row in published.responses if row.new_lesion == "YES"}
    data = [
        (row.subject_id, row.best_pct_change, row.best_overall_response, row.confirmed_best_overall_response,
         row.subject_id in with_new_lesion) for row in shown
    ]  # fmt: skip
    step = math.ceil(len(data) / MOST_BARS)
    drawn = data[::step]
    present = [code for code in RESPONSE_COLOURS if any(row[2] == code for row in drawn)]
    counts = {code: sum(row[2] == code for row in data) for code in RESPONSE_COLOURS}

    def paint(canvas: Canvas, size: Size) -> None:
        strips = [*present, *(["new"] if any(row[4] for row in drawn) else [])]
        axes = _axes(canvas, size, left=0.74, right=0.5, top=0.12, bottom=0.42 + 0.13 * len(strips))
        ceiling = 100
        for code in present:
            bars = [(place, min(float(row[1]), ceiling)) for place, row in enumerate(drawn) if row[2] == code]
            _bars(axes, bars, RESPONSE_COLOURS[code])
        cut = [place for place, row in enumerate(drawn) if float(row[1]) > ceiling]
        axes.plot(cut, [ceiling + 3] * len(cut), linestyle="none", marker="^", markersize=3, color=INK, clip_on=False)
        axes.axhline(0, color=SOFT, linewidth=0.7)
        for level in (study.response.progression_pct, -study.response.partial_response_pct):
            axes.axhline(level, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.annotate(f"{level:+d} %".replace("-", "\u2212"), (1, level), (3, 0), xycoords=("axes fraction", "data"),
                          textcoords="offset points", ha="left", va="center", fontsize=7.5)  # fmt: skip
        top = max(42.0, min(max(float(row[1]) for row in drawn) + 8, ceiling + 8))
        axes.set(xlim=(-0.8, len(drawn) - 0.2), ylim=(-105, top), ylabel="Best change from baseline (%)")
        axes.xaxis.set_major_locator(NullLocator())
        axes.spines["bottom"].set_visible(False)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.0f}".replace("-", "\u2212") if value else "0"))
        for line, code in enumerate(strips):
            depth = _depth(axes, size, -0.14 - 0.13 * line)
            half = _depth(axes, size, 0.045)
            marked = [place for place, row in enumerate(drawn) if (row[4] if code == "new" else row[2] == code)]
            _segments(axes, [(place, depth - half, place, depth + half) for place in marked], transform=axes.get_xaxis_transform(),
                      color=RESPONSE_COLOURS.get(code, INK), linewidth=min(2.6, 200 / len(drawn) * size.width / 7), clip_on=False)  # fmt: skip
            label = {"NON-CR/NON-PD": "non-CR/PD", "new": "new lesion"}.get(code, code)
            axes.annotate(label, (0, depth), (-5, 0), xycoords="axes fraction", textcoords="offset points", ha="right",
                          va="center", fontsize=7)  # fmt: skip
        axes.annotate("Patients, in order of change", (0.5, 0), (0, -(0.30 + 0.13 * len(strips)) * 72), xycoords="axes fraction",
                      textcoords="offset points", ha="center", va="bottom")  # fmt: skip

    unknown = len(members) - len(data)
    reach = sum(row[1] <= -study.response.partial_response_pct for row in data)
    summary = ", ".join(f"{code} {number}" for code, number in counts.items() if number)
    not_shown = (f"{say.plural(unknown, 'patient is', 'patients are')} not shown: no target lesion, or no complete sum after baseline."
                 if unknown else "All patients are shown.")  # fmt: skip
    thinned = f" Every {_ordinal(step)} of {say.plural(len(data), 'patient')} is drawn; the data file holds all." if step > 1 else ""
    return _figure(
        name, title, columns, data, paint,
        f"Waterfall of the best change in the sum of diameters of {say.plural(len(data), 'patient')}: from "
        f"{say.fixed(data[0][1])} % to {say.fixed(data[-1][1])} %; {reach} reached −{study.response.partial_response_pct} % or"
        f" less. By best overall response: {summary}. {not_shown}",
        tuple(Mark(f"{code}, {say.response(code)}: {counts[code]}", RESPONSE_COLOURS[code], "block") for code in present),
        f"n = {len(data)}. {not_shown} Colour and strip: best overall response before confirmation; the last strip marks patients"
        f" with a new lesion. Lines: +{study.response.progression_pct} % and −{study.response.partial_response_pct} %."
        f" Bars above +100 % are cut (triangle).{thinned}",
    )  # fmt: skip


MOST_LINES = 150


def spider(published: Published, study: Study) -> Figure:
    """Change of the sum of diameters over time, a line a patient, to the first PD."""
    name, title = "spider", "Sum of target diameters over time"
    columns = ("subject_id", "study_day", "visit_name", "pct_change_from_baseline", "overall_response")
    members = published.members(study.analysis.population)
    confirmed = {row.subject_id for row in published.best_responses if row.is_confirmed_responder}
    lines: dict[str, list[Row]] = defaultdict(list)
    progressed = set()
    for row in published.responses:
        if row.subject_id in members and row.study_day is not None and row.study_day > 1 and row.subject_id not in progressed:
            if row.pct_change_from_baseline is not None:
                lines[row.subject_id].append(row)
            if row.overall_response == "PD":
                progressed.add(row.subject_id)
    if not lines:
        return Figure(name, title, columns, missing=why_empty(published, study, "changes"))
    data = [tuple(getattr(row, column) for column in columns) for line in lines.values() for row in line]
    drawn, thinned = _thin(sorted(lines))

    def paint(canvas: Canvas, size: Size) -> None:
        axes = _axes(canvas, size, left=0.74, right=0.15, top=0.12, bottom=0.5)
        ceiling = 150
        for group, (colour, dash, marker) in ((False, _OTHER), (True, _RESPONDER)):
            paths = [[(0.0, 0.0)] + [(_week(row.study_day), min(float(row.pct_change_from_baseline), ceiling)) for row in lines[subject]]
                     for subject in drawn if (subject in confirmed) is group]  # fmt: skip
            _polylines(axes, paths, color=colour, linewidth=0.7, alpha=0.75, linestyle=dash)
            ends = [path[-1] for path in paths]
            axes.plot([x for x, _ in ends], [y for _, y in ends], linestyle="none", marker=marker, markersize=2.6, color=colour)
        for level in (study.response.progression_pct, -study.response.partial_response_pct):
            axes.axhline(level, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.axhline(0, color=SOFT, linewidth=0.7)
        axes.set(ylim=(-105, None), xlabel="Weeks from first dose", ylabel="Change from baseline (%)")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(9 if size.is_wide else 5, steps=[1, 1.2, 2.4, 6, 10], integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.0f}".replace("-", "\u2212") if value else "0"))

    responders = sum(subject in confirmed for subject in lines)
    return _figure(
        name, title, columns, data, paint,
        f"Spider plot: percentage change of the sum of diameters by week for {say.plural(len(lines), 'patient')}, of whom "
        f"{responders} have a confirmed response. The lines end at progression or the last complete sum.",
        (Mark(f"Confirmed response: {responders}", BLUE, "dot"), Mark(f"No confirmed response: {len(lines) - responders}", VERMILION, "square")),
        f"n = {len(lines)}. Each line ends at progression or at the last complete sum; values above +150 % are drawn there. {thinned}",
    )  # fmt: skip


MOST_SWIMMERS = 60


def swimmer(published: Published, study: Study) -> Figure:
    """Time on treatment with response, progression and death, a row a patient."""
    name, title = "swimmer", "Time on treatment and course"
    columns = ("subject_id", "treatment_weeks", "response_week", "progression_week", "death_week", "is_ongoing",
               "confirmed_best_overall_response")  # fmt: skip
    members = published.members(study.analysis.population)
    best = {row.subject_id: row for row in published.best_responses}
    progression: dict[str, Row] = {}
    for row in published.responses:
        if row.overall_response == "PD":
            progression.setdefault(row.subject_id, row.assessed_on)
    data = []
    for subject in published.subjects:
        if subject.subject_id in members and subject.first_dose_on is not None:
            response = best.get(subject.subject_id)
            end = subject.discontinued_on or subject.last_dose_on or subject.first_dose_on
            data.append((
                subject.subject_id,
                *(None if on is None else round((on - subject.first_dose_on).days / 7, 2) for on in (
                    end, response.first_response_on if response else None, progression.get(subject.subject_id), subject.death_on)),
                subject.discontinued_on is None and subject.death_on is None,
                response.confirmed_best_overall_response if response else "MISSING",
            ))  # fmt: skip
    if not data:
        return Figure(name, title, columns, missing=why_empty(published, study, "members"))
    data.sort(key=lambda row: (-row[1], row[0]))
    step = math.ceil(len(data) / MOST_SWIMMERS)
    drawn = data[::step]

    def paint(canvas: Canvas, size: Size) -> None:
        axes = _axes(canvas, size, left=0.2, right=0.2, top=0.08, bottom=0.5)
        for code in sorted({row[6] for row in drawn}):
            _bars(axes, [(place, max(row[1], 0.3)) for place, row in enumerate(drawn) if row[6] == code],
                  RESPONSE_COLOURS.get(code, RULE), horizontal=True, alpha=0.45)  # fmt: skip
        for column, marker, colour in ((2, "^", BLUE), (3, "X", VERMILION), (4, "D", INK)):
            points = [(row[column], place) for place, row in enumerate(drawn) if row[column] is not None]
            axes.plot([x for x, _ in points], [y for _, y in points], linestyle="none", marker=marker, markersize=3.6, color=colour,
                      markeredgewidth=0)  # fmt: skip
        going = [(row[1], place) for place, row in enumerate(drawn) if row[5]]
        axes.plot([x + 1.2 for x, _ in going], [y for _, y in going], linestyle="none", marker=">", markersize=3.4, color=INK,
                  markerfacecolor="none", markeredgewidth=0.7)  # fmt: skip
        axes.set(ylim=(len(drawn), -1), xlabel="Weeks from first dose")
        axes.set_xlim(left=0)
        axes.yaxis.set_major_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(9 if size.is_wide else 5, steps=[1, 1.2, 2.4, 6, 10], integer=True))

    ongoing = sum(row[5] for row in data)
    thinned = f" Every {_ordinal(step)} of {say.plural(len(data), 'patient')} is drawn; the data file holds all." if step > 1 else ""
    present = [code for code in (*RESPONSE_COLOURS, "MISSING") if any(row[6] == code for row in drawn)]
    return _figure(
        name, title, columns, data, paint,
        f"Swimmer plot of {say.plural(len(data), 'patient')}: time on treatment up to {say.fixed(data[0][1], 0)} weeks; {ongoing} without"
        f" a recorded end of treatment, {sum(row[2] is not None for row in data)} with a response, "
        f"{sum(row[3] is not None for row in data)} with progression, {sum(row[4] is not None for row in data)} died.",
        (Mark("First response", BLUE, "triangle"), Mark("Progression", VERMILION, "cross"), Mark("Death", INK, "diamond"),
         Mark("No end of treatment recorded", INK, "arrow"),
         *(Mark(f"Bar: {say.response(code)}", RESPONSE_COLOURS.get(code, RULE), "block") for code in present)),
        f"n = {len(data)}. Bar: first dose to end of treatment (last dose where none is recorded), coloured by confirmed best overall"
        f" response.{thinned}",
        {"wide": 0.075 * len(drawn) + 0.75, "narrow": 0.075 * len(drawn) + 0.75},
    )  # fmt: skip


# --- serum HER2 -------------------------------------------------------------------------------------------------------


def trajectories(published: Published, study: Study) -> Figure:
    """Serum HER2 over time on a log2 axis: a thin line a patient, geometric means by confirmed response at the visits."""
    name, title = "her2_trajectories", "Serum HER2 over time"
    columns = ("subject_id", "sample_id", "study_day", "visit_name", "analysed_value_ng_ml", "value_operator", "is_confirmed_responder")
    members = published.members(study.analysis.population)
    confirmed = {row.subject_id for row in published.best_responses if row.is_confirmed_responder}
    samples = [row for row in published.her2 if row.subject_id in members and row.study_day is not None and row.analysed_value_ng_ml > 0]
    if not samples:
        return Figure(name, title, columns, missing=why_empty(published, study, "her2"))
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    visits: dict[str, dict[bool, list[tuple[float, float]]]] = defaultdict(lambda: {True: [], False: []})
    for row in samples:
        point = (_week(row.study_day), float(row.analysed_value_ng_ml))
        lines[row.subject_id].append(point)
        if row.visit_name:
            visits[row.visit_name][row.subject_id in confirmed].append(point)
    means = _geometric_means(visits)
    drawn, thinned = _thin(sorted(lines))
    cutoff = study.analytes.serum_her2.cutoff_ng_ml
    lloqs = [float(row.lloq_ng_ml) for row in samples if row.lloq_ng_ml is not None]
    groups = ((True, *_RESPONDER), (False, *_OTHER))

    def paint(canvas: Canvas, size: Size) -> None:
        axes = _axes(canvas, size, left=0.74, right=0.15, top=0.12, bottom=0.98)
        axes.set_yscale("log", base=2)
        last = max([x for x, *_ in means[True] + means[False]] or [max(x for line in lines.values() for x, _ in line)])
        for group, colour, _dash, _marker in groups:
            _polylines(axes, [lines[subject] for subject in drawn if (subject in confirmed) is group],
                       color=colour, linewidth=0.5, alpha=0.3)  # fmt: skip
        for group, colour, dash, marker in groups:
            if means[group]:
                xs, ys, _ = zip(*means[group], strict=True)
                axes.plot(xs, ys, color=PAPER, linewidth=4.5, zorder=3)
                axes.plot(xs, ys, color=colour, linestyle=dash, linewidth=2.2, marker=marker, markersize=4.5, zorder=4)
        axes.axhline(cutoff, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(f"{cutoff:g} ng/mL", (1, cutoff), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="right", va="bottom", fontsize=7.5)  # fmt: skip
        values = [y for line in lines.values() for _, y in line]
        low, high = min([*values, cutoff]) / 1.15, max([*values, cutoff]) * 1.15
        if lloqs:
            axes.axhspan(low / 4, max(lloqs), color=RULE, alpha=0.45, linewidth=0)
            low = min(low, max(lloqs) / 1.15)
        first = min(x for line in lines.values() for x, _ in line)
        axes.set(xlim=(max(first, -4) - 0.5, last + 1.5), ylim=(low, high), xlabel="Weeks from first dose", ylabel="Serum HER2 (ng/mL)")
        axes.xaxis.set_major_locator(MaxNLocator(10 if size.is_wide else 6, steps=[1, 3, 6, 10], integer=True))
        axes.yaxis.set_major_locator(FixedLocator([2.0**power for power in range(-4, 15)]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        # Numbers stand under the means they belong to; where they would touch, every other one is left out.
        per_inch = (axes.get_xlim()[1] - axes.get_xlim()[0]) / (size.width - 0.89)
        rows = [(-0.70 - 0.16 * line, _spaced([(x, n) for x, _, n in means[group]], 0.3 * per_inch), colour)
                for line, (group, colour, *_) in enumerate(groups)]  # fmt: skip
        _under_axis(axes, size, "Patients in the mean", -0.54, rows)

    numbers = {group: len({row.subject_id for row in samples if (row.subject_id in confirmed) is group}) for group in (True, False)}
    data = [
        (row.subject_id, row.sample_id, row.study_day, row.visit_name, row.analysed_value_ng_ml, row.value_operator, row.subject_id in confirmed)
        for row in samples
    ]
    def course(group: bool) -> str:
        if not means[group]:
            return "no visit with enough samples"
        (_, start, _), (week, end, _) = means[group][0], means[group][-1]
        return f"{say.fixed(start)} ng/mL at the start, {say.fixed(end)} at week {say.fixed(week, 0)}"

    shade = f" Shaded: below the lower limit of quantification ({max(lloqs):g} ng/mL)." if lloqs else ""
    return _figure(
        name, title, columns, data, paint,
        f"Serum HER2 by week on a logarithmic axis, {say.plural(len(lines), 'patient')}, {say.plural(len(samples), 'sample')}. Geometric"
        f" mean with confirmed response: {course(True)}; without: {course(False)}. Cut-off line at {cutoff:g} ng/mL.",
        (Mark(f"Confirmed response: {say.plural(numbers[True], 'patient')}", BLUE, "dot"),
         Mark(f"No confirmed response: {say.plural(numbers[False], 'patient')}", VERMILION, "square")),
        "Thin lines: patients. Bold: geometric mean at the planned visits (from 3 patients on), with their number under the axis."
        f" Samples fit for analysis, up to progression or new therapy. A response is known only later than the samples: a description, no comparison.{shade} {thinned}",
        {"wide": 4.3, "narrow": 4.0},
    )  # fmt: skip


def change_scatter(published: Published, study: Study) -> Figure:
    """Best change of serum HER2 against best change of the sum of diameters, a point a patient."""
    name, title = "her2_vs_sum", "Best change: serum HER2 and tumour"
    columns = ("subject_id", "best_her2_pct_change", "best_sum_pct_change", "is_confirmed_responder")
    members = published.members(study.analysis.population)
    lowest: dict[str, float] = {}
    for row in published.her2:
        if row.pct_change is not None and row.study_day is not None and row.study_day > 1:
            lowest[row.subject_id] = min(lowest.get(row.subject_id, math.inf), row.pct_change)
    data = [
        (row.subject_id, lowest[row.subject_id], row.best_pct_change, row.is_confirmed_responder) for row in published.best_responses
        if row.subject_id in members and row.subject_id in lowest and row.best_pct_change is not None
    ]  # fmt: skip
    if not data:
        return Figure(name, title, columns, missing=why_empty(published, study, "pairs"))
    rho = published.estimate("correlation", "best change", "spearman_rho", study.analysis.population)
    numbers = ""
    if rho and rho.estimate is not None:
        numbers = (f" Spearman ρ {say.quantity('spearman_rho', rho.estimate)} ({_level(rho)} CI "
                   f"{say.interval('spearman_rho', rho.ci_low, rho.ci_high)}; n = {say.count(rho.n)}).")  # fmt: skip
    drawn, thinned = _thin(data, 600)

    def paint(canvas: Canvas, size: Size) -> None:
        axes = _axes(canvas, size, left=0.74, right=0.15, top=0.12, bottom=0.5)
        for group, (colour, _, marker) in ((False, _OTHER), (True, _RESPONDER)):
            points = [(min(float(row[1]), 200), min(float(row[2]), 100)) for row in drawn if row[3] is group]
            axes.plot([x for x, _ in points], [y for _, y in points], linestyle="none", marker=marker, markersize=3.4, color=colour,
                      alpha=0.8, markeredgewidth=0)  # fmt: skip
        axes.axhline(0, color=RULE, linewidth=0.7, zorder=0)
        axes.axvline(0, color=RULE, linewidth=0.7, zorder=0)
        axes.set(xlabel="Best change of serum HER2 (%)", ylabel="Best change of the sum (%)")
        signed = FuncFormatter(lambda value, _: f"{value:+.0f}".replace("-", "\u2212") if value else "0")
        axes.xaxis.set_major_formatter(signed)
        axes.yaxis.set_major_formatter(signed)
        axes.xaxis.set_major_locator(MaxNLocator(8 if size.is_wide else 5))

    responders = sum(row[3] for row in data)
    return _figure(
        name, title, columns, data, paint,
        f"Scatter of the best change of serum HER2 against the best change of the sum of diameters, {say.plural(len(data), 'patient')}.{numbers}",
        (Mark(f"Confirmed response: {responders}", BLUE, "dot"), Mark(f"No confirmed response: {len(data) - responders}", VERMILION, "square")),
        f"n = {len(data)}, one point a patient.{numbers} Values above +200 % and +100 % are drawn there. {thinned}",
    )  # fmt: skip


def _geometric_means(visits) -> dict[bool, list[tuple[float, float, int]]]:
    """Per group, in order of time: (mean week, geometric mean in ng/mL, samples) of every visit with three or more."""
    means = {True: [], False: []}
    for groups in visits.values():
        for group, points in groups.items():
            if len(points) >= 3:
                n = len(points)
                week = math.fsum(x for x, _ in points) / n
                means[group].append((week, math.exp(math.fsum(math.log(y) for _, y in points) / n), n))
    return {group: sorted(rows) for group, rows in means.items()}


def _week(study_day: int) -> float:
    """Weeks from the first dose, which is day 1; there is no day 0."""
    return (study_day - 1 if study_day > 0 else study_day) / 7


# --- why there is nothing to draw -------------------------------------------------------------------------------------


def why_empty(published: Published, study: Study, what: str) -> str:
    """In words, the first thing that is missing on the way to a figure.

    Args:
        what: members, times, changes, her2, pairs or landmark.
    """
    treated = published.members("in_treated")
    members = published.members(study.analysis.population)
    if not published.subjects:
        return "No subject is known yet: no clinical export with subjects has been loaded."
    if not treated:
        return f"None of the {say.plural(len(published.subjects), 'known subject')} has a recorded dose of a study drug."
    if not members:
        return (f"None of the {say.plural(len(treated), 'treated patient')} belongs to the analysis population"
                f" ({say.population(study.analysis.population)}): the tumour's HER2 status is missing or not HER2-low.")  # fmt: skip
    if what in ("changes", "pairs", "times", "landmark") and not published.responses:
        return f"No tumour assessment by {study.response.evaluator.lower()} has been loaded."
    if what in ("her2", "pairs", "landmark") and not any(row.subject_id in members for row in published.her2):
        if published.her2_unusable:
            reasons = ", ".join(f"{row.reason} ({row.samples})" for row in published.her2_unusable[:5])
            return f"No serum HER2 sample of the analysis population is fit for analysis: {reasons}."
        return "No serum HER2 result has been loaded for the analysis population."
    return {
        "changes": "No patient of the analysis population has a complete sum of target diameters at baseline and afterwards.",
        "pairs": "No patient has both a change of serum HER2 and a change of the sum of diameters.",
        "landmark": "No comparison at the landmark was computed: too few patients at risk with an evaluable change in each group.",
        "times": "No survival curve was computed for the analysis population.",
    }.get(what, "There is no data for it.")  # fmt: skip


# --- drawing ----------------------------------------------------------------------------------------------------------


def _figure(name, title, columns, rows, paint, alt, legend, note, heights: dict[str, float] | None = None) -> Figure:
    drawings = {}
    for kind, (width, height) in SIZES.items():
        size = Size(kind, width, (heights or {}).get(kind, height))
        drawings[kind] = _svg(f"{name}-{kind}", size, title, alt, paint)
    return Figure(name, title, columns, rows, "", alt, legend, note, drawings)


def _svg(identity: str, size: Size, title: str, alt: str, paint: Callable[[Canvas, Size], None]) -> str:
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
    text = text[text.index("<svg"):]
    text = re.sub(r"<svg[^>]*>", f'<svg viewBox="0 0 {size.width * 72:g} {size.height * 72:g}" role="img" aria-labelledby='
                  f'"{identity}-t {identity}-d"><title id="{identity}-t">{escape(title)}</title><desc id="{identity}-d">'
                  f"{escape(alt)}</desc>", text, count=1)  # fmt: skip
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)  # it would style the whole page
    text = re.sub(r" font-family: [^;\"]*;?", "", text)  # the page's
    text = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", text)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    own = {f"{identity}-t", f"{identity}-d"}
    text = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used | own else "", text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda match: f"var(--{_VARIABLES[match[0]]})" if match[0] in _VARIABLES else match[0], text)
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def _axes(canvas: Canvas, size: Size, *, left: float, right: float, top: float, bottom: float) -> Axes:
    """Axes with margins in inches."""
    return canvas.add_axes((left / size.width, bottom / size.height, 1 - (left + right) / size.width,
                            1 - (top + bottom) / size.height))  # fmt: skip


def _depth(axes: Axes, size: Size, inches: float) -> float:
    """A distance in inches as a fraction of the axes' height."""
    return inches / (axes.get_position().height * size.height)


def _under_axis(axes: Axes, size: Size, heading: str, at: float, rows: Iterable[tuple[float, list[tuple[float, int]], str]]) -> None:
    """Lines of counts below the axis, each centred exactly under its x."""
    axes.annotate(heading, (0, _depth(axes, size, at)), (-45, 0), xycoords="axes fraction", textcoords="offset points", va="center",
                  fontsize=7.5, color=SOFT)  # fmt: skip
    for inches, counts, colour in rows:
        for x, count in counts:
            axes.text(x, _depth(axes, size, inches), say.count(count), transform=axes.get_xaxis_transform(), ha="center", va="center",
                      fontsize=7.5, color=colour)  # fmt: skip


def _bars(axes: Axes, bars: list[tuple[int, float]], colour: str, *, horizontal: bool = False, alpha: float = 1) -> None:
    """Bars from 0, a single path for all of them: thousands of elements would make the page heavy."""
    if not bars:
        return
    points, codes = [], []
    for place, length in bars:
        corners = [(place - 0.41, 0), (place - 0.41, length), (place + 0.41, length), (place + 0.41, 0), (place - 0.41, 0)]
        points += [(y, x) for x, y in corners] if horizontal else corners
        codes += [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]
    axes.add_patch(PathPatch(Outline(points, codes), facecolor=colour, linewidth=0, alpha=alpha))
    axes.autoscale_view()


def _segments(axes: Axes, segments: list[tuple[float, float, float, float]], **style) -> None:
    """Separate strokes as one path."""
    xs = [x for x1, _, x2, _ in segments for x in (x1, x2, math.nan)]
    ys = [y for _, y1, _, y2 in segments for y in (y1, y2, math.nan)]
    axes.plot(xs, ys, linestyle="-", solid_capstyle="butt", **style)


def _polylines(axes: Axes, paths: list[list[tuple[float, float]]], **style) -> None:
    """Separate lines as one path."""
    xs = [x for path in paths for x in [*(x for x, _ in path), math.nan]]
    ys = [y for path in paths for y in [*(y for _, y in path), math.nan]]
    axes.plot(xs, ys, **style)


def _thin(items: list, most: int = MOST_LINES) -> tuple[list, str]:
    """At most so many of a sorted list, evenly, and the words that say so."""
    step = math.ceil(len(items) / most)
    if step <= 1:
        return items, ""
    return items[::step], f"Every {_ordinal(step)} of {say.plural(len(items), 'patient')} is drawn; the data file holds all."


def _spaced(counts: list[tuple[float, int]], gap: float) -> list[tuple[float, int]]:
    kept: list[tuple[float, int]] = []
    for x, n in counts:
        if not kept or x - kept[-1][0] >= gap:
            kept.append((x, n))
    return kept


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ordinal(number: int) -> str:
    return {1: "", 2: "second", 3: "third"}.get(number, f"{number}th")

