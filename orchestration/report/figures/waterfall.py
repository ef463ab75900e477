"""Waterfall: best change of the sum of diameters, a bar a patient, coloured by best overall response."""

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullLocator

from orchestration.report import drawing
from orchestration.report import wording as say
from orchestration.report.drawing import INK, SOFT, Size
from orchestration.report.figures.figure import RESPONSE_COLOURS, Figure, Mark, painted, sum_thresholds, thin
from orchestration.report.missing import why
from orchestration.report.published import Published
from orchestration.study import Study

MOST_BARS = 300
_CEILING = 100  # percent; higher bars are cut there and marked
_COLUMNS = (
    "subject_id",
    "best_pct_change",
    "best_overall_response",
    "confirmed_best_overall_response",
    "has_new_lesion",
)


def waterfall(published: Published, study: Study) -> Figure:
    name, title = "waterfall", "Best change in the sum of target diameters"
    members = published.members(study.analysis.population)
    shown = sorted(
        (row for row in published.best_responses if row.subject_id in members and row.best_pct_change is not None),
        key=lambda row: (-row.best_pct_change, row.subject_id),
    )
    if not shown:
        return Figure(name, title, _COLUMNS, missing=why(published, study, "changes"))
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
    drawn, thinned = thin(data, MOST_BARS)
    counts = {code: sum(row[2] == code for row in data) for code in RESPONSE_COLOURS}
    present = [code for code, number in counts.items() if number]

    def paint(canvas: Canvas, size: Size) -> None:
        strips = [*present, *(["new"] if any(row[4] for row in drawn) else [])]
        axes = drawing.axes(canvas, size, left=0.74, right=0.5, top=0.12, bottom=0.42 + 0.13 * len(strips))
        heights = [min(float(row[1]), _CEILING) for row in drawn]
        for code in present:
            bars = [(place, height) for place, height in enumerate(heights) if drawn[place][2] == code]
            drawing.bars(axes, bars, RESPONSE_COLOURS[code])
        # the outline carries the shape where a fill is too pale for the eye or the printer
        axes.stairs(
            heights, [place - 0.5 for place in range(len(heights) + 1)], baseline=None, color=INK, linewidth=0.6
        )
        cut = [place for place, row in enumerate(drawn) if float(row[1]) > _CEILING]
        axes.plot(cut, [_CEILING + 3] * len(cut), linestyle="none", marker="^", markersize=3, color=INK, clip_on=False)
        axes.axhline(0, color=SOFT, linewidth=0.7)
        sum_thresholds(axes, study)
        axes.set(
            xlim=(-0.8, len(drawn) - 0.2),
            ylim=(-105, max(42.0, heights[0] + 8)),
            ylabel="Best change from baseline (%)",
        )
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
                color=INK,
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
    reached = sum(row[1] <= -study.response.partial_response_pct for row in data)
    new = sum(row[4] for row in data)
    summary = ", ".join(f"{code} {counts[code]}" for code in present)
    not_shown = (
        f"{say.plural(unknown, 'patient is', 'patients are')} not shown: no target lesion, or no complete sum after"
        " baseline."
        if unknown
        else "All patients are shown."
    )
    return painted(
        name,
        title,
        _COLUMNS,
        data,
        paint,
        alt=f"Waterfall of the best change in the sum of diameters of {say.plural(len(data), 'patient')}: from"
        f" {say.fixed(data[0][1])} % to {say.fixed(data[-1][1])} %; {reached} reached"
        f" −{study.response.partial_response_pct} % or less. By best overall response: {summary}. With a new lesion:"
        f" {new}. {not_shown}",
        legend=tuple(
            Mark(f"{code}, {say.response(code)}: {say.count(counts[code])}", RESPONSE_COLOURS[code], "block")
            for code in present
        ),
        note=f"n = {say.count(len(data))}. {not_shown} Colour and strips: best overall response before confirmation;"
        f" the last strip marks the {say.plural(new, 'patient')} with a new lesion at any time. Lines:"
        f" +{study.response.progression_pct} % and −{study.response.partial_response_pct} %."
        f"{' Bars above +100 % are cut (triangle).' if data[0][1] > _CEILING else ''}{thinned}",
    )
