"""Serum HER2 over time on a log2 axis: a thin line a patient, geometric means by confirmed response."""

import math
from collections import defaultdict

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from orchestration.report import drawing
from orchestration.report import wording as say
from orchestration.report.drawing import INK, PAPER, RULE, Size
from orchestration.report.figures.figure import OTHER, RESPONDER, Figure, Mark, painted, thin, two_groups, week
from orchestration.report.missing import why
from orchestration.report.published import Published
from orchestration.study import Study

FEWEST_IN_MEAN = 3
MOST_LINES = 150
_COLUMNS = (
    "subject_id",
    "sample_id",
    "study_day",
    "visit_name",
    "analysed_value_ng_ml",
    "value_operator",
    "is_confirmed_responder",
)
_GROUPS = ((True, *RESPONDER), (False, *OTHER))


def trajectories(published: Published, study: Study) -> Figure:
    name, title = "her2_trajectories", "Serum HER2 over time"
    members = published.members(study.analysis.population)
    responders = {row.subject_id for row in published.best_responses if row.is_confirmed_responder}
    samples = [
        row
        for row in published.analysed
        if row.subject_id in members and row.study_day is not None and row.analysed_value_ng_ml > 0
    ]
    if not samples:
        return Figure(name, title, _COLUMNS, missing=why(published, study, "her2"))
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    weeks: dict[str, list[float]] = defaultdict(list)
    for row in samples:
        lines[row.subject_id].append((week(row.study_day), float(row.analysed_value_ng_ml)))
        if row.visit_name:
            weeks[row.visit_name].append(week(row.study_day))
    means = {
        group: sorted(
            (math.fsum(weeks[row.term]) / len(weeks[row.term]), float(row.estimate), int(row.n))
            for row in published.estimates
            if (row.analysis, row.statistic, row.population)
            == ("kinetics", "geometric_mean_ng_ml", study.analysis.population)
            and row.stratum == stratum
            and row.estimate is not None
            and row.n >= FEWEST_IN_MEAN
            and row.term in weeks
        )
        for group, stratum in ((True, "confirmed response"), (False, "no confirmed response"))
    }
    drawn, thinned = thin(sorted(lines), MOST_LINES)
    cutoff = study.analytes.serum_her2.cutoff_ng_ml
    lloqs = [float(row.lloq_ng_ml) for row in samples if row.lloq_ng_ml is not None]

    def paint(canvas: Canvas, size: Size) -> None:
        axes = drawing.axes(canvas, size, left=0.74, right=0.15, top=0.12, bottom=0.98)
        axes.set_yscale("log", base=2)
        last = max([x for x, *_ in means[True] + means[False]] or [max(x for line in lines.values() for x, _ in line)])
        for group, colour, _dash, _marker in _GROUPS:
            paths = [lines[subject] for subject in drawn if (subject in responders) is group]
            drawing.polylines(axes, paths, color=colour, linewidth=0.5, alpha=0.3)
        for group, colour, dash, marker in _GROUPS:
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
            low = min(low, max(lloqs) / 1.3)
            axes.axhspan(low / 4, max(lloqs), color=RULE, alpha=0.45, linewidth=0)
            axes.annotate(
                "LLOQ",
                (1, max(lloqs)),
                (-2, -2),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=7.5,
            )
        first = min(x for line in lines.values() for x, _ in line)
        axes.set(
            xlim=(max(first, -4) - 0.5, last + 1.5),
            ylim=(low, high),
            xlabel="Weeks from first dose",
            ylabel="Serum HER2 (ng/mL)",
        )
        drawing.week_ticks(axes, size)
        axes.yaxis.set_major_locator(FixedLocator([2.0**power for power in range(-4, 15)]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        # Numbers stand under the means they belong to; where they would touch, every other one is left out.
        per_inch = (axes.get_xlim()[1] - axes.get_xlim()[0]) / (size.width - 0.89)
        rows = [
            (-0.70 - 0.16 * line, _spaced([(x, n) for x, _, n in means[group]], 0.3 * per_inch), colour, dash)
            for line, (group, colour, dash, _) in enumerate(_GROUPS)
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
        (_, start, _), (at, end, _) = means[group][0], means[group][-1]
        return f"{say.fixed(start)} ng/mL at the start, {say.fixed(end)} at week {say.fixed(at, 0)}"

    limit = "the highest lower limit of quantification" if len(set(lloqs)) > 1 else "the lower limit of quantification"
    shade = (
        f" Shaded: below {limit} ({max(lloqs):g} ng/mL)." if lloqs else " No lower limit of quantification is known."
    )
    without = len(members) - len(lines)
    not_shown = f" Not shown: {say.plural(without, 'patient')} without a sample fit for analysis." if without else ""
    return painted(
        name,
        title,
        _COLUMNS,
        data,
        paint,
        alt=f"Serum HER2 by week on a logarithmic axis, {say.plural(len(lines), 'patient')},"
        f" {say.plural(len(samples), 'sample')}. Geometric mean of those with a confirmed response: {course(True)};"
        f" of the others: {course(False)}. Cut-off line at {cutoff:g} ng/mL.{shade}",
        legend=(
            *two_groups("confirmed response", numbers[True], numbers[False]),
            Mark(f"Cut-off {cutoff:g} ng/mL", INK, "dash"),
            *((Mark("Below the limit of quantification", RULE, "tint"),) if lloqs else ()),
        ),
        note=f"n = {say.count(len(lines))}, {say.plural(len(samples), 'sample')}.{not_shown} Thin lines: patients."
        f" Bold: geometric mean at the planned visits (from {FEWEST_IN_MEAN} patients on), with their number under the"
        " axis. Samples fit for analysis, up to progression or new therapy. A response is known only later than the"
        f" samples: a description, no comparison.{shade}{thinned}",
        sizes={"wide": (7.8, 4.6), "narrow": (3.7, 4.0)},
    )


def _spaced(counts: list[tuple[float, int]], gap: float) -> list[tuple[float, int]]:
    kept: list[tuple[float, int]] = []
    for x, n in counts:
        if not kept or x - kept[-1][0] >= gap:
            kept.append((x, n))
    return kept
