"""What the page says of the data: derived against reported responses, what the rules decided, findings by kind."""

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal

from orchestration.report import wording
from orchestration.report.published import Published
from orchestration.report.tables import Table, plain
from orchestration.study import Study

MOST_FILES = 20
FIRST = 10  # findings of each kind that the page lists; the data file holds all
_DAYS = {"first": "first day", "mid": "middle", "last": "last day"}
COLUMNS = ("kind", "severity", "subject_id", "detail")


@dataclass(frozen=True)
class Kind:
    """Findings of one kind: how many, and the first of them."""

    name: str
    severity: str
    n: int
    subjects: int
    first: list[tuple[str, str]]


def findings(published: Published) -> list[Kind]:
    """Warnings before remarks, the frequent kinds first."""
    groups = defaultdict(list)
    for row in published.findings:
        groups[row.kind, row.severity].append(row)
    kinds = [
        Kind(
            wording.spaced(kind).replace("her2", "HER2").replace(" cr", " CR"),
            severity,
            len(rows),
            len({row.subject_id for row in rows} - {""}),
            [(row.subject_id, row.detail) for row in rows[:FIRST]],
        )
        for (kind, severity), rows in groups.items()
    ]
    order = ("error", "warning", "info")
    return sorted(
        kinds, key=lambda kind: (order.index(kind.severity) if kind.severity in order else 0, -kind.n, kind.name)
    )


def agreement(published: Published) -> list[str]:
    """A sentence an evaluator: in how many assessments derived and reported responses differ."""
    return [
        f"{wording.capital(row.evaluator.lower())}: of {wording.plural(row.reads, 'assessment')} with both a derived"
        f" and a reported overall response, {wording.count(row.disagreements)} disagree"
        f" ({wording.quantity('share', row.disagreements / row.reads)}), in {wording.plural(row.subjects, 'patient')}."
        for row in published.compared
    ]


def tables(published: Published, study: Study) -> dict[str, Table]:
    """Every table of the section on data quality by its name."""
    more = (
        f" (the first {MOST_FILES} of {wording.count(len(published.rejected))})"
        if len(published.rejected) > MOST_FILES
        else ""
    )
    made = (
        plain(
            "files",
            "Files by status",
            ("Status", "Files", "Rows read", "Accepted", "Quarantined"),
            published.files,
            ("Files", "Rows read", "Accepted", "Quarantined"),
            "none has been taken in.",
        ),
        plain("rejected", f"Rejected files{more}", ("File", "Reason"), published.rejected[:MOST_FILES], (), "none."),
        plain(
            "quarantine",
            "Quarantined rows by rule",
            ("Record", "Rule", "Field", "Rows", "For example"),
            [(wording.spaced(row[0]), wording.spaced(row[1]), *row[2:]) for row in published.quarantine],
            ("Rows",),
            "none.",
        ),
        plain(
            "disagreements",
            "Derived against reported responses, by reason",
            ("Evaluator", "Of", "Reason", "Disagreements", "Patients", "For example"),
            [(row.evaluator.lower(), *row[1:]) for row in published.disagreements],
            ("Disagreements", "Patients"),
            "they agree wherever there are both." if published.compared else "no assessment has both.",
        ),
        _decisions(published, study),
        plain(
            "findings",
            "Findings by kind",
            ("Kind", "Severity", "Findings", "Subjects"),
            [(kind.name, kind.severity, kind.n, kind.subjects) for kind in findings(published)],
            ("Findings", "Subjects"),
            "none.",
        ),
        plain(
            "unusable",
            "Serum HER2 samples not analysed",
            ("Reason", "Samples"),
            published.her2_unusable,
            ("Samples",),
            "none.",
        ),
        plain(
            "assays",
            "Assays of serum HER2 (limits of quantification in ng/mL)",
            ("Assay", "Laboratory", "Samples", "LLOQ", "ULOQ", "Below LLOQ", "Above ULOQ"),
            [
                (
                    row.assay,
                    row.laboratory,
                    row.samples,
                    _range(row.lowest_lloq, row.highest_lloq),
                    _range(row.lowest_uloq, row.highest_uloq),
                    row.below,
                    row.above,
                )
                for row in published.assays
            ],
            ("Samples", "Below LLOQ", "Above ULOQ"),
            "no sample of serum HER2 is known.",
        ),
    )
    return {table.name: table for table in made}


def _decisions(published: Published, study: Study) -> Table:
    """How often a rule of study.yaml, and not the data alone, decided something."""
    response = study.response
    best_sd = {
        row.subject_id for row in published.best_responses if row.best_overall_response in ("SD", "NON-CR/NON-PD")
    }
    by_window = _kind(published, "stable_disease_by_window", response.evaluator)
    outside = _kind(published, "baseline_outside_window", response.evaluator)
    partial = _kind(published, "partial_date")
    switched = _kind(published, "assay_switch")
    rows = [
        (
            f"Stable disease from day {response.min_sd_days}, less {response.duration_window_days} days of window",
            f"{wording.plural(len(by_window), 'assessment')} of stable disease counted only by the window; it"
            f" is the best response of {wording.count(len(_subjects(by_window) & best_sd))} of these patients"
            f" (of {wording.count(len(best_sd))} with it)",
            len(_subjects(by_window)),
        ),
        (
            f"Baseline assessment within {response.baseline_window_days} days before the first dose",
            f"{wording.plural(len(outside), 'baseline')} outside the window"
            f" {'used all the same' if response.baseline_outside_window == 'use' else 'not used'}",
            len(_subjects(outside)),
        ),
        (
            f"Partial dates set to the {_DAYS[study.dates.impute_day]} of their period",
            f"dates of {wording.plural(len(partial), 'field')} completed (a field of a patient counts once)",
            len(_subjects(partial)),
        ),
        (
            "Change of serum HER2 only within one assay",
            "samples by another assay than the baseline not compared",
            len(_subjects(switched)),
        ),
    ]
    return plain(
        "decisions",
        "What the rules of the protocol decided",
        ("Rule", "What it decided", "Patients"),
        rows if published.subjects else [],
        ("Patients",),
        "no subject is known yet.",
    )


def _range(low: Decimal | None, high: Decimal | None) -> str:
    if low is None:
        return "not stated"
    return f"{float(low):g}" if low == high else f"{float(low):g} to {float(high):g}"


def _kind(published: Published, kind: str, evaluator: str = "") -> list:
    return [row for row in published.findings if row.kind == kind and row.detail.startswith(evaluator)]


def _subjects(rows: list) -> set[str]:
    return {row.subject_id for row in rows}
