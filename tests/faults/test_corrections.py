"""Faults that later files bring about: corrections, deletions, orphans, conflicts; in any order, with the same end.

One home, two deliveries, every case a subject or a sample of its own; the models decide from all that has come.
"""

import duckdb
import pytest

from tests.conftest import make_home
from tests.faults.invariants import assert_invariants

HEAD = (
    "subject_id,sample_id,analyte,value,unit,collected_at,reported_at,result_status,specimen,laboratory,assay,lloq,uloq"
)


def result(sample: str, value: str, reported: str, status: str = "F", *, subject="S1", laboratory="EAST", unit="ng/mL",
           at="2024-02-01T08:00:00Z", assay="EIA", lloq="", uloq="") -> str:  # fmt: skip
    return (
        f"{subject},{sample},42914-2,{value},{unit},{at},{reported},{status},SERUM,{laboratory},{assay},{lloq},{uloq}"
    )


def lab(*rows: str) -> str:
    return "\n".join((HEAD, *rows)) + "\n"


SUBJECTS = "subject_id,site_id,enrolled_on\n"
FIRST = {
    "clinical/subjects_1.csv": SUBJECTS + "S1,01,2024-01-01\nTWICE,01,2024-01-01\n",
    "clinical/exposures.csv": "subject_id,treatment,dose,dose_unit,start_on\nS1,TRASTUZUMAB DERUXTECAN,100,mg,2024-01-10\n",
    "lab/first.csv": lab(
        result("BASE", "20", "2024-01-03", at="2024-01-02T08:00:00Z"),
        result("CORRECTED", "10", "2024-02-02"),
        result("OLDER LATER", "11", "2024-02-09", "C"),
        result("DELETED", "12", "2024-02-02"),
        result("BACK AGAIN", "13", "2024-02-02"),
        result("DILUTED", ">250", "2024-02-02", uloq="250"),
        result("CONFLICT", "14", "2024-02-02"),
        result("SAME", "15", "2024-02-02"),
        result("TWO LABS", "16", "2024-02-02"),
        result("ORPHAN", "17", "2024-02-02", subject="LATE"),
        result("INJECTED", "1", "2024-02-02", subject="x'; drop schema marts cascade; --"),
        result("MICRO", "18", "2024-02-02", unit="ug/L"),
        result("PICO", "19000", "2024-02-02", unit="pg/mL", lloq="500"),
        result("DECI", "2000", "2024-02-02", unit="ng/dL"),
        result("AT CUT-OFF", "15.0", "2024-02-03"),
        result("NOISE", "14.999999999", "2024-02-03"),
        result("BELOW CUT-OFF", "14.9", "2024-02-03"),
        result("BELOW", "<LLOQ", "2024-02-02", lloq="0.5"),
        result("LIMITS", "5", "2024-02-02", lloq="10", uloq="5"),
        result("HIGH", "15000", "2024-02-02"),
        result("OTHER ASSAY", "21", "2024-02-02", assay="CLIA"),
    ),
    "lab/snapshot.csv": lab(*(result(f"SNAP {n}", "9", "2024-02-02", laboratory="WEST") for n in range(10))),
}
SECOND = {
    "clinical/subjects_2.csv": SUBJECTS + "LATE,01,2024-01-01\nTWICE,02,2024-01-01\n",
    "lab/second.csv": lab(
        result("CORRECTED", "30", "2024-03-02", "C"),
        result("OLDER LATER", "99", "2024-02-03"),
        result("DELETED", "", "2024-03-02", "X"),
        result("BACK AGAIN", "", "2024-03-02", "X"),
        result("DILUTED", "612", "2024-03-02", "C"),
        result("CONFLICT", "41", "2024-02-02"),
        result("SAME", "15", "2024-02-02"),
        result("TWO LABS", "61", "2024-02-02", laboratory="NORTH"),
    ),
    "lab/third.csv": lab(result("BACK AGAIN", "31", "2024-04-02", "C")),
    "lab/snapshot.csv": lab(*(result(f"SNAP {n}", "9", "2024-02-02", laboratory="WEST") for n in range(4))),
}


class Study:
    def __init__(self, home):
        with duckdb.connect(str(home.settings.build / "warehouse.duckdb"), read_only=True) as connection:
            self.samples = {
                (laboratory, sample): (value and float(value), operator, is_usable, reason, normalised)
                for laboratory, sample, value, operator, is_usable, reason, normalised in connection.execute(
                    "select laboratory, sample_id, value_ng_ml, value_operator, is_usable, unusable_reason, is_normalised"
                    " from marts.fct_her2_delta"
                ).fetchall()
            }
            self.findings = connection.execute("select kind, subject_id, detail from ops.findings").fetchall()
            marts = connection.execute(
                "select table_name from duckdb_tables() where schema_name = 'marts' order by all"
            ).fetchall()
            self.marts = {m: connection.execute(f"select * from marts.{m} order by all").fetchall() for (m,) in marts}

    def value(self, sample: str, laboratory: str = "EAST"):
        found = self.samples.get((laboratory, sample))
        return found and found[0]


def drop(home, files: dict[str, str]) -> None:
    for path, text in files.items():
        home.drop(path, text)


@pytest.fixture(scope="module")
def stages(tmp_path_factory, runs) -> tuple[Study, Study, Study]:
    """After the first delivery, after the second, and with the files of both come the other way round, one a run."""
    home = make_home(tmp_path_factory.mktemp("corrections"))
    found = []
    for files in (FIRST, SECOND):
        drop(home, files)
        ended = runs.run(home.settings, "ingest", "build")
        assert ended.code == 0, ended.error
        assert_invariants(home.settings)
        found.append(Study(home))
    import shutil

    for folder in ("lake", "landing"):
        shutil.rmtree(home.settings.home / folder)
    home.settings.prepare()
    order = [(path, text) for files in (SECOND, FIRST) for path, text in files.items() if path != "lab/snapshot.csv"]
    order += [("lab/snapshot.csv", files["lab/snapshot.csv"]) for files in (FIRST, SECOND)]  # a path has one order
    for path, text in order:
        home.drop(path, text)
        assert runs.run(home.settings, "ingest").code == 0
    assert runs.run(home.settings, "build").code == 0
    assert_invariants(home.settings)
    return (*found, Study(home))


@pytest.mark.parametrize(
    ("sample", "before", "after"),
    [
        ("CORRECTED", 10, 30),
        ("OLDER LATER", 11, 11),  # by the time of report, not of arrival
        ("DELETED", 12, None),
        ("BACK AGAIN", 13, 31),  # deleted and told again
        ("DILUTED", 250, 612),
        ("SAME", 15, 15),
        ("MICRO", 18, 18),
        ("PICO", 19, 19),
        ("DECI", 20, 20),
        ("ORPHAN", None, 17),
    ],
)
def test_a_result_follows_its_newest_report(stages, sample, before, after):
    assert (stages[0].value(sample), stages[1].value(sample)) == (before, after)


def test_of_a_diluted_sample_the_operator_goes_with_the_value(stages):
    assert [stage.samples["EAST", "DILUTED"][1] for stage in stages[:2]] == [">", None]


def test_two_laboratories_may_use_one_sample_id(stages):
    assert (stages[1].value("TWO LABS"), stages[1].value("TWO LABS", "NORTH")) == (16, 61)


def test_a_value_below_the_limit_is_never_a_number_of_its_own(stages):
    assert stages[1].samples["EAST", "BELOW"][:2] == (None, "<")


def test_the_cut_off_is_compared_exactly_and_the_noise_of_a_spreadsheet_is_none(stages):
    """15 ng/mL is not below 15, nor is 14.999999999, which no assay reports; 14.9 is."""
    names = ("AT CUT-OFF", "NOISE", "BELOW CUT-OFF")
    assert [stages[1].value(name) for name in names] == [15, 15, 14.9]
    assert [stages[1].samples["EAST", name][4] for name in names] == [False, False, True]


def test_results_of_another_assay_are_kept_and_not_compared(stages):
    assert stages[1].samples["EAST", "OTHER ASSAY"][2:4] == (False, "different assay from baseline")


@pytest.mark.parametrize(
    ("stage", "kind", "subject", "words"),
    [
        (0, "subject_unknown", "LATE", "lab_results"),
        (1, "conflict", "S1", "CONFLICT"),
        (1, "subject_at_two_sites", "TWICE", "01 and 02"),
        (1, "limits_inconsistent", "S1", "LIMITS"),
        (1, "unit_jump", "S1", "15000"),
        (1, "assay_switch", "S1", "EIA"),
        (1, "rows_vanished", None, "lab/snapshot.csv: the newest delivery has 4 rows, the one before it 10"),
    ],
)
def test_what_a_person_must_settle_is_a_finding(stages, stage, kind, subject, words):
    assert [1 for k, who, detail in stages[stage].findings if (k, who) == (kind, subject) and words in detail]


def test_statements_in_values_reach_the_marts_as_text(stages):
    found = {subject for kind, subject, _ in stages[1].findings if kind == "subject_unknown"}
    assert "x'; drop schema marts cascade; --" in found


def test_findings_that_were_settled_are_gone(stages):
    kinds = {(kind, subject) for kind, subject, _ in stages[1].findings}
    assert ("subject_unknown", "LATE") not in kinds
    assert "rows_vanished" not in {kind for kind, *_ in stages[0].findings}


def test_rows_that_a_newer_delivery_lacks_are_no_deletions(stages):
    assert len([1 for laboratory, _ in stages[1].samples if laboratory == "WEST"]) == 10


def test_of_results_in_conflict_none_is_used(stages):
    assert stages[1].samples["EAST", "CONFLICT"][2:4] == (False, "conflicting results")


def test_any_order_of_arrival_ends_in_the_same_marts(stages):
    assert stages[2].marts == stages[1].marts
