"""The rules of response and time to event once more, in plain Python: what the dbt models are held against.

Written from the text of the rules, lesion by lesion and day by day, and not from the models; it shares no code with
them and is slow. It reads the canonical rows of one subject (dicts, as tests/dbt/recist_rows.py collects them) with full
dates but for the one dose, and counts days from that dose (day 0). What is listed for review is not its matter.
"""

import calendar
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from orchestration.study import Study

BEST_FIRST = ["CR", "PR", "SD", "NON-CR/NON-PD", "PD", "NE"]
WORST_LAST = ["NA", "NE", "CR", "PR", "SD", "NON-CR/NON-PD", "PD"]
STATES = {
    "ABSENT": "ABSENT", "PRESENT": "PRESENT", "UNEQUIVOCAL": "UNEQUIVOCAL", "EQUIVOCAL": "EQUIVOCAL",
    "TOO SMALL TO MEASURE": "TOO SMALL TO MEASURE",
}  # fmt: skip
LENGTHS = {None: Decimal(1), "mm": Decimal(1), "cm": Decimal(10)}


def worst(codes: list[str]) -> str:
    return max(codes, key=WORST_LAST.index)


# --- the first dose ---------------------------------------------------------------------------------------------------


def first_dose(rows: dict[str, list[dict]], study: Study) -> date:
    """The day of the one dose; known by month only, the day of dates.impute_day in the order that the month allows."""
    (dose,) = rows["exposures"]
    if len(dose["start_on"]) == 10:
        return date.fromisoformat(dose["start_on"])
    year, month = map(int, dose["start_on"].split("-"))
    days = [date(year, month, day) for day in range(1, calendar.monthrange(year, month)[1] + 1)]
    imputed = {"first": days[0], "mid": days[14], "last": days[-1]}[study.dates.impute_day]
    for end in (dose.get("end_on"), rows["subjects"][0].get("death_on")):
        if end and date.fromisoformat(end) >= days[0]:
            days = [day for day in days if day <= date.fromisoformat(end)]
    scans = defaultdict(list)
    for row in rows["tumor_identifications"]:
        if row["role"] != "NEW":
            scans[row.get("evaluator"), row.get("reader")].append(date.fromisoformat(row["identified_on"]))
    before = [min(found) for found in scans.values()]
    if enrolled := rows["subjects"][0].get("enrolled_on"):
        before.append(date.fromisoformat(enrolled))
    earliest = max([day for day in before if day in days], default=days[0])
    return max(earliest, min(imputed, days[-1]))


# --- from lesions to the response at a visit --------------------------------------------------------------------------


@dataclass
class Visit:
    """What one reader wrote of one visit."""

    evaluator: str
    reader: str
    name: str
    first_day: int
    identifications: list[dict] = field(default_factory=list)
    measurements: list[dict] = field(default_factory=list)
    responses: list[dict] = field(default_factory=list)

    @property
    def has_lesion_row(self) -> bool:
        return bool(self.identifications or self.measurements)

    @property
    def day(self) -> int:
        """The last day of the measurements; without any, of what else was read."""
        for rows in (self.measurements, self.identifications, self.responses):
            if rows:
                return max(row["day"] for row in rows)
        raise ValueError("a visit without a row")


@dataclass
class Read:
    """The response of one reader at one visit."""

    visit: Visit
    day: int
    target: str | None = None
    non_target: str | None = None
    new_lesion: str | None = None
    derived: str | None = None
    reported: str | None = None
    overall: str | None = None
    sum_mm: Decimal | None = None
    nadir_mm: Decimal | None = None
    targets: int = 0
    is_derived: bool = False
    has_baseline: bool = False
    has_disease: bool = False
    progression_day: int | None = None


def visits_of(rows: dict[str, list[dict]], first_dose: date, window: int) -> list[Visit]:
    """Rows by evaluator, visit and reader; a name whose days lie further apart than the window is several visits."""
    named = defaultdict(list)
    for record, kind in (
        ("tumor_identifications", "identifications"), ("tumor_measurements", "measurements"),
        ("tumor_responses", "responses"),
    ):  # fmt: skip
        for row in rows.get(record, []):
            when = row.get("identified_on") or row["assessed_on"]
            row = row | {"day": (date.fromisoformat(when) - first_dose).days}
            named[row.get("evaluator") or "INVESTIGATOR", row.get("visit_name") or ""].append((kind, row))
    visits = []
    for (evaluator, name), found in named.items():
        found.sort(key=lambda item: item[1]["day"])
        start, readers = None, {}
        for kind, row in found:
            if start is None or row["day"] > start + window:
                start, readers = row["day"], {}
            reader = row.get("reader") or ""
            if reader not in readers:
                readers[reader] = Visit(evaluator, reader, name, start)
                visits.append(readers[reader])
            getattr(readers[reader], kind).append(row)
    return visits


class Reader:
    """Lesions of one reader: those identified at baseline, what became of each, and the responses that follow."""

    def __init__(self, visits: list[Visit], study: Study):
        self.rules = study.response
        self.visits = sorted(visits, key=lambda visit: visit.day)
        self.baseline = self._baseline()
        self.lesions = self._lesions() if self.baseline else {}
        self.targets = [name for name, lesion in self.lesions.items() if lesion["role"] == "TARGET"]
        self.non_targets = [name for name, lesion in self.lesions.items() if lesion["role"] == "NON-TARGET"]
        self.baseline_sum = self._baseline_sum()

    def _baseline(self) -> Visit | None:
        before = [visit for visit in self.visits if visit.day <= 0]
        if self.rules.baseline_outside_window == "exclude":
            before = [visit for visit in before if -visit.day <= self.rules.baseline_window_days]
        with_lesions = [visit for visit in before if visit.has_lesion_row]
        return (with_lesions or before or [None])[-1]

    def _lesions(self) -> dict[str, dict]:
        found = {}
        for visit in self.visits:
            for row in visit.identifications:
                if row["role"] != "NEW" and row["day"] <= 0:
                    known = found.get(row["lesion_id"])
                    if known is None or (row["day"], row["role"]) >= (known["day"], known["role"]):
                        found[row["lesion_id"]] = row
        return found

    def _is_node(self, lesion: str) -> bool:
        location = self.lesions[lesion].get("location") or ""
        return "NODE" in location

    # - the value of a lesion at a visit

    def _lesions_of(self, measured: str) -> list[str]:
        """Baseline lesions that a measured name stands for: itself, the whole of a part, those that have merged."""
        if measured in self.lesions:
            return [measured]
        wholes = [part if part in self.lesions else part.split(".")[0] for part in measured.split("/")]
        return [whole for whole in wholes if whole in self.lesions]

    def _measured(self, visit: Visit, measured: str) -> Decimal | None:
        """mm of a measured name: what was put into the sum, else its axis, else its state; the baseline's method."""
        stands_for = self._lesions_of(measured)
        is_node = all(self._is_node(lesion) for lesion in stands_for)
        method = self.lesions[stands_for[0]].get("method")
        axes = ["LPERP", "SAXIS"] if is_node else ["LDIAM"]
        for tests in (["DIAMETER"], axes, ["TUMSTATE"]):
            found = []
            for row in visit.measurements:
                if row["lesion_id"] == measured and row["test"] in tests and row.get("status") != "NOT DONE":
                    value = row["value"]
                    if value in STATES:
                        mm = {"ABSENT": Decimal(0), "TOO SMALL TO MEASURE": Decimal(self.rules.too_small_mm)}.get(value)
                    else:
                        mm = Decimal(value) * LENGTHS[row.get("unit")] if value else None
                    if mm is not None:
                        found.append((bool(method) and row.get("method") == method, mm))
            if found:
                return max(found)[1]
        return None

    def _value(self, visit: Visit, lesion: str) -> dict[str, Decimal] | None:
        """Measured names and mm that make the lesion, or None where it was not assessed."""
        here = {row["lesion_id"] for row in visit.measurements if lesion in self._lesions_of(row["lesion_id"])}
        values = {name: self._measured(visit, name) for name in here}

        def covered(part: str) -> list[str]:
            return [name for name in here if part in name.split("/") and values[name] is not None]

        known = {
            part
            for earlier in self.visits
            if earlier.first_day <= visit.first_day
            for row in earlier.measurements
            if row["lesion_id"] not in self.lesions
            for part in row["lesion_id"].split("/")
            if part not in self.lesions and part.split(".")[0] == lesion
        }
        options = [{name: values[name]} for name in covered(lesion)]
        if known and all(covered(part) for part in known):
            options.append({name: values[name] for part in known for name in covered(part)})
        return max(options, key=lambda option: sum(option.values())) if options else None

    def _partial(self, visit: Visit, lesion: str) -> dict[str, Decimal]:
        names = {row["lesion_id"] for row in visit.measurements if lesion in self._lesions_of(row["lesion_id"])}
        values = {name: self._measured(visit, name) for name in names}
        return {name: mm for name, mm in values.items() if mm is not None}

    def _baseline_sum(self) -> Decimal | None:
        total = {}
        for lesion in self.targets:
            values = [self._value(visit, lesion) for visit in self.visits if visit.day <= 0]
            values = [value for value in values if value is not None]
            if not values:
                return None
            total |= values[-1]
        return sum(total.values()) if self.targets else None

    # - responses

    def _target(self, visit: Visit, read: Read, nadir: Decimal | None) -> str | None:
        if not self.targets:
            return None
        rules = self.rules
        values = {lesion: self._value(visit, lesion) for lesion in self.targets}
        total = {}
        for lesion, value in values.items():
            total |= self._partial(visit, lesion) if value is None else value
        measured = sum(total.values()) if total else None
        is_complete = all(value is not None for value in values.values())
        gone = [self._is_gone(lesion, value) for lesion, value in values.items() if value is not None]
        read.has_disease |= not all(gone)
        read.nadir_mm, read.sum_mm = nadir, measured if is_complete else None
        if is_complete and all(gone):
            return "CR"
        if (
            measured is not None
            and nadir is not None
            and 100 * measured >= (100 + rules.progression_pct) * nadir
            and measured - nadir >= rules.progression_mm
        ):
            return "PD"
        if not is_complete or self.baseline_sum is None:
            return "NE"
        return "PR" if 100 * measured <= (100 - rules.partial_response_pct) * self.baseline_sum else "SD"

    def _is_gone(self, lesion: str, value: dict[str, Decimal]) -> bool:
        if all(self._is_node(other) for name in value for other in self._lesions_of(name)):
            return sum(value.values()) < self.rules.node_normal_mm
        return sum(value.values()) == 0

    def _non_target(self, visit: Visit, read: Read) -> str:
        if not self.non_targets:
            return "NA"
        assessed, gone, progressed = 0, 0, False
        for lesion in self.non_targets:
            rows = [row for row in visit.measurements if row["lesion_id"] == lesion and row.get("status") != "NOT DONE"]
            states = {row["value"] for row in rows if row["value"] in STATES}
            progressed |= "UNEQUIVOCAL" in states
            mm = self._measured(visit, lesion)
            if mm is None and not states:
                continue
            assessed += 1
            if "UNEQUIVOCAL" in states:
                continue
            if self._is_node(lesion) and mm is not None:
                gone += mm < self.rules.node_normal_mm
            else:
                gone += mm == 0 and states <= {"ABSENT"}
        read.has_disease |= assessed > gone
        if progressed:
            return "PD"
        if assessed < len(self.non_targets):
            return "NE"
        return "CR" if gone == assessed else "NON-CR/NON-PD"

    def _new_lesions(self) -> tuple[dict[int, str], dict[int, int]]:
        """By index of the visit: what is stated, and the day on which a certain new lesion was first seen."""
        stated, seen, named = {}, {}, defaultdict(list)
        for index, visit in enumerate(self.visits):
            told = [row for row in visit.responses if row["test"] == "NEWLPROG"]
            found = [row for row in visit.identifications if row["role"] == "NEW"]
            values = {"Y": "YES", "UNEQUIVOCAL": "YES", "N": "NO"}
            codes = [values.get(row["value"], row["value"]) for row in told]
            if codes:
                status = next(code for code in ("YES", "EQUIVOCAL", "NO") if code in codes)
            elif found:
                status = "YES"
            else:
                continue
            stated[index] = status
            days = [row["day"] for row in found]
            days += [row["day"] for row, code in zip(told, codes) if code == status]
            seen[index] = min(days)
            for row, code in zip(told, codes):
                if row.get("lesion_id"):
                    named[row["lesion_id"]].append((index, code))
            if not any(row.get("lesion_id") for row in told):
                for row in found:
                    named[row["lesion_id"]].append((index, status))
        for history in named.values():
            certain = [index for index, code in history if code == "YES"]
            uncertain = [index for index, code in history if code == "EQUIVOCAL"]
            if certain and uncertain and seen[min(uncertain)] < seen[max(certain)]:
                stated[min(uncertain)] = "YES"
        return stated, seen

    def reads(self) -> list[Read]:
        rules = self.rules
        stated, seen = self._new_lesions()
        found_baseline = bool(self.lesions) or (self.baseline is not None and not self.baseline.has_lesion_row)
        complete = [(self.baseline.day, self.baseline_sum)] if self.baseline and self.baseline_sum is not None else []
        first_partial, progressed = None, None
        certain = [visit.day for index, visit in enumerate(self.visits) if stated.get(index) == "YES" and visit.day > 0]
        reads = []
        for index, visit in enumerate(self.visits):
            if visit.day <= 0:
                continue
            read = Read(visit, visit.day, has_baseline=found_baseline, targets=len(self.targets))
            earlier = [mm for day, mm in complete if day < visit.day]
            read.target = self._target(visit, read, min(earlier) if earlier else None)
            if read.sum_mm is not None:
                complete.append((visit.day, read.sum_mm))
            strict = read.target
            if rules.carry_partial_response and strict == "SD" and first_partial is not None and progressed is None:
                read.target = "PR" if first_partial < visit.day else strict
            if strict == "PR" and first_partial is None:
                first_partial = visit.day
            if strict == "PD" and progressed is None:
                progressed = visit.day
            read.non_target = self._non_target(visit, read)
            is_new = bool(certain) and visit.day >= min(certain)
            read.new_lesion = "YES" if is_new else stated.get(index, "NO")
            states_new = index in stated and is_new
            if visit.has_lesion_row or (found_baseline and states_new):
                read.derived = self._overall(read)
            self._report(visit, read)
            self._choose(read)
            seen_on = seen[index] if stated.get(index) == "YES" else None
            read.progression_day = self._progression_day(visit, read, strict, seen_on)
            reads.append(read)
        self._after_complete_response(reads)
        for read in reads:
            if read.overall == "PD":
                read.day = read.progression_day
        return reads

    def _overall(self, read: Read) -> str:
        if read.new_lesion == "YES":
            return "PD"
        if not read.has_baseline:
            return "NE"
        if "PD" in (read.target, read.non_target):
            return "PD"
        if not self.targets:
            return read.non_target
        if read.target == "CR":
            return "CR" if read.non_target in ("CR", "NA") else "PR"
        return read.target

    def _report(self, visit: Visit, read: Read) -> None:
        told = [row["value"] for row in visit.responses if row["test"] == "OVRLRESP"]
        read.reported = worst(told) if told else None

    def _choose(self, read: Read) -> None:
        basis = self.rules.basis
        if basis == "reported":
            read.overall = read.reported
        elif basis == "derived":
            read.is_derived, read.overall = read.derived is not None, read.derived
        else:
            read.is_derived = read.derived is not None and (read.has_baseline or read.reported is None)
            read.overall = read.derived if read.is_derived else read.reported

    def _progression_day(self, visit: Visit, read: Read, strict: str | None, new_lesion_day: int | None) -> int:
        """The day of the response, should it be a progression."""
        if read.derived != "PD":
            if visit.has_lesion_row:
                return visit.day
            days = [
                row["day"]
                for row in visit.responses
                if row["value"] == "PD" or (row["test"] == "NEWLPROG" and row["value"] == "YES")
            ]
            return min(days, default=visit.day)
        days = [] if new_lesion_day is None else [new_lesion_day]
        days += [
            row["day"]
            for row in visit.measurements
            if row["lesion_id"] in self.non_targets
            and row["value"] == "UNEQUIVOCAL"
            and row.get("status") != "NOT DONE"
            and read.non_target == "PD"
        ]
        if strict == "PD":
            days.append(
                max(
                    row["day"]
                    for row in visit.measurements
                    if row.get("status") != "NOT DONE"
                    and row["value"]
                    and set(self._lesions_of(row["lesion_id"])) & set(self.targets)
                    and self._measured(visit, row["lesion_id"]) is not None
                )
            )
        return min(days) if days else visit.day

    def _after_complete_response(self, reads: list[Read]) -> None:
        complete = [read.visit.day for read in reads if read.overall == "CR"]
        for read in reads:
            if complete and read.visit.day > min(complete) and read.overall is not None:
                has_disease = read.has_disease if read.is_derived else read.overall in ("PR", "SD", "NON-CR/NON-PD")
                if has_disease and self.rules.disease_after_cr == "pd" and read.overall != "PD":
                    read.overall = "PD"


def accepted(reads: list[Read]) -> list[Read]:
    """The reads that count: the flag of the response rows, else of the lesion rows, else the only reader."""
    by_visit = defaultdict(list)
    for read in reads:
        by_visit[read.visit.evaluator, read.visit.name, read.visit.first_day].append(read)
    chosen = []
    for together in by_visit.values():

        def flagged(read: Read, *kinds: str) -> bool:
            return any(row.get("accepted") == "Y" for kind in kinds for row in getattr(read.visit, kind))

        by_response = [read for read in together if flagged(read, "responses")]
        by_lesion = [read for read in together if flagged(read, "identifications", "measurements")]
        chosen += by_response or by_lesion or (together if len(together) == 1 else [])
    return chosen


# --- from the responses to the endpoints ------------------------------------------------------------------------------

Sequence = list[tuple[int, str]]  # day and response, a day once, in order


def in_order(reads: list[tuple[int, str]]) -> Sequence:
    """One response a day, the worst; what is not adequate at all counts as NE."""
    days = defaultdict(list)
    for day, code in reads:
        if day > 0 and code is not None:
            days[day].append(code)
    return [(day, worst(codes).replace("NA", "NE")) for day, codes in sorted(days.items())]


def considered(sequence: Sequence, therapy: int | None, study: Study) -> Sequence:
    progressions = [day for day, code in sequence if code == "PD"]
    kept = [item for item in sequence if not progressions or item[0] <= progressions[0]]
    if study.response.stop_at_new_therapy and therapy is not None:
        kept = [item for item in kept if item[0] <= therapy]
    return kept


def is_confirmed(sequence: Sequence, place: int, study: Study) -> bool:
    rules = study.response
    day, code = sequence[place]
    if code not in ("CR", "PR"):
        return False
    if rules.confirm_days == 0:
        return True
    confirming = {"CR"} if code == "CR" else {"CR", "PR"}
    last = next(
        (
            later
            for later in range(place + 1, len(sequence))
            if sequence[later][1] in confirming and sequence[later][0] >= day + rules.confirm_days
        ),
        None,
    )
    if last is None:
        return False
    between = [other for _, other in sequence[place + 1 : last]]
    if between.count("NE") > rules.confirm_max_ne:
        return False
    if code == "CR":
        return set(between) <= {"CR", "NE"}
    if not set(between) <= {"CR", "PR", "SD", "NE"} or between.count("SD") > int(rules.confirm_accept_sd):
        return False
    window = [*between, sequence[last][1]]
    if "CR" in window and "PR" in window:
        return window.index("CR") > len(window) - 1 - window[::-1].index("PR")
    return True


def best_of(classes: Sequence) -> tuple[str, int | None]:
    for code in BEST_FIRST:
        days = [day for day, found in classes if found == code]
        if days:
            return code, min(days)
    return "MISSING", None


def best_responses(sequence: Sequence, therapy: int | None, study: Study) -> dict:
    rules = study.response
    kept = considered(sequence, therapy, study)
    window = rules.duration_window_days
    unconfirmed, confirmed, confirmed_days = [], [], []
    for place, (day, code) in enumerate(kept):
        is_late = day >= rules.min_sd_days - window
        unconfirmed.append((day, "NE" if code in ("SD", "NON-CR/NON-PD") and not is_late else code))
        if is_confirmed(kept, place, study):
            confirmed_days.append(day)
            confirmed.append((day, code))
        elif code in ("PD", "NE"):
            confirmed.append((day, code))
        elif not is_late:
            confirmed.append((day, "NE"))
        else:
            confirmed.append((day, "NON-CR/NON-PD" if code == "NON-CR/NON-PD" else "SD"))
    best, best_confirmed = best_of(unconfirmed), best_of(confirmed)
    responses = [day for day, code in kept if code in ("CR", "PR")]
    lasting = [
        day for day, code in kept
        if code in rules.disease_control_values and day >= rules.clinical_benefit_days - window
    ]  # fmt: skip
    deciding = best_confirmed if rules.confirm_days else best
    return {
        "best": best,
        "confirmed": best_confirmed,
        "first_response": min(responses, default=None),
        "first_confirmed_response": min(confirmed_days, default=None),
        "has_disease_control": deciding[0] in rules.disease_control_values,
        "has_clinical_benefit": bool(confirmed_days or lasting),
    }


def planned_days(study: Study) -> list[int]:
    """Days from the start of the planned assessments, the start itself first."""
    days, week = [0], 0
    for phase in study.visits.imaging.schedule:
        while week + phase.every_weeks <= (phase.through_week or 30 * 52):
            week += phase.every_weeks
            days.append(7 * week)
        week = phase.through_week or week
    return days


def last_day_that_counts(start: int, adequate: int | None, study: Study) -> int:
    """Last day on which an event does not follow too many missed assessments, planned from the start on."""
    planned = [start + day for day in planned_days(study)]
    last = start if adequate is None else adequate
    nearest = min(range(len(planned)), key=lambda place: (abs(planned[place] - last), -planned[place]))
    return planned[nearest + study.endpoints.pfs.max_missed] + study.visits.imaging.window_days


@dataclass(frozen=True)
class Course:
    """What else happened to a subject, in days from the first dose."""

    cutoff: int
    start: int = 0
    death: int | None = None
    therapy: int | None = None
    exit: tuple[int, str] | None = None
    last_alive: int = 0
    lacks_baseline: bool = False


def progression_free_survival(sequence: Sequence, course: Course, rules: str, study: Study) -> tuple[int, bool, str]:
    """Day of the end, whether it is an event, and why."""
    is_fda = rules == "fda"
    if is_fda and course.lacks_baseline:
        return course.start, False, "no baseline assessment"
    progression = min((day for day, code in sequence if code == "PD"), default=None)
    events = [day for day in (progression, course.death) if day is not None]
    event = min(events, default=None)
    cut = min(course.cutoff, course.therapy) if is_fda and course.therapy is not None else course.cutoff
    adequate = max(
        (day for day, code in sequence if code != "NE" and day <= cut and (event is None or day < event)), default=None
    )
    censored = course.start if adequate is None else adequate
    if event is not None and event <= cut:
        if not is_fda or event <= last_day_that_counts(course.start, adequate, study):
            return event, True, "progressive disease" if event == progression else "death"
        words = {1: "one", 2: "two", 3: "three"}.get(study.endpoints.pfs.max_missed, study.endpoints.pfs.max_missed)
        return censored, False, f"{words} or more missed assessments before the event"
    left = course.exit if course.exit and course.exit[0] >= censored else None
    declared = study.study.data_cutoff is not None
    reasons = [(cut, 2, "data cut-off" if declared else "ongoing at the last date in the data")]
    if is_fda and course.therapy is not None:
        reasons.append((course.therapy, 0, "new anticancer therapy"))
    if left:
        reasons.append((left[0], 1, left[1]))
    reason = min(reasons)[2]
    return censored, False, reason if adequate else f"no adequate assessment after start; {reason}"


def endpoints(sequence: Sequence, course: Course, study: Study) -> dict[str, tuple]:
    """(start, end, is_event, reason) of every endpoint that the subject has."""
    primary = study.endpoints.pfs.rules
    other = "ema" if primary == "fda" else "fda"
    best = best_responses(sequence, course.therapy, study)
    pfs = progression_free_survival(sequence, course, primary, study)
    start = course.start
    found = {
        "PFS": (start, *pfs),
        "PFS_OTHER_RULES": (start, *progression_free_survival(sequence, course, other, study)),
    }
    if course.death is not None:
        found["OS"] = (start, course.death, True, "death")
    else:
        left = course.exit if course.exit and course.exit[0] >= course.last_alive else None
        found["OS"] = (start, course.last_alive, False, left[1] if left else "alive at the last contact")
    first, confirmed = best["first_response"], best["first_confirmed_response"]
    if first is not None:
        found["DOR_UNCONFIRMED"] = (first, *pfs)
    if confirmed is not None:
        found["DOR"] = (confirmed, *pfs)
    reported = confirmed if study.response.confirm_days else first
    if reported is not None:
        words = "confirmed response" if study.response.confirm_days else "response"
        found["TTR"] = (start, reported, True, words)
    return {name: (begin, max(begin, end), event, why) for name, (begin, end, event, why) in found.items()}
