"""Carries marts to the statistics and their results into the private file. No statistic is computed here."""

import time
from dataclasses import dataclass
from pathlib import Path

from orchestration.lake import Lake
from orchestration.parameters import parameters_of
from orchestration.publication import Build, code_version
from orchestration.settings import Settings
from orchestration.study import Study
from orchestration.warehouse import connect, quoted


@dataclass(frozen=True)
class Table:
    description: str
    columns: dict[str, tuple[str, str]]  # name: (type, description)


_BUILD_ID = ("VARCHAR", "The publication that the row belongs to")

METRICS = {
    "estimates": Table(
        "Every number of the report. Grain: analysis, endpoint, population, stratum, term, statistic.",
        {
            "analysis": ("VARCHAR", "What was done: response rate, survival, follow-up, landmark ..."),
            "endpoint": ("VARCHAR", "ORR, confirmed ORR, DCR, CBR, PFS, OS, DOR ..."),
            "population": ("VARCHAR", "Analysis set: in_treated, in_efficacy, in_response_evaluable"),
            "stratum": ("VARCHAR", "all, or the part of the population"),
            "term": ("VARCHAR", "Covariate of a model, or the group that a number is about"),
            "statistic": ("VARCHAR", "proportion, median_months, hazard_ratio, logrank_p ..."),
            "estimate": ("DOUBLE", "The number; NULL when not reached or not estimable, with the reason in caveat"),
            "ci_low": ("DOUBLE", "Lower confidence limit"),
            "ci_high": ("DOUBLE", "Upper confidence limit"),
            "level": ("DOUBLE", "Confidence level"),
            "p_value": ("DOUBLE", "Two-sided p"),
            "p_adjusted": ("DOUBLE", "Holm-adjusted p of a declared secondary analysis"),
            "n": ("BIGINT", "Subjects (or rows, where the method says so) in the analysis"),
            "events": ("BIGINT", "Events (or responders) among them"),
            "method": ("VARCHAR", "Method, with its variant"),
            "is_primary": ("BOOLEAN", "The one primary analysis declared in study.yaml"),
            "caveat": ("VARCHAR", "What to know before quoting the number"),
            "build_id": _BUILD_ID,
        },
    ),
    "survival_curves": Table(
        "Kaplan-Meier curves. Grain: endpoint, population, stratum, time.",
        {
            "endpoint": ("VARCHAR", "PFS, OS, DOR ..."),
            "population": ("VARCHAR", "Analysis set"),
            "stratum": ("VARCHAR", "all, or the group"),
            "time_months": ("DOUBLE", "Months since the curve's origin (30.4375 days a month)"),
            "survival": ("DOUBLE", "Kaplan-Meier estimate just after the time"),
            "ci_low": ("DOUBLE", "Lower log-log limit"),
            "ci_high": ("DOUBLE", "Upper log-log limit"),
            "at_risk": ("BIGINT", "Subjects with time >= this one"),
            "events": ("BIGINT", "Events at the time"),
            "censored": ("BIGINT", "Censored at the time"),
            "build_id": _BUILD_ID,
        },
    ),
    "remark_profile": Table(
        "Every analysis that was run, as REMARK asks. Grain: analysis, endpoint, population, stratum.",
        {
            "analysis": ("VARCHAR", "As in metrics.estimates"),
            "endpoint": ("VARCHAR", "As in metrics.estimates"),
            "population": ("VARCHAR", "Analysis set"),
            "stratum": ("VARCHAR", "all, or the landmark or part of the population"),
            "n": ("BIGINT", "Subjects in the analysis"),
            "events": ("BIGINT", "Events among them"),
            "role": ("VARCHAR", "primary, secondary, sensitivity, exploratory"),
            "status": ("VARCHAR", "done or not estimable"),
            "reason": ("VARCHAR", "Why not estimable, or who was left out"),
            "build_id": _BUILD_ID,
        },
    ),
}


def current_build(settings: Settings, study: Study, *, frozen: bool = False) -> Build:
    """What a publication of now would be made of; ``frozen``: of what the last build of the marts read."""
    return Build(Lake(settings).data_hash(frozen=frozen), study.study_hash, code_version(), parameters_of(study))


def build_metrics(study: Study, build: Build, database: Path) -> tuple[dict[str, int], float]:
    """Compute all metrics from the marts of the private file and write them beside the marts.

    Returns:
        rows by table, and the seconds it took.
    """
    from orchestration.efficacy.cohort import MARTS
    from orchestration.efficacy.metrics import compute

    began = time.perf_counter()
    with connect(database, read_only=False) as connection:
        marts = {
            mart: connection.execute(f"select {', '.join(columns)} from marts.{mart} order by all").df()
            for mart, columns in MARTS.items()
        }
        frames = compute(marts, study, build.build_id)
        connection.execute("create schema if not exists metrics")
        for name, table in METRICS.items():
            frame = frames[name].assign(build_id=build.build_id)[list(table.columns)]
            definition = ", ".join(f"{column} {kind}" for column, (kind, _) in table.columns.items())
            connection.execute(f"create or replace table metrics.{name} ({definition})")
            connection.register("frame", frame)
            casts = ", ".join(
                f"cast(case when {c} = 'nan'::double then null else {c} end as {k})"
                if k == "DOUBLE"
                else f"cast({c} as {k})"
                for c, (k, _) in table.columns.items()
            )
            connection.execute(f"insert into metrics.{name} select {casts} from frame")
            connection.unregister("frame")
            connection.execute(f"comment on table metrics.{name} is {quoted(table.description)}")
            for column, (_, text) in table.columns.items():
                connection.execute(f"comment on column metrics.{name}.{column} is {quoted(text)}")
    return {name: len(frames[name]) for name in METRICS}, time.perf_counter() - began
