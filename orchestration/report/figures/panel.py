"""One patient: lesions stacked with their sum and nadir above serum HER2, on one axis of weeks.

Hundreds of these stand on one page, so that they are written as SVG directly: a few kilobytes and a fraction of a
millisecond each, styled by the page. Coordinates are points of a drawing of 460 by 334.
"""

import math
from collections.abc import Iterator
from xml.sax.saxutils import escape

from orchestration.report import wording as say
from orchestration.report.drawing import BLUE, INK, PURPLE, RULE, SOFT, VERMILION
from orchestration.report.figures.figure import Mark, week
from orchestration.report.patients import Patient
from orchestration.report.published import Row
from orchestration.study import Study

WIDTH, HEIGHT = 460, 334
_LEFT, _RIGHT = 42, 448
_TUMOUR = (44, 150)  # top and bottom of the plots
_DOSES = (160, 168)
_SERUM = (196, 296)
_TINTS = (0.85, 0.6, 0.4, 0.25, 0.12)  # of the lesions, from the axis up; a sixth begins again

LEGEND = (
    Mark("Target lesions, stacked; open: not all measured", BLUE, "tint"),
    Mark("Sum of diameters", INK),
    Mark("Nadir before the scan", SOFT, "dash"),
    Mark("New lesion", VERMILION, "triangle"),
    Mark("First progression", VERMILION),
    Mark("New anticancer therapy", PURPLE, "dash"),
    Mark("Death", INK, "block"),
    Mark("Serum HER2; open: not analysed", BLUE, "dot"),
    Mark("Below the limit of quantification", RULE, "tint"),
)


def panel(patient: Patient, identity: str, study: Study) -> str:
    """An inline <svg role="img"> of one patient; identity makes its ids unique on the page."""
    weeks = _Weeks(patient)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{identity}-t {identity}-d">',
        f'<title id="{identity}-t">{escape(patient.name)}: tumour and serum HER2 over time</title>',
        f'<desc id="{identity}-d">{escape(described(patient))}</desc>',
        *_axis(weeks),
        *_events(patient, weeks),
        *_tumour(patient, weeks),
        *_doses(patient, weeks),
        *_serum(patient, weeks, study),
        "</svg>",
    ]
    return "".join(parts)


def described(patient: Patient) -> str:
    """The numbers of the drawing in words."""
    sums = [
        f"week {say.fixed(week(read.study_day), 0)}: {say.fixed(read.sum_of_diameters_mm)}"
        f"{f' ({read.overall_response})' if read.overall_response else ''}"
        for read in patient.reads
        if read.sum_of_diameters_mm is not None
    ]
    values = [
        f"week {say.fixed(week(row.study_day), 0)}: {row.value_operator or ''}{say.fixed(row.shown_ng_ml)}"
        for row in patient.samples
        if row.is_usable
    ]
    events = [
        f"{name} in week {say.fixed(at, 0)}"
        for name, at in (
            ("progression", patient.progression_week),
            ("new therapy", patient.new_therapy_week),
            ("death", patient.death_week),
        )
        if at is not None
    ]
    return (
        f"Sum of diameters in mm, {', '.join(sums) or 'none'}. Serum HER2 in ng/mL, {', '.join(values) or 'none'}."
        f" {say.plural(len(patient.dose_weeks), 'dose')}. {say.capital(', '.join(events))}{'.' if events else ''}"
    ).rstrip()


class _Weeks:
    """Weeks from the first dose to x; the axis ends with what was observed, a later death is named at its end."""

    def __init__(self, patient: Patient):
        events = (patient.progression_week, patient.new_therapy_week)
        shown = [
            0.0,
            *(week(row.study_day) for row in (*patient.reads, *patient.samples)),
            *patient.dose_weeks,
            *(at for at in events if at is not None),
        ]
        self.first, self.last = min(shown) - 0.7, max(*shown, 6.0) + 0.7

    def x(self, at: float) -> float:
        return _LEFT + (at - self.first) / (self.last - self.first) * (_RIGHT - _LEFT)

    @property
    def ticks(self) -> range:
        step = next(step for step in (1, 2, 3, 6, 12, 24, 48, 96, 960) if (self.last - self.first) / step <= 8)
        return range(math.ceil(self.first / step) * step, math.floor(self.last) + 1, step)


def _axis(weeks: _Weeks) -> Iterator[str]:
    bottom = _SERUM[1]
    yield f'<path class="ax" d="M{_LEFT} {_TUMOUR[0]}V{_TUMOUR[1]}H{_RIGHT}M{_LEFT} {_SERUM[0]}V{bottom}H{_RIGHT}'
    yield "".join(f"M{weeks.x(at):.1f} {bottom}v4" for at in weeks.ticks) + '"/>'
    for at in weeks.ticks:
        yield f'<text x="{weeks.x(at):.1f}" y="{bottom + 17}" class="m">{str(at).replace("-", "−")}</text>'
    yield f'<text x="{(_LEFT + _RIGHT) / 2}" y="{HEIGHT - 5}" class="m">Weeks from first dose</text>'


def _events(patient: Patient, weeks: _Weeks) -> Iterator[str]:
    """Lines through both plots."""
    for name, at in (
        ("pd", patient.progression_week),
        ("nt", patient.new_therapy_week),
        ("death", patient.death_week),
    ):
        if at is not None and at <= weeks.last:
            yield f'<path class="{name}" d="M{weeks.x(at):.1f} {_TUMOUR[0]}V{_SERUM[1]}"/>'
        elif at is not None:
            yield f'<text x="{_RIGHT}" y="12" class="e">death in week {say.fixed(at, 0)} →</text>'


def _tumour(patient: Patient, weeks: _Weeks) -> Iterator[str]:
    top, bottom = _TUMOUR
    yield '<text x="4" y="12">Sum of diameters (mm)</text>'
    measured = [read for read in patient.reads if read.sum_of_diameters_mm is not None]
    if not measured:
        yield f'<text x="{_LEFT + 8}" y="{(top + bottom) / 2}" class="soft">No target lesion measured</text>'
    highest = max([float(read.sum_of_diameters_mm) for read in measured] + [10.0]) * 1.06
    step = next(step for step in (5, 10, 20, 25, 50, 100, 200, 500, 1000, 10**6) if highest / step <= 4.5)

    def y(mm: float) -> float:
        return bottom - mm / highest * (bottom - top)

    for mm in range(0, int(highest) + 1, step) if measured else ():
        yield f'<text x="{_LEFT - 5}" y="{y(mm) + 4:.1f}" class="e">{mm}</text>'
    for read in measured:
        x, below, edge = f"{weeks.x(week(read.study_day)) - 3:.1f}", 0.0, f"{y(0.0):.1f}"
        shades = _TINTS if read.is_sum_complete else ()
        lesions = [mm for mm in read.diameters_mm or () if mm]
        for number, mm in enumerate(lesions or [float(read.sum_of_diameters_mm)]):
            below += mm
            start, edge = edge, f"{y(below):.1f}"
            shade = f'class="les" fill-opacity="{shades[number % len(shades)]}"' if shades else 'class="open"'
            yield f'<path {shade} d="M{x} {start}h6V{edge}h-6z"/>'
    complete = [read for read in measured if read.is_sum_complete]
    line = " ".join(
        f"{weeks.x(week(read.study_day)):.1f},{y(float(read.sum_of_diameters_mm)):.1f}" for read in complete
    )
    yield f'<polyline class="sod" points="{line}"/>' if complete else ""
    nadirs = "".join(
        f"M{weeks.x(week(before.study_day)):.1f} {y(float(read.nadir_sum_mm)):.1f}H{weeks.x(week(read.study_day)):.1f}"
        for before, read in zip(patient.reads, patient.reads[1:], strict=False)
        if read.nadir_sum_mm is not None
    )
    yield f'<path class="nadir" d="{nadirs}"/>' if nadirs else ""
    yield from _responses(patient, weeks)


def _responses(patient: Patient, weeks: _Weeks) -> Iterator[str]:
    """The response above each scan, where it would touch the last one left out unless it is a change."""
    new = next((read for read in patient.reads if read.new_lesion == "YES"), None)
    last_x, last = -99.0, ""
    for read in patient.reads:
        x = weeks.x(week(read.study_day))
        if read is new:
            yield f'<path class="new" d="M{x:.1f} {_TUMOUR[0] - 5}l4 7h-8z"/>'
        response = {"NON-CR/NON-PD": "nn"}.get(read.overall_response, read.overall_response)
        if response and (x - last_x >= 22 or (response != last and x - last_x >= 15)):
            kind = ' class="m w"' if response == "PD" else ' class="m"'
            yield f'<text x="{x:.1f}" y="{_TUMOUR[0] - 8}"{kind}>{response}</text>'
            last_x, last = x, response


def _doses(patient: Patient, weeks: _Weeks) -> Iterator[str]:
    top, bottom = _DOSES
    yield f'<text x="4" y="{bottom}" class="soft">Doses</text>'
    ticks = "".join(f"M{weeks.x(at):.1f} {top}V{bottom}" for at in patient.dose_weeks)
    yield f'<path class="dose" d="{ticks}"/>' if ticks else ""


def _serum(patient: Patient, weeks: _Weeks, study: Study) -> Iterator[str]:
    top, bottom = _SERUM
    cutoff = study.analytes.serum_her2.cutoff_ng_ml
    shown = [row for row in patient.samples if row.shown_ng_ml > 0]
    if not shown:
        yield f'<text x="{_LEFT + 8}" y="{(top + bottom) / 2}" class="soft">No serum HER2 value</text>'
        return
    lloqs = [float(row.lloq_ng_ml) for row in shown if row.lloq_ng_ml]
    values = [float(row.shown_ng_ml) for row in shown]
    low, high = math.log2(min([*values, cutoff, *lloqs])) - 0.3, math.log2(max([*values, cutoff])) + 0.3

    def y(ng_ml: float) -> float:
        return bottom - (math.log2(ng_ml) - low) / (high - low) * (bottom - top)

    if lloqs:
        level = y(max(lloqs))
        yield f'<path class="lloq" d="M{_LEFT} {level:.1f}H{_RIGHT}V{bottom}H{_LEFT}z"/>'
    yield f'<path class="cut" d="M{_LEFT} {y(cutoff):.1f}H{_RIGHT}"/>'
    yield f'<text x="{_RIGHT}" y="{y(cutoff) - 3:.1f}" class="e soft">{cutoff:g}</text>'
    powers = range(math.ceil(low), math.floor(high) + 1, 1 if high - low <= 5 else 2)
    for power in powers:
        yield f'<text x="{_LEFT - 5}" y="{y(2.0**power) + 4:.1f}" class="e">{2.0**power:g}</text>'
    yield f'<text x="4" y="{top - 8}">sHER2 (ng/mL)</text>'
    points = [
        (f"{weeks.x(week(row.study_day)):.1f}", f"{y(float(row.shown_ng_ml)):.1f}", _is_valid(row)) for row in shown
    ]
    yield f'<polyline class="her2" points="{" ".join(f"{x},{y}" for x, y, is_valid in points if is_valid)}"/>'
    for x, at, is_valid in points:
        yield f'<circle class="val{"" if is_valid else " open"}" cx="{x}" cy="{at}" r="3"/>'


def _is_valid(row: Row) -> bool:
    return row.is_usable and row.analysed_value_ng_ml is not None
