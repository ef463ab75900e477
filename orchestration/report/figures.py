"""The figures: rows of the published warehouse in, inline SVG, words and the data behind it out.

How lines get on paper belongs in drawing.py, the wording of the page in page.py, statistics in efficacy/.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from orchestration.report import drawing
from orchestration.report import wording as say
from orchestration.report.drawing import BLUE, INK, ORANGE, PAPER, PURPLE, RULE, SIZES, SKY, SOFT, VERMILION, Size
from orchestration.report.missing import why
from orchestration.report.published import Published, Row
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
_RESPONDER = (BLUE, "-", "o")
_OTHER = (VERMILION, "--", "s")


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


# --- Kaplan-Meier -----------------------------------------------------------------------------------------------------

_CURVE_COLUMNS = (
    "endpoint",
    "population",
    "stratum",
    "time_months",
    "survival",
    "ci_low",
    "ci_high",
    "at_risk",
    "events",
    "censored",
)


def kaplan_meier(published: Published, study: Study, endpoint: str) -> Figure:
    """One endpoint in the analysis population: steps, censor ticks, log-log band, number at risk under its ticks."""
    name = f"kaplan_meier_{endpoint.lower()}"
    title = {"PFS": "Progression-free survival", "OS": "Overall survival"}[endpoint]
    population = study.analysis.population
    curve = published.curve(endpoint, population)
    if not curve:
        return Figure(
            name,
            title,
            _CURVE_COLUMNS,
            missing=why(published, study, "times" if endpoint == "PFS" else "members"),
        )
    median = published.estimate("survival", endpoint, "median_months", population)
    label = f"{say.capital(say.population(population))}: {_median_text(median)}"
    return _survival_figure(
        name,
        title,
        [(label, curve, BLUE, "-")],
        {"PFS": "Alive without progression", "OS": "Alive"}[endpoint],
        "Months from first dose" if study.endpoints.start == "first_dose" else "Months from enrolment",
        study,
        f"Kaplan-Meier estimate of {title.lower()}. {label}. {_rates_text(published, study, endpoint)}",
    )


def landmark_curves(published: Published, study: Study) -> Figure:
    """PFS after the primary landmark by an early fall of serum HER2."""
    week = int(study.analysis.primary.rsplit("_", 1)[1])
    name, title = "landmark_pfs", f"PFS after week {week} by early fall of serum HER2"
    strata = sorted(
        {row.stratum for row in published.curves if row.endpoint == "PFS" and row.stratum.startswith(f"week {week}:")}
    )
    populations = sorted({row.population for row in published.curves if row.stratum in strata})
    if not strata:
        return Figure(name, title, _CURVE_COLUMNS, missing=why(published, study, "landmark"))
    population = study.analysis.population if study.analysis.population in populations else populations[0]
    fall = study.analysis.change_thresholds_pct.fall
    groups = []
    for stratum in strata:
        colour, dash, _ = _OTHER if ": no" in stratum else _RESPONDER
        curve = published.curve("PFS", population, stratum)
        median = published.estimate("landmark", "PFS", "median_months", population, stratum)
        numbers = _median_text(median) if median else f"n = {at_risk(curve, 0)}"
        group = f"Fall of at least {fall} %" if colour == BLUE else f"No fall of at least {fall} %"
        groups.append((f"{group}: {numbers}", curve, colour, dash))
    test = published.estimate("landmark", "PFS", "logrank_p", population, f"week {week}")
    p = f" Log-rank p {say.relation(test.p_value)}." if test and test.p_value is not None else ""
    return _survival_figure(
        name,
        title,
        groups,
        "Alive without progression",
        f"Months from the landmark (week {week}, study day {landmark_day(study, week)})",
        study,
        f"Kaplan-Meier estimate of progression-free survival after week {week} in patients then at risk. "
        + ". ".join(label for label, *_ in groups)
        + f".{p}",
        f"The clock starts at the landmark; who had progressed, died or left before is not shown.{p} An association: a"
        " single arm cannot show that a marker is predictive.",
    )


def landmark_day(study: Study, week: int) -> int:
    return 7 * week + study.analysis.landmark_grace_days


def _survival_figure(name, title, groups, y_label, x_label, study, alt, note="") -> Figure:
    rows = [tuple(getattr(row, column) for column in _CURVE_COLUMNS) for _, curve, *_ in groups for row in curve]

    def paint(canvas: Canvas, size: Size) -> None:
        last = max(float(curve[-1].time_months) for _, curve, *_ in groups)
        ticks = _month_ticks(last, 12 if size.is_wide else 6)
        lines = len(groups)
        axes = drawing.axes(canvas, size, left=0.74, right=0.15, top=0.12, bottom=0.66 + 0.17 * lines)
        for _, curve, colour, dash in groups:
            times = [0.0] + [float(row.time_months) for row in curve]
            heights = [1.0] + [float(row.survival) for row in curve]
            axes.plot(times, heights, drawstyle="steps-post", color=colour, linestyle=dash, solid_joinstyle="miter")
            bounded = [row for row in curve if row.ci_low is not None and row.ci_high is not None]
            axes.fill_between(
                [0.0] + [float(row.time_months) for row in bounded],
                [1.0] + [float(row.ci_low) for row in bounded],
                [1.0] + [float(row.ci_high) for row in bounded],
                step="post",
                color=colour,
                alpha=0.14,
                linewidth=0,
            )
            censored = [row for row in curve if row.censored]
            drawing.segments(
                axes,
                [
                    (float(r.time_months), float(r.survival) - 0.018, float(r.time_months), float(r.survival) + 0.018)
                    for r in censored
                ],
                color=colour,
                linewidth=1,
            )
        axes.set(xlim=(0, max(last, ticks[-1]) * 1.01), ylim=(0, 1.02), xlabel=x_label, ylabel=y_label)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.0f} %"))
        axes.axhline(0.5, color=RULE, linewidth=0.7, linestyle=(0, (2, 2)), zorder=0)
        below = [
            (-0.72 - 0.17 * line, [(tick, at_risk(curve, tick)) for tick in ticks], colour, dash)
            for line, (_, curve, colour, dash) in enumerate(groups)
        ]
        drawing.under_axis(axes, size, "At risk", -0.55, below)

    shapes = {"-": "line", "--": "dash"}
    legend = tuple(Mark(label, colour, shapes[dash]) for label, _, colour, dash in groups)
    return _figure(
        name,
        title,
        _CURVE_COLUMNS,
        rows,
        paint,
        alt,
        legend,
        f"Steps: Kaplan-Meier estimate. Band: {say.level(study.analysis.level)} confidence limits (log-log)."
        f" Short strokes: censored. {note}".strip(),
    )


def at_risk(curve: list[Row], time: float) -> int:
    """Patients whose time is at least ``time`` months: as at the first later point, since nobody leaves between."""
    return next((int(row.at_risk) for row in curve if float(row.time_months) >= time), 0)


def _month_ticks(last: float, most: int) -> list[int]:
    step = next(step for step in (1, 2, 3, 6, 12, 24, 48, 96, 1200) if last / step < most)
    return list(range(0, int(last) + 1, step))


def _median_text(row: Row | None) -> str:
    if row is None:
        return "median not computed"
    value = (
        "median not reached" if row.estimate is None else f"median {say.quantity('median_months', row.estimate)} months"
    )
    limits = say.interval("median_months", row.ci_low, row.ci_high)
    band = f" ({say.level(row.level)} CI {limits})" if limits else ""
    return f"{value}{band}; n = {say.count(row.n)}, {say.plural(row.events or 0, 'event')}"


def _rates_text(published: Published, study: Study, endpoint: str) -> str:
    rates = [
        (month, published.estimate("survival", endpoint, f"rate_{month}m", study.analysis.population))
        for month in study.analysis.km_months
    ]
    known = [
        f"{say.percent(row.estimate)} % at {month} months" for month, row in rates if row and row.estimate is not None
    ]
    return f"Rates: {', '.join(known)}." if known else ""


# --- tumour -----------------------------------------------------------------------------------------------------------

MOST_BARS = 300


def waterfall(published: Published, study: Study) -> Figure:
    """Best change of the sum of diameters, a bar a patient, coloured by best overall response."""
    name, title = "waterfall", "Best change in the sum of target diameters"
    columns = (
        "subject_id",
        "best_pct_change",
        "best_overall_response",
        "confirmed_best_overall_response",
        "has_new_lesion",
    )
    members = published.members(study.analysis.population)
    rows = [row for row in published.best_responses if row.subject_id in members]
    shown = sorted(
        (row for row in rows if row.best_pct_change is not None), key=lambda row: (-row.best_pct_change, row.subject_id)
    )
    if not shown:
        return Figure(name, title, columns, missing=why(published, study, "changes"))
    with_new_lesion = {row.subject_id for row in published.responses if row.new_lesion == "YES"}
    data = [
        (
            row.subject_id,
            row.best_pct_change,
            row.best_overall_response,
            row.confirmed_best_overall_response,
            row.subject_id in with_new_lesion,
        )
        for row in shown
    ]
    drawn, thinned = _thin(data, MOST_BARS)
    present = [code for code in RESPONSE_COLOURS if any(row[2] == code for row in data)]
    counts = {code: sum(row[2] == code for row in data) for code in RESPONSE_COLOURS}

    def paint(canvas: Canvas, size: Size) -> None:
        strips = [*present, *(["new"] if any(row[4] for row in drawn) else [])]
        axes = drawing.axes(canvas, size, left=0.74, right=0.5, top=0.12, bottom=0.42 + 0.13 * len(strips))
        ceiling = 100
        for code in present:
            bars = [(place, min(float(row[1]), ceiling)) for place, row in enumerate(drawn) if row[2] == code]
            drawing.bars(axes, bars, RESPONSE_COLOURS[code])
        cut = [place for place, row in enumerate(drawn) if float(row[1]) > ceiling]
        axes.plot(cut, [ceiling + 3] * len(cut), linestyle="none", marker="^", markersize=3, color=INK, clip_on=False)
        axes.axhline(0, color=SOFT, linewidth=0.7)
        _thresholds(axes, study)
        top = max(42.0, min(max(float(row[1]) for row in drawn) + 8, ceiling + 8))
        axes.set(xlim=(-0.8, len(drawn) - 0.2), ylim=(-105, top), ylabel="Best change from baseline (%)")
        axes.xaxis.set_major_locator(NullLocator())
        axes.spines["bottom"].set_visible(False)
        axes.yaxis.set_major_formatter(drawing.SIGNED)
        for line, code in enumerate(strips):
            depth = drawing.depth(axes, size, -0.14 - 0.13 * line)
            half = drawing.depth(axes, size, 0.045)
            marked = [place for place, row in enumerate(drawn) if (row[4] if code == "new" else row[2] == code)]
            drawing.segments(
                axes,
                [(place, depth - half, place, depth + half) for place in marked],
                transform=axes.get_xaxis_transform(),
                color=RESPONSE_COLOURS.get(code, INK),
                linewidth=min(2.6, 200 / len(drawn) * size.width / 7.8),
                clip_on=False,
            )
            label = {"NON-CR/NON-PD": "non-CR/PD", "new": "new lesion"}.get(code, code)
            axes.annotate(
                label,
                (0, depth),
                (-5, 0),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=7,
            )
        axes.annotate(
            "Patients, in order of change",
            (0.5, 0),
            (0, -(0.30 + 0.13 * len(strips)) * 72),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            va="bottom",
        )

    unknown = len(members) - len(data)
    reach = sum(row[1] <= -study.response.partial_response_pct for row in data)
    summary = ", ".join(f"{code} {number}" for code, number in counts.items() if number)
    not_shown = (
        f"{say.plural(unknown, 'patient is', 'patients are')} not shown: no target lesion, or no complete sum after"
        " baseline."
        if unknown
        else "All patients are shown."
    )
    return _figure(
        name,
        title,
        columns,
        data,
        paint,
        f"Waterfall of the best change in the sum of diameters of {say.plural(len(data), 'patient')}: from "
        f"{say.fixed(data[0][1])} % to {say.fixed(data[-1][1])} %; {reach} reached"
        f" −{study.response.partial_response_pct} % or less. By best overall response: {summary}. {not_shown}",
        tuple(
            Mark(f"{code}, {say.response(code)}: {say.count(counts[code])}", RESPONSE_COLOURS[code], "block")
            for code in present
        ),
        f"n = {say.count(len(data))}. {not_shown} Colour and strip: best overall response before confirmation; the last"
        f" strip marks patients with a new lesion. Lines: +{study.response.progression_pct} % and"
        f" −{study.response.partial_response_pct} %."
        f"{' Bars above +100 % are cut (triangle).' if data[0][1] > 100 else ''}{thinned}",
    )


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
        if (
            row.subject_id in members
            and row.study_day is not None
            and row.study_day > 1
            and row.subject_id not in progressed
        ):
            if row.pct_change_from_baseline is not None:
                lines[row.subject_id].append(row)
            if row.overall_response == "PD":
                progressed.add(row.subject_id)
    if not lines:
        return Figure(name, title, columns, missing=why(published, study, "changes"))
    data = [tuple(getattr(row, column) for column in columns) for line in lines.values() for row in line]
    drawn, thinned = _thin(sorted(lines))

    def paint(canvas: Canvas, size: Size) -> None:
        axes = drawing.axes(canvas, size, left=0.74, right=0.5, top=0.12, bottom=0.5)
        ceiling = 150
        for group, (colour, dash, marker) in ((False, _OTHER), (True, _RESPONDER)):
            paths = [
                [(0.0, 0.0)]
                + [(_week(row.study_day), min(float(row.pct_change_from_baseline), ceiling)) for row in lines[subject]]
                for subject in drawn
                if (subject in confirmed) is group
            ]
            drawing.polylines(axes, paths, color=colour, linewidth=0.7, alpha=0.75, linestyle=dash)
            ends = [path[-1] for path in paths]
            drawing.dots(axes, ends, marker=marker, markersize=2.6, color=colour)
        _thresholds(axes, study)
        axes.axhline(0, color=SOFT, linewidth=0.7)
        axes.set(ylim=(-105, None), xlabel="Weeks from first dose", ylabel="Change from baseline (%)")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(9 if size.is_wide else 5, steps=[1, 1.2, 2.4, 6, 10], integer=True))
        axes.yaxis.set_major_formatter(drawing.SIGNED)

    responders = sum(subject in confirmed for subject in lines)
    return _figure(
        name,
        title,
        columns,
        data,
        paint,
        f"Spider plot: percentage change of the sum of diameters by week for {say.plural(len(lines), 'patient')}, of"
        f" whom {responders} have a confirmed response. The lines end at progression or the last complete sum.",
        _two_groups("confirmed response", responders, len(lines) - responders),
        f"n = {say.count(len(lines))}. Each line ends at progression or at the last complete sum; values above +150 %"
        f" are drawn there.{thinned}",
    )


MOST_SWIMMERS = 60


def swimmer(published: Published, study: Study) -> Figure:
    """Time on treatment with response, progression and death, a row a patient."""
    name, title = "swimmer", "Time on treatment and course"
    columns = (
        "subject_id",
        "treatment_weeks",
        "response_week",
        "progression_week",
        "death_week",
        "is_ongoing",
        "confirmed_best_overall_response",
    )
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
            data.append(
                (
                    subject.subject_id,
                    *(
                        None if on is None else round((on - subject.first_dose_on).days / 7, 2)
                        for on in (
                            end,
                            response.first_response_on if response else None,
                            progression.get(subject.subject_id),
                            subject.death_on,
                        )
                    ),
                    subject.discontinued_on is None and subject.death_on is None,
                    response.confirmed_best_overall_response if response else "MISSING",
                )
            )
    if not data:
        return Figure(name, title, columns, missing=why(published, study, "members"))
    data.sort(key=lambda row: (-row[1], row[0]))
    drawn, thinned = _thin(data, MOST_SWIMMERS)

    def paint(canvas: Canvas, size: Size) -> None:
        axes = drawing.axes(canvas, size, left=0.2, right=0.2, top=0.08, bottom=0.5)
        for code in sorted({row[6] for row in drawn}):
            drawing.bars(
                axes,
                [(place, max(row[1], 0.3)) for place, row in enumerate(drawn) if row[6] == code],
                RESPONSE_COLOURS[code],
                horizontal=True,
                alpha=0.55,
            )
        for column, marker, colour in ((2, "^", BLUE), (3, "X", VERMILION), (4, "D", INK)):
            points = [(row[column], place) for place, row in enumerate(drawn) if row[column] is not None]
            drawing.dots(axes, points, marker=marker, markersize=3.6, color=colour, markeredgewidth=0)
        going = [(row[1], place) for place, row in enumerate(drawn) if row[5]]
        axes.plot(
            [x + 1.2 for x, _ in going],
            [y for _, y in going],
            linestyle="none",
            marker=">",
            markersize=3.4,
            color=INK,
            markerfacecolor="none",
            markeredgewidth=0.7,
        )
        axes.set(ylim=(len(drawn), -1), xlabel="Weeks from first dose")
        axes.set_xlim(left=0)
        axes.yaxis.set_major_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(9 if size.is_wide else 5, steps=[1, 1.2, 2.4, 6, 10], integer=True))

    ongoing = sum(row[5] for row in data)
    present = [code for code in RESPONSE_COLOURS if any(row[6] == code for row in drawn)]
    return _figure(
        name,
        title,
        columns,
        data,
        paint,
        f"Swimmer plot of {say.plural(len(data), 'patient')}: time on treatment up to {say.fixed(data[0][1], 0)} weeks;"
        f" {ongoing} without a recorded end of treatment, {sum(row[2] is not None for row in data)} with a response, "
        f"{sum(row[3] is not None for row in data)} with progression, {sum(row[4] is not None for row in data)} died.",
        (
            Mark("First response", BLUE, "triangle"),
            Mark("Progression", VERMILION, "cross"),
            Mark("Death", INK, "diamond"),
            Mark("No end of treatment recorded", INK, "arrow"),
            *(Mark(f"Bar: {say.response(code)}", RESPONSE_COLOURS[code], "tint") for code in present),
        ),
        f"n = {say.count(len(data))}. Bar: first dose to end of treatment (last dose where none is recorded), coloured"
        f" by confirmed best overall response.{thinned}",
        {"wide": 0.075 * len(drawn) + 0.75, "narrow": 0.075 * len(drawn) + 0.75},
    )


# --- serum HER2 -------------------------------------------------------------------------------------------------------


FEWEST_IN_MEAN = 3


def trajectories(published: Published, study: Study) -> Figure:
    """Serum HER2 over time on a log2 axis: a thin line a patient, geometric means by confirmed response."""
    name, title = "her2_trajectories", "Serum HER2 over time"
    columns = (
        "subject_id",
        "sample_id",
        "study_day",
        "visit_name",
        "analysed_value_ng_ml",
        "value_operator",
        "is_confirmed_responder",
    )
    members = published.members(study.analysis.population)
    responders = {row.subject_id for row in published.best_responses if row.is_confirmed_responder}
    samples = [
        row
        for row in published.her2
        if row.subject_id in members and row.study_day is not None and row.analysed_value_ng_ml > 0
    ]
    if not samples:
        return Figure(name, title, columns, missing=why(published, study, "her2"))
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    weeks: dict[str, list[float]] = defaultdict(list)
    for row in samples:
        lines[row.subject_id].append((_week(row.study_day), float(row.analysed_value_ng_ml)))
        if row.visit_name:
            weeks[row.visit_name].append(_week(row.study_day))
    means = {
        group: sorted(
            (math.fsum(weeks[row.term]) / len(weeks[row.term]), float(row.estimate), int(row.n))
            for row in published.estimates
            if (row.analysis, row.statistic, row.population)
            == ("kinetics", "geometric_mean_ng_ml", study.analysis.population)
            and row.stratum == name
            and row.estimate is not None
            and row.n >= FEWEST_IN_MEAN
            and row.term in weeks
        )
        for group, name in ((True, "confirmed response"), (False, "no confirmed response"))
    }
    drawn, thinned = _thin(sorted(lines))
    cutoff = study.analytes.serum_her2.cutoff_ng_ml
    lloqs = [float(row.lloq_ng_ml) for row in samples if row.lloq_ng_ml is not None]
    groups = ((True, *_RESPONDER), (False, *_OTHER))

    def paint(canvas: Canvas, size: Size) -> None:
        axes = drawing.axes(canvas, size, left=0.74, right=0.15, top=0.12, bottom=0.98)
        axes.set_yscale("log", base=2)
        last = max([x for x, *_ in means[True] + means[False]] or [max(x for line in lines.values() for x, _ in line)])
        for group, colour, _dash, _marker in groups:
            drawing.polylines(
                axes,
                [lines[subject] for subject in drawn if (subject in responders) is group],
                color=colour,
                linewidth=0.5,
                alpha=0.3,
            )
        for group, colour, dash, marker in groups:
            if means[group]:
                xs, ys, _ = zip(*means[group], strict=True)
                axes.plot(xs, ys, color=PAPER, linewidth=4.5, zorder=3)
                axes.plot(xs, ys, color=colour, linestyle=dash, linewidth=2.2, marker=marker, markersize=4.5, zorder=4)
        axes.axhline(cutoff, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(
            f"{cutoff:g} ng/mL",
            (1, cutoff),
            (-2, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=7.5,
        )
        values = [y for line in lines.values() for _, y in line]
        low, high = min([*values, cutoff]) / 1.15, max([*values, cutoff]) * 1.15
        if lloqs:
            axes.axhspan(low / 4, max(lloqs), color=RULE, alpha=0.45, linewidth=0)
            low = min(low, max(lloqs) / 1.15)
        first = min(x for line in lines.values() for x, _ in line)
        axes.set(
            xlim=(max(first, -4) - 0.5, last + 1.5),
            ylim=(low, high),
            xlabel="Weeks from first dose",
            ylabel="Serum HER2 (ng/mL)",
        )
        axes.xaxis.set_major_locator(MaxNLocator(9 if size.is_wide else 5, steps=[1, 1.2, 2.4, 6, 10], integer=True))
        axes.yaxis.set_major_locator(FixedLocator([2.0**power for power in range(-4, 15)]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        # Numbers stand under the means they belong to; where they would touch, every other one is left out.
        per_inch = (axes.get_xlim()[1] - axes.get_xlim()[0]) / (size.width - 0.89)
        rows = [
            (-0.70 - 0.16 * line, _spaced([(x, n) for x, _, n in means[group]], 0.3 * per_inch), colour, dash)
            for line, (group, colour, dash, _) in enumerate(groups)
        ]
        drawing.under_axis(axes, size, "Patients in the mean", -0.54, rows)

    numbers = {
        group: len({row.subject_id for row in samples if (row.subject_id in responders) is group})
        for group in (True, False)
    }
    data = [
        (
            row.subject_id,
            row.sample_id,
            row.study_day,
            row.visit_name,
            row.analysed_value_ng_ml,
            row.value_operator,
            row.subject_id in responders,
        )
        for row in samples
    ]

    def course(group: bool) -> str:
        if not means[group]:
            return "no visit with enough samples"
        (_, start, _), (week, end, _) = means[group][0], means[group][-1]
        return f"{say.fixed(start)} ng/mL at the start, {say.fixed(end)} at week {say.fixed(week, 0)}"

    limit = "the highest lower limit of quantification" if len(set(lloqs)) > 1 else "the lower limit of quantification"
    shade = f" Shaded: below {limit} ({max(lloqs):g} ng/mL)." if lloqs else ""
    return _figure(
        name,
        title,
        columns,
        data,
        paint,
        f"Serum HER2 by week on a logarithmic axis, {say.plural(len(lines), 'patient')},"
        f" {say.plural(len(samples), 'sample')}. Geometric mean of those with a confirmed response: {course(True)};"
        f" of the others: {course(False)}. Cut-off line at {cutoff:g} ng/mL.",
        _two_groups("confirmed response", numbers[True], numbers[False]),
        f"Thin lines: patients. Bold: geometric mean at the planned visits (from {FEWEST_IN_MEAN} patients on), with"
        " their number under the axis. Samples fit for analysis, up to progression or new therapy. A response is known"
        f" only later than the samples: a description, no comparison.{shade}{thinned}",
        {"wide": 4.6, "narrow": 4.0},
    )


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
        (row.subject_id, lowest[row.subject_id], row.best_pct_change, row.is_confirmed_responder)
        for row in published.best_responses
        if row.subject_id in members and row.subject_id in lowest and row.best_pct_change is not None
    ]
    if not data:
        return Figure(name, title, columns, missing=why(published, study, "pairs"))
    rho = published.estimate("correlation", "best change", "spearman_rho", study.analysis.population)
    numbers = ""
    if rho and rho.estimate is not None:
        numbers = (
            f" Spearman ρ {say.quantity('spearman_rho', rho.estimate)} ({say.level(rho.level)} CI "
            f"{say.interval('spearman_rho', rho.ci_low, rho.ci_high)}; n = {say.count(rho.n)})."
        )
    drawn, thinned = _thin(data, 600)

    def paint(canvas: Canvas, size: Size) -> None:
        axes = drawing.axes(canvas, size, left=0.74, right=0.15, top=0.12, bottom=0.5)
        for group, (colour, _, marker) in ((False, _OTHER), (True, _RESPONDER)):
            points = [(min(float(row[1]), 200), min(float(row[2]), 100)) for row in drawn if row[3] is group]
            drawing.dots(axes, points, marker=marker, markersize=3.4, color=colour, alpha=0.8, markeredgewidth=0)
        axes.axhline(0, color=RULE, linewidth=0.7, zorder=0)
        axes.axvline(0, color=RULE, linewidth=0.7, zorder=0)
        axes.set(xlabel="Best change of serum HER2 (%)", ylabel="Best change of the sum (%)")
        axes.xaxis.set_major_formatter(drawing.SIGNED)
        axes.yaxis.set_major_formatter(drawing.SIGNED)
        axes.xaxis.set_major_locator(MaxNLocator(8 if size.is_wide else 5))

    responders = sum(row[3] for row in data)
    return _figure(
        name,
        title,
        columns,
        data,
        paint,
        "Scatter of the best change of serum HER2 against the best change of the sum of diameters,"
        f" {say.plural(len(data), 'patient')}.{numbers}",
        _two_groups("confirmed response", responders, len(data) - responders),
        f"n = {say.count(len(data))}, one point a patient.{numbers} Values above +200 % (serum) and +100 % (sum) are"
        f" drawn there.{thinned}",
    )


def _thresholds(axes: Axes, study: Study) -> None:
    """Lines at the changes that mean progression and partial response."""
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


def _two_groups(name: str, yes: int, no: int) -> tuple[Mark, Mark]:
    return (
        Mark(f"{say.capital(name)}: {say.plural(yes, 'patient')}", BLUE, "dot"),
        Mark(f"No {name}: {say.plural(no, 'patient')}", VERMILION, "square"),
    )


def _week(study_day: int) -> float:
    """Weeks from the first dose, which is day 1; there is no day 0."""
    return (study_day - 1 if study_day > 0 else study_day) / 7


# --- drawing ----------------------------------------------------------------------------------------------------------


def _figure(name, title, columns, rows, paint, alt, legend, note, heights: dict[str, float] | None = None) -> Figure:
    drawings = {}
    for kind, (width, height) in SIZES.items():
        size = Size(kind, width, (heights or {}).get(kind, height))
        drawings[kind] = drawing.svg(f"{name}-{kind}", size, title, alt, paint)
    return Figure(name, title, columns, rows, "", alt, legend, note, drawings)


def _thin(items: list, most: int = MOST_LINES) -> tuple[list, str]:
    """At most so many of an ordered list, evenly, and the words that say so."""
    step = math.ceil(len(items) / most)
    if step <= 1:
        return items, ""
    words = f" Every {say.ordinal(step)} of {say.plural(len(items), 'patient')} is drawn; the data file holds all."
    return items[::step], words


def _spaced(counts: list[tuple[float, int]], gap: float) -> list[tuple[float, int]]:
    kept: list[tuple[float, int]] = []
    for x, n in counts:
        if not kept or x - kept[-1][0] >= gap:
            kept.append((x, n))
    return kept
