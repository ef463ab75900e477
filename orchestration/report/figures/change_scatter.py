"""Best change of serum HER2 against best change of the sum of diameters, a point a patient."""

import math

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from orchestration.report import drawing
from orchestration.report import wording as say
from orchestration.report.drawing import RULE, Size
from orchestration.report.figures.figure import OTHER, RESPONDER, Figure, painted, thin, two_groups
from orchestration.report.missing import why
from orchestration.report.published import Published
from orchestration.study import Study

MOST_POINTS = 600
_HIGHEST = {"serum": 200, "sum": 100}  # percent; higher values are drawn there
_COLUMNS = ("subject_id", "best_her2_pct_change", "best_sum_pct_change", "is_confirmed_responder")


def change_scatter(published: Published, study: Study) -> Figure:
    name, title = "her2_vs_sum", "Best change: serum HER2 and tumour"
    members = published.members(study.analysis.population)
    lowest: dict[str, float] = {}
    for row in published.analysed:
        if row.pct_change is not None and row.study_day is not None and row.study_day > 1:
            lowest[row.subject_id] = min(lowest.get(row.subject_id, math.inf), row.pct_change)
    data = [
        (row.subject_id, lowest[row.subject_id], row.best_pct_change, row.is_confirmed_responder)
        for row in published.best_responses
        if row.subject_id in members and row.subject_id in lowest and row.best_pct_change is not None
    ]
    if not data:
        return Figure(name, title, _COLUMNS, missing=why(published, study, "pairs"))
    rho = published.estimate("correlation", "best change", "spearman_rho", study.analysis.population)
    numbers = ""
    if rho and rho.estimate is not None:
        numbers = (
            f" Spearman ρ {say.quantity('spearman_rho', rho.estimate)} ({say.level(rho.level)} CI"
            f" {say.interval('spearman_rho', rho.ci_low, rho.ci_high)}; n = {say.count(rho.n)})."
        )
    drawn, thinned = thin(data, MOST_POINTS)

    def paint(canvas: Canvas, size: Size) -> None:
        axes = drawing.axes(canvas, size, left=0.74, right=0.15, top=0.24, bottom=0.5)
        for group, (colour, _, marker) in ((False, OTHER), (True, RESPONDER)):
            points = [
                (min(float(row[1]), _HIGHEST["serum"]), min(float(row[2]), _HIGHEST["sum"]))
                for row in drawn
                if row[3] is group
            ]
            drawing.dots(axes, points, marker=marker, markersize=3.4, color=colour, alpha=0.8, markeredgewidth=0)
        axes.axhline(0, color=RULE, linewidth=0.7, zorder=0)
        axes.axvline(0, color=RULE, linewidth=0.7, zorder=0)
        axes.set(xlabel="Best change of serum HER2 (%)", ylabel="Best change of the sum (%)")
        axes.xaxis.set_major_formatter(drawing.SIGNED)
        axes.yaxis.set_major_formatter(drawing.SIGNED)
        axes.xaxis.set_major_locator(MaxNLocator(8 if size.is_wide else 5))
        if rho and rho.estimate is not None:
            axes.annotate(
                f"ρ = {say.quantity('spearman_rho', rho.estimate)}"
                f" ({say.interval('spearman_rho', rho.ci_low, rho.ci_high)})",
                (0, 1),
                (4, 3),
                xycoords="axes fraction",
                textcoords="offset points",
                va="bottom",
            )

    responders = sum(row[3] for row in data)
    without = len(members) - len(data)
    not_shown = f" Not shown: {say.plural(without, 'patient')} without both changes." if without else ""
    cut = sum(row[1] > _HIGHEST["serum"] or row[2] > _HIGHEST["sum"] for row in data)
    beyond = (
        f" {say.plural(cut, 'value')} above +{_HIGHEST['serum']} % (serum) or +{_HIGHEST['sum']} % (sum)"
        f" {'is' if cut == 1 else 'are'} drawn there."
        if cut
        else ""
    )
    return painted(
        name,
        title,
        _COLUMNS,
        data,
        paint,
        alt="Scatter of the best change of serum HER2 against the best change of the sum of diameters,"
        f" {say.plural(len(data), 'patient')}.{numbers}",
        legend=two_groups("confirmed response", responders, len(data) - responders),
        note=f"n = {say.count(len(data))}, one point a patient.{not_shown}{numbers}{beyond}{thinned}",
    )
