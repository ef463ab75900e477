"""ROC: the early change of serum HER2 against best response, on a square, with the pre-specified cut marked."""

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter

from orchestration.report import drawing
from orchestration.report import wording as say
from orchestration.report.drawing import BLUE, INK, RULE, VERMILION, Size
from orchestration.report.figures.figure import Figure, Mark, painted
from orchestration.report.missing import why
from orchestration.report.published import Published
from orchestration.study import Study

_COLUMNS = ("endpoint", "log2_ratio_at_most", "sensitivity", "one_minus_specificity", "responders", "others")
_ENDPOINTS = {"ORR": ("is_responder", BLUE, "-"), "confirmed ORR": ("is_confirmed_responder", VERMILION, "--")}
_NAMES = {"ORR": "Response", "confirmed ORR": "Confirmed response"}


def roc(published: Published, study: Study) -> Figure:
    """The curve is the empirical one of the subjects that the published area was computed from."""
    name, title = "roc", "Early change of serum HER2 and response"
    week = study.analysis.primary_week
    changes = published.cohort.last_changes(study.analysis.landmark_day(week))
    early = published.cohort.best_responses(study.analysis.population).join(changes[["log2_ratio", "log2_baseline"]])
    early = early.dropna(subset=["log2_ratio", "log2_baseline"])
    areas, curves, cuts, data = {}, {}, {}, []
    for endpoint, (flag, *_) in _ENDPOINTS.items():
        area = published.estimate("ROC", endpoint, "auc", study.analysis.population, f"week {week}")
        if area is None or area.estimate is None:
            continue
        areas[endpoint] = area
        thresholds, curve = _curve(early["log2_ratio"].to_numpy(), early[flag].to_numpy())
        curves[endpoint] = curve
        cases = int(early[flag].sum())
        data += [
            (endpoint, threshold, y, x, cases, len(early) - cases)
            for threshold, (x, y) in zip(thresholds, curve, strict=True)
        ]
        parts = [
            published.estimate("ROC", endpoint, statistic, study.analysis.population, f"week {week}")
            for statistic in ("sensitivity", "specificity")
        ]
        if all(part is not None and part.estimate is not None for part in parts):
            cuts[endpoint] = parts
    if not areas:
        return Figure(name, title, _COLUMNS, missing=why(published, study, "roc"))
    fall = study.analysis.change_thresholds_pct.fall

    def paint(canvas: Canvas, size: Size) -> None:
        side = min(size.width - 0.89, size.height - 0.74)  # square, in inches
        left = max(0.74, (size.width - side) / 2)
        axes = drawing.axes(canvas, size, left=left, right=size.width - left - side, top=0.12, bottom=0.62)
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        for endpoint, curve in curves.items():
            _, colour, dash = _ENDPOINTS[endpoint]
            axes.plot(*zip(*curve, strict=True), color=colour, linestyle=dash, clip_on=False)
        for endpoint, (sensitivity, specificity) in cuts.items():
            axes.plot(
                [1 - specificity.estimate],
                [sensitivity.estimate],
                marker="D",
                markersize=6,
                color=_ENDPOINTS[endpoint][1],
                markeredgecolor=INK,
                markeredgewidth=0.8,
                linestyle="none",
                zorder=4,
            )
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="1 − specificity", ylabel="Sensitivity")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.0f} %"))

    def of(endpoint: str) -> str:
        area = areas[endpoint]
        limits = say.interval("auc", area.ci_low, area.ci_high)
        band = f" ({say.level(area.level)} CI {limits})" if limits else ""
        return (
            f"{_NAMES[endpoint]}: AUC {say.quantity('auc', area.estimate)}{band}; n = {say.count(area.n)},"
            f" {say.plural(area.events or 0, 'responder')}"
        )

    marked = [
        f"{_NAMES[endpoint].lower()}: sensitivity {_with_limits(sensitivity)}, specificity {_with_limits(specificity)}"
        for endpoint, (sensitivity, specificity) in cuts.items()
    ]
    at_cut = f" At a fall of at least {fall} %: {'; '.join(marked)}." if marked else ""
    without = len(published.members(study.analysis.population)) - len(early)
    return painted(
        name,
        title,
        _COLUMNS,
        data,
        paint,
        alt=f"ROC curve of the last change of serum HER2 by week {week} against best response."
        f" {'. '.join(of(endpoint) for endpoint in areas)}.{at_cut}",
        legend=(
            *(
                Mark(of(endpoint), _ENDPOINTS[endpoint][1], "line" if _ENDPOINTS[endpoint][2] == "-" else "dash")
                for endpoint in areas
            ),
            *((Mark(f"Pre-specified cut: fall of at least {fall} %", INK, "diamond"),) if marked else ()),
        ),
        note=f"A lower ratio to baseline speaks for response. Last change by study day"
        f" {study.analysis.landmark_day(week)} (week {week}); not in it: {say.plural(without, 'patient')} without an"
        f" evaluable one.{at_cut} The response may have been seen by then already: an association, no prediction.",
        sizes={"wide": (7.8, 4.2), "narrow": (3.7, 3.7)},
    )


def _curve(ratio: np.ndarray, label: np.ndarray) -> tuple[list[float | None], list[tuple[float, float]]]:
    """Each ratio as the cut (at most so much: positive), and (1 - specificity, sensitivity) there, from (0, 0)."""
    cuts = np.unique(ratio)
    cases, controls = np.sort(ratio[label]), np.sort(ratio[~label])
    y = np.searchsorted(cases, cuts, side="right") / len(cases)
    x = np.searchsorted(controls, cuts, side="right") / len(controls)
    return [None, *map(float, cuts)], [(0.0, 0.0), *zip(map(float, x), map(float, y), strict=True)]


def _with_limits(row) -> str:
    limits = say.interval(row.statistic, row.ci_low, row.ci_high)
    return say.quantity(row.statistic, row.estimate) + (f" ({limits})" if limits else "")
