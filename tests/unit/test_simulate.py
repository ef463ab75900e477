"""The simulator: same arguments, same bytes; a study within RECIST and the protocol; believable deliveries."""

import hashlib

import pandas as pd
import pytest

from orchestration.errors import UserError
from orchestration.simulate import LAYOUTS, codes, deliveries, records, write_study


def digests(out):
    """sha256 of every file by its path below ``out``."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def study():
    return records.simulate(300, 5)


@pytest.fixture(scope="module", params=sorted(LAYOUTS))
def written(request, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    write_study(out, 60, 1, request.param)
    return request.param, out


# --- the same study again ---------------------------------------------------------------------------------------


def test_the_same_arguments_give_the_same_bytes(written, tmp_path):
    layout, out = written
    write_study(tmp_path, 60, 1, layout)
    assert digests(tmp_path) == digests(out)


@pytest.mark.parametrize("other", [{"seed": 2}, {"null": True}])
def test_other_arguments_give_another_study(written, tmp_path, other):
    layout, out = written
    write_study(tmp_path, 60, **({"seed": 1, "layout": layout} | other))
    assert digests(tmp_path) != digests(out)


def test_a_subject_is_the_same_in_a_larger_study():
    small, large = records.simulate(20, 3), records.simulate(50, 3)
    assert list(small.usubjid) == list(large.usubjid[:20])
    for kind, frame in small.frames.items():
        same = large[kind][large[kind]["subject"] < 20].reset_index(drop=True)
        order = list(frame.columns)
        pd.testing.assert_frame_equal(
            frame.sort_values(order, ignore_index=True), same.sort_values(order, ignore_index=True)
        )


def test_a_study_is_written_over_itself_but_not_over_another(tmp_path):
    write_study(tmp_path, 8, 1)
    before = digests(tmp_path)
    write_study(tmp_path, 8, 1)
    with pytest.raises(UserError, match="other content"):
        write_study(tmp_path, 8, 2)
    assert digests(tmp_path) == before


def test_foreign_files_in_a_landing_folder_are_left_alone(tmp_path):
    foreign = tmp_path / "lab" / "mine.csv"
    foreign.parent.mkdir()
    foreign.write_text("a,b\n1,2\n")
    write_study(tmp_path, 3, 1)
    assert foreign.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"subjects": 0, "seed": 1}, "at least one"),
        ({"subjects": 5, "seed": -1}, "negative"),
        ({"subjects": 5, "seed": 1, "layout": "fhir"}, "sdtm, site"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, arguments, says):
    with pytest.raises(UserError, match=says):
        write_study(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_study(blocked, 2, 1)


@pytest.mark.parametrize("subjects", [1, 2, 7])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_tiny_studies_can_be_written(tmp_path, subjects, layout):
    calls = []
    write_study(tmp_path, subjects, 4, layout, progress=lambda *call: calls.append(call))
    assert calls[-1][0] == calls[-1][1] == len(calls)
    assert {path.name for path in tmp_path.iterdir()} == {"clinical", "lab", "imaging"}


# --- the protocol -----------------------------------------------------------------------------------------------


def test_targets_are_measurable_at_baseline_and_at_most_two_an_organ(study):
    lesions = study["lesions"]
    targets = lesions[lesions["lesion"] < codes.TARGETS]
    assert targets.groupby("subject").size().max() <= 5
    assert targets.groupby(["subject", "organ"]).size().max() <= 2
    sizes = study["measurements"].query(
        "visit == 0 and state == @codes.MEASURED and lesion >= 0 and lesion < @codes.TARGETS"
    )
    assert sizes.loc[sizes["test"] == codes.SHORT_AXIS, "value"].min() >= 150
    assert sizes.loc[sizes["test"] == codes.LONGEST, "value"].min() >= 100


def test_lesions_reach_every_state(study):
    targets = study["measurements"].query("lesion >= 0")
    assert set(targets["state"]) == {
        codes.ABSENT,
        codes.PRESENT,
        codes.UNEQUIVOCAL,
        codes.NOT_DONE,
        codes.TOO_SMALL,
        codes.MEASURED,
    }
    assert (targets.query("test == @codes.SHORT_AXIS and state == @codes.MEASURED")["value"] < 100).any()


def test_doses_come_about_every_three_weeks_and_only_go_down(study):
    doses = study["doses"].sort_values(["subject", "cycle"])
    gaps = doses.groupby("subject")["day"].diff().dropna()
    assert gaps.between(20, 35).all() and gaps.median() == 21 and (gaps > 26).any()
    assert set(doses["dose"]) == {54, 44, 32}
    assert (doses.groupby("subject")["dose"].diff().dropna() <= 0).all()


def test_blood_is_drawn_before_the_infusion_but_for_a_few(study):
    samples = study["labs"].query("analyte == 0")
    both = samples.merge(study["doses"], on=["subject", "day"], suffixes=("", "_dose"))
    both = both[both["visit"].between(1, 3)]
    after = both["minute"] > both["minute_dose"]
    assert 0 < after.mean() < 0.05
    assert set(samples["visit"]) >= set(range(1, 4)) and 4 not in set(samples["visit"])  # week 6 is cycle 3


def test_nothing_happens_after_the_cut_off_or_after_death(study):
    death = study["subjects"].groupby("subject")["death"].min()
    for kind in ("doses", "labs", "visits", "measurements", "responses"):
        days = study[kind]["day"]
        assert days.max() <= codes.CUTOFF, kind
        assert (days <= study[kind]["subject"].map(death)).all(), kind
    assert all(frame["known_on"].max() <= deliveries.FINAL for frame in study.frames.values())


def test_the_analysis_sets_differ(study):
    people = study["subjects"].drop_duplicates("subject")
    treated = people["first_dose"] < codes.NEVER
    low = (people["ihc"] == 1) & (people["ish"] != 1) | (people["ihc"] == 2) & (people["ish"] == 0)
    assert 0.9 < treated.mean() < 1
    assert 0.9 < low.mean() < 1
    assert 0.8 < (people["estrogen"] | people["progesterone"]).mean() < 0.95
    assert 0.5 < (people["ihc"] == 1)[low].mean() < 0.66


def test_one_laboratory_switches_its_assay_with_another_calibration(study):
    samples = study["labs"].query("analyte == 0")
    switched = samples[samples["assay"] == codes.CLIA]
    assert set(switched["laboratory"]) == {codes.SOUTH} and switched["day"].min() >= codes.ASSAY_SWITCH
    assert samples.query("laboratory == @codes.SOUTH and assay == @codes.ELISA")["day"].max() < codes.ASSAY_SWITCH
    assert (samples.query("assay == @codes.ELISA")["value"] < codes.LIMITS[codes.ELISA][0]).any()


# --- deliveries -------------------------------------------------------------------------------------------------


def table(path, **options):
    return pd.read_csv(path, dtype=str, keep_default_na=False, **options)


@pytest.fixture(scope="module")
def sdtm(tmp_path_factory):
    out = tmp_path_factory.mktemp("sdtm")
    write_study(out, 150, 2)
    return out


def dated(out, domain):
    return sorted(out.rglob(f"{domain}_????-??-??.csv"))


def test_deliveries_are_dated_and_overlap(sdtm):
    files = dated(sdtm, "lb")
    assert len(files) > 30
    repeated = pd.concat([table(path) for path in files]).duplicated()
    assert repeated.any()


def test_a_file_is_sent_again_one_is_an_error_page_and_one_has_no_header(sdtm):
    (resent,) = sdtm.rglob("*_resent.csv")
    assert resent.read_bytes() == resent.with_name(resent.name.replace("_resent", "")).read_bytes()
    (page,) = sdtm.rglob("*_download.csv")
    assert page.read_text().startswith("<!DOCTYPE html>")
    (headless,) = sdtm.rglob("*_noheader.csv")
    good = headless.with_name(headless.name.replace("_noheader", "")).read_text()
    assert good.endswith(headless.read_text()) and good != headless.read_text()


def test_a_corrected_result_is_reported_later_than_the_one_it_corrects(sdtm):
    rows = pd.concat([table(path) for path in dated(sdtm, "lb")]).drop_duplicates()
    versions = rows.merge(rows, on=["LBREFID", "LBTESTCD"], suffixes=("", "_first"))
    corrections = versions[(versions["LBRSTAT"] == "C") & (versions["LBRSTAT_first"] == "F")]
    assert len(corrections)
    assert (corrections["LBRPTDTC"] > corrections["LBRPTDTC_first"]).all()
    assert {"P", "C", "X"} <= set(rows["LBRSTAT"])


def test_a_mistyped_diameter_is_put_right_in_a_later_export_and_not_sent_again(sdtm):
    sent = pd.concat([table(path).assign(export=path.name) for path in dated(sdtm, "tr")])
    sent = sent[(sent["VISIT"] != "UNSCHEDULED") & (sent["TRLNKID"] != "")]
    key = ["USUBJID", "TRLNKID", "TRTESTCD", "TRDTC"]
    changed = sent.groupby(key).filter(lambda rows: rows["TRORRES"].nunique() > 1)
    assert len(changed)
    for _, rows in changed.groupby(key):
        rows = rows.sort_values("export")
        assert float(rows["TRORRES"].iloc[0]) == pytest.approx(float(rows["TRORRES"].iloc[-1]) + 10)


def test_deaths_arrive_as_a_later_version_of_the_subject(sdtm):
    rows = pd.concat([table(path).assign(export=path.name) for path in dated(sdtm, "dm")])
    last = rows.sort_values("export").drop_duplicates("USUBJID", keep="last").set_index("USUBJID")["DTHDTC"]
    dead = rows.loc[rows["DTHDTC"] != "", "USUBJID"].unique()
    assert len(dead) and (last[dead] != "").all()
    assert (rows.groupby("USUBJID")["DTHDTC"].nunique() == 2).sum() > len(dead) / 2


@pytest.mark.parametrize("subjects", [10, 200])
def test_dirt_stays_a_handful_and_replaces_nothing(tmp_path, subjects):
    write_study(tmp_path, subjects, 6)
    rows = pd.concat([table(path) for path in dated(tmp_path, "lb")])
    planted = rows[rows["LBREFID"].str.startswith("X-")]
    assert set(planted["LBREFID"]) == {"X-UNIT", "X-DATE", "X-TEXT", "X-NOBODY"} and len(planted) == 4
    responses = pd.concat([table(path) for path in dated(tmp_path, "rs")])
    assert (responses["RSORRES"] == "CHECK").sum() == 1


def test_laboratory_rows_may_arrive_before_their_subject(sdtm):
    first_lab, first_dm = ({}, {})
    for seen, domain in ((first_lab, "lb"), (first_dm, "dm")):
        for path in dated(sdtm, domain):
            for subject in table(path)["USUBJID"]:
                seen.setdefault(subject, path.stem[-10:])
    assert any(first_lab[subject] < first_dm.get(subject, "9999") for subject in first_lab if subject != "S2-099-9999")
    assert "S2-099-9999" in first_lab and "S2-099-9999" not in first_dm


def test_the_german_laboratory_writes_its_own_way(tmp_path):
    write_study(tmp_path, 30, 1, "site")
    path = sorted(tmp_path.rglob("lis_nord_????-??-??.csv"))[3]
    rows = table(path, sep=";", encoding="cp1252")
    her2 = rows[rows["Analyt"] == "HER2S"]
    assert set(her2["Einheit"]) == {"µg/L"}
    assert her2["Ergebnis"].str.fullmatch(r"[<>]?\d+,\d").all()
    assert her2["Entnahme"].str.fullmatch(r"\d\d\.\d\d\.\d{4} \d\d:\d\d").all()
