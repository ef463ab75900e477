"""Swimmer plot: time on treatment with response, progression and death, a row a patient, sHER2 in a strip below it."""

from collections import defaultdict

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullLocator

from orchestration.report import drawing
from orchestration.report import wording as say
from orchestration.report.drawing import BLUE, INK, SIZES, SOFT, VERMILION, Size
from orchestration.report.figures.figure import RESPONSE_COLOURS, Figure, Mark, painted, thin, week
from orchestration.report.missing import why
from orchestration.report.published import Published, Row
from orchestration.study import Study

MOST_SWIMMERS = 60
_ROW_INCHES = 0.14
_COLUMNS = (
    "subject_id",
    "treatment_weeks",
    "response_week",
    "progression_week",
    "death_week",
    "is_ongoing",
    "confirmed_best_overall_response",
    "her2_categories",
)
_STRIP = {"FALL": (BLUE, 0.27), "STABLE": (SOFT, 0.17), "RISE": (VERMILION, 0.07)}  # colour, and height below the bar


def swimmer(published: Published, study: Study) -> Figure:
    name, title = "swimmer", "Time on treatment and course"
    members = published.members(study.analysis.population)
    best = {row.subject_id: row for row in published.best_responses}
    progression: dict[str, Row] = {}
    for row in published.responses:
        if row.overall_response == "PD":
            progression.setdefault(row.subject_id, row.assessed_on)
    changes: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for row in published.analysed:
        kind = (row.change_category or "").split("_")[0]
        if kind in _STRIP and row.study_day is not None and row.study_day > 1:
            changes[row.subject_id].append((week(row.study_day), kind))
    data = []
    for subject in published.subjects:
        if subject.subject_id in members and subject.first_dose_on is not None:
            response = best.get(subject.subject_id)
            end = subject.discontinued_on or subject.last_dose_on or subject.first_dose_on
            dates = (
                end,
                response.first_response_on if response else None,
                progression.get(subject.subject_id),
                subject.death_on,
            )
            data.append(
                (
                    subject.subject_id,
                    *(None if on is None else round((on - subject.first_dose_on).days / 7, 2) for on in dates),
                    subject.discontinued_on is None and subject.death_on is None,
                    response.confirmed_best_overall_response if response else "MISSING",
                    " ".join(f"{at:.1f}:{kind}" for at, kind in changes[subject.subject_id]),
                )
            )
    if not data:
        return Figure(name, title, _COLUMNS, missing=why(published, study, "members"))
    data.sort(key=lambda row: (-row[1], row[0]))
    drawn, thinned = thin(data, MOST_SWIMMERS)

    def paint(canvas: Canvas, size: Size) -> None:
        axes = drawing.axes(canvas, size, left=0.2, right=0.2, top=0.08, bottom=0.5)
        for code in sorted({row[6] for row in drawn}):
            bars = [(place, max(row[1], 0.3)) for place, row in enumerate(drawn) if row[6] == code]
            drawing.bars(axes, bars, RESPONSE_COLOURS[code], horizontal=True, alpha=0.55, reach=(-0.5, -0.02))
        for kind, (colour, below) in _STRIP.items():
            lengths = [
                (start, place + below, stop, place + below)
                for place, row in enumerate(drawn)
                for start, stop, found in _stretches(changes[row[0]])
                if found == kind
            ]
            drawing.segments(axes, lengths, color=colour, linewidth=1.5)
        for column, marker, colour in ((2, "^", BLUE), (3, "X", VERMILION), (4, "D", INK)):
            points = [(row[column], place - 0.26) for place, row in enumerate(drawn) if row[column] is not None]
            drawing.dots(axes, points, marker=marker, markersize=4, color=colour, markeredgewidth=0)
        going = [(row[1] + 1.2, place - 0.26) for place, row in enumerate(drawn) if row[5]]
        drawing.dots(axes, going, marker=">", markersize=3.4, color=INK, markerfacecolor="none", markeredgewidth=0.7)
        axes.set(ylim=(len(drawn), -1), xlabel="Weeks from first dose")
        axes.set_xlim(left=0)
        axes.yaxis.set_major_locator(NullLocator())
        drawing.week_ticks(axes, size)

    present = [code for code in RESPONSE_COLOURS if any(row[6] == code for row in drawn)]
    fall, rise = study.analysis.change_thresholds_pct.fall, study.analysis.change_thresholds_pct.rise
    height = _ROW_INCHES * len(drawn) + 0.75
    return painted(
        name,
        title,
        _COLUMNS,
        data,
        paint,
        alt=f"Swimmer plot of {say.plural(len(data), 'patient')}: time on treatment up to {say.fixed(data[0][1], 0)}"
        f" weeks; {sum(row[5] for row in data)} without a recorded end of treatment,"
        f" {sum(row[2] is not None for row in data)} with a response, {sum(row[3] is not None for row in data)} with"
        f" progression, {sum(row[4] is not None for row in data)} died. A strip below each bar shows the category of"
        " serum HER2.",
        legend=(
            Mark("First response", BLUE, "triangle"),
            Mark("Progression", VERMILION, "cross"),
            Mark("Death", INK, "diamond"),
            Mark("No end of treatment recorded", INK, "arrow"),
            *(Mark(f"Bar: {say.response(code)}", RESPONSE_COLOURS[code], "tint") for code in present),
            Mark(f"Strip, high: sHER2 risen by at least {rise} %", VERMILION),
            Mark("Strip, middle: sHER2 between the two", SOFT),
            Mark(f"Strip, low: sHER2 fallen by at least {fall} %", BLUE),
        ),
        note=f"n = {say.count(len(data))}, longest on treatment first. Bar: first dose to end of treatment (last dose"
        " where none is recorded), coloured by confirmed best overall response. Strip: category of serum HER2 against"
        " baseline from each sample to the next, its height saying the same as its colour; samples up to progression or"
        f" new therapy.{thinned}",
        sizes={kind: (width, height) for kind, (width, _) in SIZES.items()},
    )


def _stretches(changes: list[tuple[float, str]]) -> list[tuple[float, float, str]]:
    """From each sample to the next, the last one for a week."""
    ends = [at for at, _ in changes[1:]] + [changes[-1][0] + 1] if changes else []
    return [(start, stop, kind) for (start, kind), stop in zip(changes, ends, strict=True)]
