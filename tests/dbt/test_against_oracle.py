"""Thousands of generated subjects through the dbt models, held against the rules written once more (tests/dbt/oracle.py).

A protocol a build: its subjects have either overall responses or lesions, several readers, visits that slip, new
lesions, therapies, deaths and exits. A difference is a fault of one of the two: the text of the rules says of which.
"""

import random
from collections import Counter
from datetime import date, timedelta

import pytest

from orchestration.study import Study
from tests.dbt import oracle
from tests.dbt.recist_rows import FIRST_DOSE, Rows, on

LAST_DAY = 1200  # of the data: a contact with somebody else
DATES = {"identified_on", "assessed_on", "started_on", "start_on", "occurred_on", "enrolled_on", "death_on"}

PROTOCOLS = {
    "as it stands": {},
    "lenient": {
        "response": {
            "confirm_accept_sd": True, "confirm_max_ne": 2, "min_sd_days": 35, "duration_window_days": 0,
            "basis": "reported", "stop_at_new_therapy": False, "clinical_benefit_days": 84,
        },
        "dates": {"impute_day": "mid"},
        "endpoints": {"start": "enrolment", "pfs": {"rules": "ema", "max_missed": 1}},
        "visits": {"imaging": {"window_days": 10, "schedule": [{"every_weeks": 8}]}},
    },
    "strict": {
        "study": {"data_cutoff": on(300)},
        "dates": {"impute_day": "last"},
        "response": {
            "confirm_days": 14, "confirm_max_ne": 0, "min_sd_days": 42, "duration_window_days": 3, "basis": "derived",
            "carry_partial_response": True, "disease_after_cr": "pd", "baseline_outside_window": "exclude",
            "disease_control_values": ["CR", "PR"], "assessment_window_days": 5,
        },
        "endpoints": {"pfs": {"max_missed": 3}},
        "visits": {"imaging": {"schedule": [{"every_weeks": 6, "through_week": 24}, {"every_weeks": 9}]}},
    },
    "unconfirmed": {
        "response": {
            "confirm_days": 0, "baseline_outside_window": "exclude", "disease_control_values": ["CR", "PR", "SD"], "disease_after_cr": "pd",
            "confirm_accept_sd": True, "partial_response_pct": 50, "progression_pct": 25, "progression_mm": 0,
        },
    },
}  # fmt: skip


def course(rows: Rows, name: str, draw: random.Random) -> None:
    """Enrolment, death, new therapy, departure and last contact of a subject, on some days or not at all."""
    if draw.random() < 0.4:
        rows.records["subjects"][-1]["enrolled_on"] = on(-draw.randint(0, 20))
    if draw.random() < 0.35:
        rows.records["subjects"][-1]["death_on"] = on(draw.randint(1, 500))
    if draw.random() < 0.35:
        rows.add("therapies", name, treatment="OTHER", category="ANTICANCER", started_on=on(draw.randint(-30, 300)))
    if draw.random() < 0.3:
        term = draw.choice(["LOST TO FOLLOW-UP", "WITHDRAWAL BY SUBJECT", "ADVERSE EVENT"])
        rows.add("dispositions", name, category="DISPOSITION EVENT", term=term, occurred_on=on(draw.randint(1, 400)))
    if draw.random() < 0.5:
        rows.add("survival_status", name, status="ALIVE", assessed_on=on(draw.randint(1, 600)))


def days(draw: random.Random) -> list[int]:
    """Days of assessments: on a rhythm, a little off it, with gaps; around the days on which a rule turns."""
    rhythm, day, found = draw.choice([21, 28, 42, 56]), 0, []
    for _ in range(draw.randint(1, 8)):
        day += rhythm * draw.choice([1, 1, 1, 1, 2, 3]) + draw.choice([0, 0, 0, -1, 1, -7, 7, draw.randint(-9, 9)])
        found.append(max(day, 1))
    if draw.random() < 0.4:
        found[0] = draw.choice([1, 3, 27, 28, 34, 35, 36, 38, 39, 41, 42, 43])
    return sorted(set(found))


def responses(rows: Rows, name: str, draw: random.Random) -> None:
    """A subject of whom only overall responses are known."""
    rows.subject(name)
    course(rows, name, draw)
    codes = draw.choice([
        ["CR", "PR", "SD", "NE", "PD"], ["CR", "PR", "PR", "SD", "NE"], ["CR", "NE", "CR", "PR"],
        ["CR", "NON-CR/NON-PD", "NE", "PD"], ["CR", "PR", "SD", "NON-CR/NON-PD", "PD", "NE", "NA"], ["PR", "SD", "PR"],
    ])  # fmt: skip
    previous = draw.choice(codes)
    for day in days(draw):
        previous = previous if draw.random() < 0.35 else draw.choice(codes)
        rows.reported(name, on(day), previous)
        if draw.random() < 0.05:  # two visits of one day
            rows.reported(name, on(day), draw.choice(codes), visit_name=f"AGAIN {day}")
    if draw.random() < 0.1:
        rows.reported(name, on(-3), draw.choice(codes))


class Lesions:
    """A subject with lesions, read by one or several people, and what became of them from visit to visit."""

    def __init__(self, rows: Rows, name: str, draw: random.Random):
        self.rows, self.name, self.draw = rows, name, draw
        rows.subject(name)
        course(rows, name, draw)
        several = draw.random() < 0.3
        for reader in ("R1", "R2") if several else (None,):
            self.reader = {"evaluator": "INDEPENDENT ASSESSOR", "reader": reader} if several else {}
            self.flags = several
            self.read()

    def read(self) -> None:
        draw, name = self.draw, self.name
        kinds = draw.choice(["T", "T", "TT", "TTT", "TN", "TTN", "TTNN", "N", "NN"])
        self.lesions = {
            f"{kind}{number}": {
                "role": {"T": "TARGET", "N": "NON-TARGET"}[kind],
                "is_node": draw.random() < 0.3,
                "mm": draw.choice([20, 30, 50, draw.randint(10, 60)]),
                "method": draw.choice(["CT SCAN", None, None]),
            }
            for number, kind in enumerate(kinds)
        }
        self.split, self.merged = set(), None
        screening = [draw.choice([-40, -28, -14, -7, -1, 0])]
        if draw.random() < 0.15:
            screening = [-25, -6]
        self.new = None
        for day in screening:
            flag = {"accepted": "Y"} if self.flags and self.reader["reader"] == "R1" else {}
            for lesion, known in self.lesions.items():
                where = {"location": "LYMPH NODE" if known["is_node"] else "LIVER", "method": known["method"]}
                self.rows.lesion(name, lesion, known["role"], day, **where, **self.reader, **flag)
                if draw.random() > 0.03:
                    self.value(lesion, lesion, day, f"DAY {day}", 1.0)
        if draw.random() < 0.04:  # no baseline
            self.forget_baseline()
        factor = 1.0
        for day in days(draw):
            factor = draw.choice([0, 0, 0.3, 0.5, 0.7, 0.7, 1, 1, 1.2, 1.2, 1.3, factor, factor])
            self.visit(day, factor)

    def forget_baseline(self) -> None:
        for record in ("tumor_identifications", "tumor_measurements"):
            self.rows.records[record] = [
                row
                for row in self.rows.records[record]
                if row["subject_id"] != self.name or row.get("reader") != self.reader.get("reader")
            ]

    def visit(self, day: int, factor: float) -> None:
        draw = self.draw
        visit = f"DAY {day}"
        if draw.random() < 0.05:
            visit = "UNSCHEDULED"
        self.flag = {}
        if self.flags and self.reader["reader"] == ("R1" if day % 3 else "R2") and draw.random() < 0.9:
            self.flag = {"accepted": "Y"}
        targets = [lesion for lesion, known in self.lesions.items() if known["role"] == "TARGET"]
        if draw.random() < 0.06 and targets:
            self.split ^= {draw.choice(targets)}
        if draw.random() < 0.06 and len(targets) > 1:
            self.merged = None if self.merged else tuple(draw.sample(targets, 2))
        for lesion in self.lesions:
            if draw.random() > 0.03:  # else no row at all
                own = factor if draw.random() < 0.6 else draw.choice([0, 0.3, 0.7, 1, 1.2, 1.5])
                self.measure(lesion, day + draw.choice([0, 0, 0, 0, 1, 3]), visit, own)
        self.new_lesions(day, visit)
        if draw.random() < 0.4:
            code = draw.choice(["CR", "PR", "SD", "NON-CR/NON-PD", "PD", "NE"])
            self.rows.reported(self.name, on(day), code, visit_name=visit, **self.reader, **self.flag)

    def measure(self, lesion: str, day: int, visit: str, factor: float) -> None:
        """A lesion alone, with another one, in its parts, or twice."""
        draw = self.draw
        if self.merged and lesion in self.merged:
            if lesion == self.merged[0]:
                self.value(lesion, "/".join(self.merged), day, visit, factor)
        elif lesion in self.split:
            for part in range(1, 1 + draw.choice([2, 2, 2, 1, 3])):
                self.value(lesion, f"{lesion}.{part}", day, visit, factor / 2)
            if draw.random() < 0.1:
                self.value(lesion, lesion, day, visit, factor)
        else:
            self.value(lesion, lesion, day, visit, factor)
            if draw.random() < 0.03:
                self.value(lesion, lesion, day, visit, 1.0, _file_id="again", method="MRI")

    def value(self, lesion: str, measured: str, day: int, visit: str, factor: float, **columns) -> None:
        """One or more rows that say what a lesion measures: in the sum, by its axis, by a word, or that it was not done."""
        draw, known = self.draw, self.lesions[lesion]
        columns = {"visit_name": visit, "method": known["method"]} | self.reader | columns
        mm = f"{known['mm'] * factor:.1f}"
        if known["role"] == "NON-TARGET" and draw.random() < 0.8:
            state = draw.choice(["PRESENT", "PRESENT", "PRESENT", "ABSENT", "ABSENT", "EQUIVOCAL", "UNEQUIVOCAL", None])
            state = "PRESENT" if day <= 0 else state
            self.rows.measured(self.name, measured, day, state, "TUMSTATE", **columns)
            return
        if day > 0 and draw.random() < 0.05:
            self.rows.measured(self.name, measured, day, None, "DIAMETER", **columns)
            return
        if day > 0 and draw.random() < 0.06:
            state = draw.choice(["ABSENT", "TOO SMALL TO MEASURE", "PRESENT"])
            self.rows.measured(self.name, measured, day, state, "TUMSTATE", **columns)
            return
        how = draw.random()
        if how < 0.6:
            self.rows.measured(self.name, measured, day, mm, "DIAMETER", **columns)
        elif how < 0.7:
            cm = f"{known['mm'] * factor / 10:.2f}"
            self.rows.measured(self.name, measured, day, cm, "DIAMETER", **columns, unit="cm")
        else:
            if known["is_node"] or draw.random() < 0.3:
                self.rows.measured(self.name, measured, day, mm, draw.choice(["LPERP", "SAXIS"]), **columns)
            if not known["is_node"] or draw.random() < 0.3:
                self.rows.measured(self.name, measured, day, f"{known['mm'] * factor * 1.1:.1f}", "LDIAM", **columns)

    def new_lesions(self, day: int, visit: str) -> None:
        draw = self.draw
        columns = {"visit_name": visit} | self.reader | self.flag
        if self.new is None and draw.random() < 0.12:
            self.new = draw.choice(["NEW1", "NEW1", "unnamed"])
        if self.new is None:
            if draw.random() < 0.2:
                self.rows.reported(self.name, on(day), draw.choice(["NO", "N"]), "NEWLPROG", **columns)
            return
        status = draw.choice(["YES", "Y", "EQUIVOCAL", "EQUIVOCAL", "NO", None, None])
        if self.new == "NEW1" and draw.random() < 0.5:
            self.rows.lesion(self.name, "NEW1", "NEW", max(day - draw.choice([0, 0, 2]), 1), **columns)
        if status:
            named = {"lesion_id": "NEW1"} if self.new == "NEW1" and draw.random() < 0.7 else {}
            self.rows.reported(self.name, on(day), status, "NEWLPROG", **columns, **named)


def blur_first_dose(rows: Rows, name: str, draw: random.Random) -> None:
    """The first dose is known by its month only, and everything else lies some days later in it."""
    days = timedelta(days=draw.randint(0, 30))
    for found in rows.records.values():
        for row in found:
            if row["subject_id"] == name:
                for column in DATES & row.keys():
                    row[column] = row[column] and str(date.fromisoformat(row[column]) + days)
    dose = rows.records["exposures"][-1]
    assert dose["subject_id"] == name
    if draw.random() < 0.3:
        dose["end_on"] = dose["start_on"]
    dose["start_on"] = dose["start_on"][:7]


def generate(seed: str, subjects: int) -> Rows:
    """So many subjects with responses, as many with lesions, the same ones every time."""
    draw, rows = random.Random(seed), Rows()
    for number in range(subjects):
        responses(rows, f"R{number}", draw)
        Lesions(rows, f"L{number}", draw)
        if number % 5 == 0:
            blur_first_dose(rows, f"L{number}", draw)
    rows.add("subjects", "last date")
    rows.add("survival_status", "last date", status="ALIVE", assessed_on=on(LAST_DAY))
    for row in rows.records["tumor_responses"]:  # codes as the reader folds them
        row["value_code"] = {"Y": "YES", "N": "NO"}.get(row["value"], row["value"])
    return rows


class Expected:
    """What the rules written once more say of a subject by one evaluator."""

    def __init__(self, rows: dict[str, list[dict]], evaluator: str, study: Study):
        self.first_dose = oracle.first_dose(rows, study)
        self.shift = (self.first_dose - FIRST_DOSE).days
        last_day = str(study.study.data_cutoff or on(LAST_DAY))
        columns = ("identified_on", "assessed_on", "started_on", "occurred_on", "death_on")
        rows = {
            record: [row for row in found if all((row.get(column) or "") <= last_day for column in columns)]
            for record, found in rows.items()
        }
        seen = [
            visit
            for visit in oracle.visits_of(rows, self.first_dose, study.response.assessment_window_days)
            if visit.evaluator == evaluator
        ]
        readers = {visit.reader: [] for visit in seen}
        for visit in seen:
            readers[visit.reader].append(visit)
        self.readers = [oracle.Reader(visits, study) for visits in readers.values()]
        self.reads = [read for reader in self.readers for read in reader.reads()]
        self.accepted = oracle.accepted(self.reads)
        self.sequence = oracle.in_order([(read.day, read.overall) for read in self.accepted])
        self.course = self._course(rows, study)
        self.best = oracle.best_responses(self.sequence, self.course.therapy, study)
        self.endpoints = oracle.endpoints(self.sequence, self.course, study)

    def on(self, day: int | None) -> int | None:
        """Days from the calendar's own first day, as the marts are asked."""
        return None if day is None else day + self.shift

    def _course(self, rows: dict[str, list[dict]], study: Study) -> oracle.Course:
        def day(when) -> int:
            return (date.fromisoformat(str(when)) - self.first_dose).days

        deaths = [day(row["death_on"]) for row in rows["subjects"] if row.get("death_on")]
        therapies = [day(row["started_on"]) for row in rows["therapies"] if day(row["started_on"]) > 0]
        kinds = {"LOST TO FOLLOW-UP": "lost to follow-up", "WITHDRAWAL BY SUBJECT": "withdrawal"}
        exits = [(day(row["occurred_on"]), kinds[row["term"]]) for row in rows["dispositions"] if row["term"] in kinds]
        alive = [
            day(row[column])
            for record, column in (
                ("tumor_identifications", "identified_on"), ("tumor_measurements", "assessed_on"),
                ("tumor_responses", "assessed_on"), ("survival_status", "assessed_on"),
                ("dispositions", "occurred_on"), ("therapies", "started_on"), ("exposures", "end_on"),
                ("subjects", "enrolled_on"),
            )
            for row in rows[record]
            if row.get(column)
        ]  # fmt: skip
        enrolments = [day(row["enrolled_on"]) for row in rows["subjects"] if row.get("enrolled_on")]
        return oracle.Course(
            start=min(enrolments, default=0) if study.endpoints.start == "enrolment" else 0,
            cutoff=day(study.study.data_cutoff or on(LAST_DAY)),
            death=min(deaths, default=None),
            therapy=min(therapies, default=None),
            exit=min(exits, default=None),
            last_alive=max(alive, default=0),
            lacks_baseline=self._lacks_baseline(study),
        )

    def _lacks_baseline(self, study: Study) -> bool:
        basis = study.response.basis
        has_lesions = any(visit.has_lesion_row for reader in self.readers for visit in reader.visits)
        counted = [read for read in self.accepted if read.overall is not None]
        if counted:
            vouched = any(not read.is_derived or read.has_baseline for read in counted)
        else:
            vouched = any(reader.baseline and reader.baseline.has_lesion_row for reader in self.readers)
        return basis != "reported" and not vouched and (has_lesions or basis == "derived")


def expected_of(rows: Rows, study: Study) -> dict[tuple[str, str], Expected]:
    """By subject and evaluator."""
    subjects: dict[str, dict[str, list[dict]]] = {}
    for record, found in rows.records.items():
        for row in found:
            subjects.setdefault(row["subject_id"], {name: [] for name in rows.records})[record].append(row)
    evaluators = {row.get("evaluator") or "INVESTIGATOR" for row in rows.records["tumor_measurements"]}
    return {
        (name, evaluator): Expected(found, evaluator, study)
        for name, found in subjects.items()
        if found["exposures"]
        for evaluator in evaluators
    }


def compared_responses(warehouse, expected) -> tuple[dict, dict]:
    found = warehouse.rows(f"""
        select subject_id, evaluator, reader, coalesce(visit_name, ''), assessed_on - date '{FIRST_DOSE}',
            derived_response, reported_response, overall_response, is_accepted
        from marts.fct_response where study_day > 1
    """)
    theirs = {
        (*key, read.visit.reader, read.visit.name, subject.on(read.day)): (
            read.derived, read.reported, read.overall, read in subject.accepted,
        )
        for key, subject in expected.items()
        for read in subject.reads
    }  # fmt: skip
    return {tuple(row[:5]): tuple(row[5:]) for row in found}, theirs


def compared_best(warehouse, expected) -> tuple[dict, dict]:
    found = warehouse.rows(f"""
        select subject_id, evaluator, best_overall_response, best_overall_response_on - date '{FIRST_DOSE}',
            confirmed_best_overall_response, confirmed_best_overall_response_on - date '{FIRST_DOSE}',
            first_response_on - date '{FIRST_DOSE}', confirmed_response_on - date '{FIRST_DOSE}',
            has_disease_control, has_clinical_benefit
        from marts.fct_best_response
    """)
    theirs = {
        key: (
            subject.best["best"][0], subject.on(subject.best["best"][1]),
            subject.best["confirmed"][0], subject.on(subject.best["confirmed"][1]),
            subject.on(subject.best["first_response"]), subject.on(subject.best["first_confirmed_response"]),
            subject.best["has_disease_control"], subject.best["has_clinical_benefit"],
        )
        for key, subject in expected.items()
    }  # fmt: skip
    return {tuple(row[:2]): tuple(row[2:]) for row in found}, theirs


def compared_times(warehouse, expected) -> tuple[dict, dict]:
    found = warehouse.rows(f"""
        select subject_id, evaluator, endpoint, start_on - date '{FIRST_DOSE}', end_on - date '{FIRST_DOSE}', is_event,
            coalesce(event_description, censoring_reason)
        from marts.fct_time_to_event
    """)
    theirs = {
        (*key, endpoint): (subject.on(start), subject.on(end), *why)
        for key, subject in expected.items()
        for endpoint, (start, end, *why) in subject.endpoints.items()
    }
    return {tuple(row[:3]): tuple(row[3:]) for row in found}, theirs


def differences(ours: dict, theirs: dict) -> list:
    """(key, ours, theirs) wherever they are not the same."""
    keys = sorted(ours.keys() | theirs.keys(), key=str)
    return [(key, ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)]


@pytest.fixture(scope="module", params=PROTOCOLS)
def held(request, build_warehouse):
    """A protocol's warehouse, and what the rules written once more say of its subjects."""
    study = Study.model_validate(PROTOCOLS[request.param])
    rows = generate(f"{request.param} once more", 500)
    return build_warehouse(rows.records, study, checks=()), expected_of(rows, study)


def test_every_first_dose_agrees(held):
    warehouse, expected = held
    ours = dict(warehouse.rows("select subject_id, first_dose_on from marts.dim_subject where in_treated"))
    theirs = {name: subject.first_dose for (name, _), subject in expected.items()}
    assert differences(ours, theirs)[:3] == []
    assert sum(day != FIRST_DOSE for day in ours.values()) >= 20


@pytest.mark.parametrize("compared", [compared_responses, compared_best, compared_times])
def test_every_row_agrees(held, compared):
    ours, theirs = compared(*held)
    assert len(ours) >= 1000
    assert differences(ours, theirs)[:3] == []


def test_every_disagreement_with_a_report_is_listed_with_its_reason(held):
    """Marts count them, findings say why: one for one."""
    warehouse, _ = held
    marts, listed = warehouse.rows("""
        select (select count(*) from marts.fct_response where is_disagreement),
            (select count(*) from ops.findings where kind = 'disagreement')
    """)[0]
    assert marts == listed > 100
    assert (
        warehouse.rows("""
        select responses.subject_id, responses.assessed_on, count(disagreements.reason)
        from marts.fct_response as responses
        left join intermediate.int_response_disagreements as disagreements
            on responses.subject_id = disagreements.subject_id and responses.evaluator = disagreements.evaluator
            and responses.reader = disagreements.reader and responses.assessment_no = disagreements.visit_no
            and disagreements.subject_matter = 'overall response'
        group by responses.subject_id, responses.evaluator, responses.reader, responses.assessment_no,
            responses.assessed_on, responses.is_disagreement
        having count(disagreements.reason) <> responses.is_disagreement::integer
    """)
        == []
    )


def test_the_generated_subjects_meet_every_rule(held):
    """Otherwise their agreement would say little."""
    _, expected = held
    bests = Counter(subject.best["confirmed"][0] for subject in expected.values())
    whys = Counter(row[3] for subject in expected.values() for row in subject.endpoints.values())
    assert min(bests[code] for code in ["CR", "PR", "SD", "PD", "NE"]) >= 3, bests
    assert len(whys) >= 8, whys
