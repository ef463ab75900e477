"""The simulated study has the size of DESTINY-Breast04, by a small RECIST that shares no code with the project.

It reads the SDTM files as a statistician would, in binary floats on tenths of a millimetre, and loops over subjects.
"""

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter

from orchestration.simulate import write_study

SEEDS = (1, 2, 3)
MONTH = 30.4375
SCHEDULE = np.array([*range(6, 55, 6), *range(66, 200, 12)]) * 7


def load(out, domain):
    """All dated files of a domain, the newest version of a row last."""
    files = sorted(out.rglob(f"{domain}_????-??-??.csv"))
    rows = pd.concat([pd.read_csv(path, dtype=str) for path in files])
    return rows[rows["VISIT"] != "UNSCHEDULED"] if "VISIT" in rows else rows


def responses(targets, others, new_on, first_dose):
    """[(date, overall response)] of one subject after the first dose."""
    dates = sorted(set(targets["on"]) | set(others["on"]))
    baseline = nadir = None
    course = []
    for on in dates:
        now, rest = targets[targets["on"] == on], others[others["on"] == on]
        total, complete = now["tenths"].sum(), now["tenths"].notna().all()
        if on <= first_dose:
            baseline = nadir = total
            continue
        if targets.empty:
            target = None
        elif complete and (np.where(now["TRTESTCD"] == "LPERP", now["tenths"] < 100, now["tenths"] == 0)).all():
            target = "CR"
        elif total * 5 >= nadir * 6 and total - nadir >= 50:
            target = "PD"
        elif not complete:
            target = "NE"
        else:
            target = "PR" if total * 10 <= baseline * 7 else "SD"
        if complete:
            nadir = total if nadir is None else min(nadir, total)
        states = set(rest["TRORRES"])
        non_target = (
            None
            if rest.empty
            else "PD"
            if "UNEQUIVOCAL" in states
            else "NE"
            if np.nan in states or not all(isinstance(state, str) for state in states)
            else "CR"
            if states == {"ABSENT"}
            else "NON-CR/NON-PD"
        )
        if target == "PD" or non_target == "PD" or new_on <= on:
            overall = "PD"
        elif target is None:
            overall = non_target
        elif target == "CR" and non_target not in (None, "CR"):
            overall = "PR"
        else:
            overall = target
        course.append((on, overall))
    return course


def confirmed(course):
    for index, (on, value) in enumerate(course):
        if value not in ("CR", "PR"):
            continue
        between = []
        for later, what in course[index + 1 :]:
            if what in ("CR", "PR") and (later - on).days >= 28:
                if between.count("NE") <= 1 and set(between) <= {"CR", "PR", "NE"}:
                    return True
                break
            between.append(what)
    return False


def analysed(out):
    """A row a treated HER2-low subject: confirmed response, PFS, OS, early change of serum HER2."""
    dm = load(out, "dm").drop_duplicates("USUBJID", keep="last").set_index("USUBJID")
    mi = load(out, "mi").drop_duplicates(["USUBJID", "MITESTCD", "MIMETHOD"]).query("MITESTCD == 'HER2'")
    her2 = mi.pivot(index="USUBJID", columns="MIMETHOD", values="MIORRES")
    ihc, ish = her2["IMMUNOHISTOCHEMISTRY"], her2["IN SITU HYBRIDIZATION"]
    low = (ihc == "1+") & (ish != "POSITIVE") | (ihc == "2+") & (ish == "NEGATIVE")
    people = dm[dm["RFXSTDTC"].notna() & low.reindex(dm.index)]

    tr = load(out, "tr").drop_duplicates(["USUBJID", "TRLNKID", "TRTESTCD", "TRDTC"], keep="last")
    tr["on"] = pd.to_datetime(tr["TRDTC"])
    tr["tenths"] = pd.to_numeric(tr["TRORRES"], errors="coerce") * 10
    tr.loc[tr["TRORRES"] == "TOO SMALL TO MEASURE", "tenths"] = 50
    nodes = tr.loc[tr["TRTESTCD"] == "LPERP", ["USUBJID", "TRLNKID"]].drop_duplicates().assign(node=True)
    tr = tr.merge(nodes, how="left", on=["USUBJID", "TRLNKID"])
    sized = tr[(tr["TRTESTCD"] == "LPERP") | (tr["TRTESTCD"] == "LDIAM") & tr["node"].isna()].assign(
        tenths=lambda rows: rows["tenths"].round()
    )
    targets, others = (
        dict(list(sized.groupby("USUBJID"))),
        dict(list(tr[tr["TRTESTCD"] == "TUMSTATE"].groupby("USUBJID"))),
    )
    tu = load(out, "tu").query("TUORRES == 'NEW'")
    new_on = pd.to_datetime(tu["TUDTC"]).groupby(tu["USUBJID"]).min()
    rs = load(out, "rs").query("RSTESTCD == 'OVRLRESP'").drop_duplicates(["USUBJID", "RSDTC"])
    reported = rs.set_index(["USUBJID", "RSDTC"])["RSORRES"]
    cm = load(out, "cm").query("CMCAT != 'SUPPORTIVE CARE' and CMSTDTC.str.len() == 10")
    lb = load(out, "lb").query("LBTESTCD == 'HER2'")
    lb = lb[lb["USUBJID"].isin(people.index)].sort_values("LBRPTDTC").drop_duplicates("LBREFID", keep="last")
    lb = lb.assign(on=pd.to_datetime(lb["LBDTC"].str[:10]), level=np.log2(pd.to_numeric(lb["LBSTRESN"])))
    seen = pd.concat(
        [
            load(out, "sv")[["USUBJID", "SVSTDTC"]].set_axis(["who", "on"], axis=1),
            load(out, "ss").query("SSORRES == 'ALIVE'")[["USUBJID", "SSDTC"]].set_axis(["who", "on"], axis=1),
        ]
    )
    last_alive = pd.to_datetime(seen["on"]).groupby(seen["who"]).max()

    rows, disagreements, points = [], 0, 0
    for who, person in people.iterrows():
        start, death = pd.Timestamp(person["RFXSTDTC"]), pd.to_datetime(person["DTHDTC"])
        lines = pd.to_datetime(cm.loc[cm["USUBJID"] == who, "CMSTDTC"])
        therapy = lines[lines > start].min()
        course = responses(
            targets.get(who, sized.iloc[:0]), others.get(who, tr.iloc[:0]), new_on.get(who, pd.Timestamp.max), start
        )
        points += len(course)
        disagreements += sum(reported[(who, str(on.date()))] != value for on, value in course)
        progression = next((on for on, value in course if value == "PD"), pd.NaT)
        course = [
            (on, value)
            for on, value in course
            if (pd.isna(progression) or on <= progression) and (pd.isna(therapy) or on <= therapy)
        ]
        event = min((on for on in (progression, death) if pd.notna(on)), default=pd.NaT)
        adequate = max((on for on, value in course if value != "NE" and not on >= event), default=start)
        planned = 0 if adequate == start else 1 + int(np.argmin(abs(SCHEDULE - (adequate - start).days)))
        happens = pd.notna(event) and not event > therapy and (event - start).days <= SCHEDULE[planned + 1] + 7
        samples = lb[lb["USUBJID"] == who]
        before, early = (
            samples[samples["VISIT"] == "C1D1"],
            samples[(samples["on"] > start) & (samples["on"] < start + pd.Timedelta(days=50))],
        )
        early = early.sort_values("on")
        rows.append(
            {
                "responds": confirmed(course),
                "is_event": happens,
                "died": pd.notna(death),
                "pfs": ((event if happens else adequate) - start).days + 1,
                "os": (max(start, last_alive.get(who, start)) if pd.isna(death) else death).to_datetime64(),
                "start": start,
                "baseline": before["level"].iloc[0] if len(before) else np.nan,
                "ratio": early["level"].iloc[-1] - before["level"].iloc[0] if len(early) and len(before) else np.nan,
            }
        )
    frame = pd.DataFrame(rows)
    frame["os"] = (frame["os"] - frame["start"]).dt.days + 1
    frame.attrs["disagreement"] = disagreements / points
    return frame


def landmark_p(frame):
    at_risk = frame[frame["pfs"] > 50].dropna(subset=["ratio"]).assign(rest=lambda rows: rows["pfs"] - 50)
    return (
        CoxPHFitter().fit(at_risk[["rest", "is_event", "ratio", "baseline"]], "rest", "is_event").summary["p"]["ratio"]
    )


def median_months(duration, event):
    return KaplanMeierFitter().fit(duration, event).median_survival_time_ / MONTH


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    frames = {}
    for seed in SEEDS:
        out = tmp_path_factory.mktemp(f"seed{seed}")
        write_study(out, 400, seed)
        frames[seed] = analysed(out)
    return frames


def test_the_confirmed_response_rate_is_about_that_of_destiny_breast04(studies):
    rates = [frame["responds"].mean() for frame in studies.values()]
    assert 0.49 <= np.mean(rates) <= 0.56, rates


def test_progression_free_and_overall_survival_are_about_those_of_destiny_breast04(studies):
    pfs = [median_months(frame["pfs"], frame["is_event"]) for frame in studies.values()]
    overall = [median_months(frame["os"], frame["died"]) for frame in studies.values()]
    assert 8.5 <= np.mean(pfs) <= 11, pfs
    assert 20 <= np.mean(overall) <= 27, overall


def test_investigators_err_at_a_few_time_points_only(studies):
    shares = [frame.attrs["disagreement"] for frame in studies.values()]
    assert all(0.01 <= share <= 0.045 for share in shares), shares


def test_early_change_of_serum_her2_goes_with_later_progression(studies):
    p_values = [landmark_p(frame) for frame in studies.values()]
    assert max(p_values) < 0.01, p_values


def test_in_a_null_study_serum_her2_looks_the_same_and_tells_nothing(studies, tmp_path):
    write_study(tmp_path, 400, SEEDS[0], null=True)
    null, linked = analysed(tmp_path), studies[SEEDS[0]]
    assert null["pfs"].tolist() == linked["pfs"].tolist()
    assert landmark_p(null) > 0.05
    assert abs(null["baseline"].median() - linked["baseline"].median()) < 0.15
    assert abs(null["ratio"].std() - linked["ratio"].std()) < 0.08
