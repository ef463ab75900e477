"""Spider plot: change of the sum of diameters over time, a line a patient, to the first PD."""

from collections import defaultdict
from itertools import chain
from operator import attrgetter

from matplotlib.figure import Figure as Canvas

from orchestration.report import drawing
from orchestration.report import wording as say
from orchestration.report.drawing import SOFT, Size
from orchestration.report.figures.figure import (
    OTHER,
    RESPONDER,
    Figure,
    Mark,
    painted,
    sum_thresholds,
    thin,
    two_groups,
    week,
)
from orchestration.report.missing import why
from orchestration.report.published import Published, Row
from orchestration.study import Study

MOST_LINES = 150
_CEILING = 150  # percent; higher values are drawn there
_COLUMNS = ("subject_id", "study_day", "visit_name", "pct_change_from_baseline", "overall_response")


def spider(published: Published, study: Study) -> Figure:
    name, title = "spider", "Sum of target diameters over time"
    members = published.members(study.analysis.population)
    confirmed = {row.subject_id for row in published.best_responses if row.is_confirmed_responder}
    lines: dict[str, list[Row]] = defaultdict(list)
    progressed = set()
    for row in published.responses:
        if row.subject_id in members and (row.study_day or 0) > 1 and row.subject_id not in progressed:
            if row.pct_change_from_baseline is not None:
                lines[row.subject_id].append(row)
            if row.overall_response == "PD":
                progressed.add(row.subject_id)
    if not lines:
        return Figure(name, title, _COLUMNS, missing=why(published, study, "changes"))
    data = list(map(attrgetter(*_COLUMNS), chain.from_iterable(lines.values())))
    drawn, thinned = thin(sorted(lines), MOST_LINES)
    at_progression = {subject for subject, line in lines.items() if line[-1].overall_response == "PD"}

    def paint(canvas: Canvas, size: Size) -> None:
        axes = drawing.axes(canvas, size, left=0.74, right=0.5, top=0.12, bottom=0.5)
        for group, (colour, dash, marker) in ((False, OTHER), (True, RESPONDER)):
            paths = {
                subject: [(0.0, 0.0)]
                + [(week(row.study_day), min(float(row.pct_change_from_baseline), _CEILING)) for row in lines[subject]]
                for subject in drawn
                if (subject in confirmed) is group
            }
            drawing.polylines(axes, list(paths.values()), color=colour, linewidth=0.7, alpha=0.75, linestyle=dash)
            for ended, shape, points in ((False, marker, 2.6), (True, "X", 4.4)):
                ends = [path[-1] for subject, path in paths.items() if (subject in at_progression) is ended]
                drawing.dots(axes, ends, marker=shape, markersize=points, color=colour, markeredgewidth=0)
        sum_thresholds(axes, study)
        axes.axhline(0, color=SOFT, linewidth=0.7)
        axes.set(ylim=(-105, None), xlabel="Weeks from first dose", ylabel="Change from baseline (%)")
        axes.set_xlim(left=0)
        drawing.week_ticks(axes, size)
        axes.yaxis.set_major_formatter(drawing.SIGNED)

    responders = sum(subject in confirmed for subject in lines)
    without = len(members) - len(lines)
    not_shown = (
        f" {say.plural(without, 'patient')} without a complete sum after baseline {'is' if without == 1 else 'are'}"
        " not shown."
        if without
        else ""
    )
    return painted(
        name,
        title,
        _COLUMNS,
        data,
        paint,
        alt=f"Spider plot: percentage change of the sum of diameters by week for {say.plural(len(lines), 'patient')},"
        f" of whom {responders} have a confirmed response. The lines end at progression ({len(at_progression)}) or at"
        " the last complete sum.",
        legend=(
            *two_groups("confirmed response", responders, len(lines) - responders),
            Mark(f"Line ends at progression: {say.plural(len(at_progression), 'patient')}", SOFT, "cross"),
        ),
        note=f"n = {say.count(len(lines))}.{not_shown} Each line ends at progression or at the last complete sum;"
        f" values above +{_CEILING} % are drawn there.{thinned}",
    )
