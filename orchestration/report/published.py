"""Reads the published warehouse: rows as they stand, in a fixed order. Nothing is calculated beyond counting rows."""

import math
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from orchestration.efficacy.cohort import MARTS, Cohort
from orchestration.errors import UserError
from orchestration.study import Study
from orchestration.warehouse import connect

Row = Any  # a namedtuple with the columns' names

WHOLE = ("", "all", "overall")
"""How the stratum of a whole population is spelt."""

_QUERIES = {
    "publication": """
        select build_id, data_hash, study_hash, code_version, data_cutoff_on
        from ops.publications order by published_at desc, build_id limit 1""",
    "estimates": """
        select analysis, endpoint, population, coalesce(stratum, '') as stratum, coalesce(term, '') as term, statistic,
            estimate, ci_low, ci_high, level, p_value, p_adjusted, n, events, method,
            coalesce(is_primary, false) as is_primary, coalesce(caveat, '') as caveat
        from metrics.estimates
        order by analysis, endpoint, population, stratum nulls first, term nulls first, statistic, method, estimate""",
    "curves": """
        select endpoint, population, coalesce(stratum, '') as stratum, time_months, survival, ci_low, ci_high, at_risk,
            events, censored
        from metrics.survival_curves order by endpoint, population, stratum, time_months""",
    "profile": """
        select analysis, endpoint, population, coalesce(stratum, '') as stratum, n, events, role, status,
            coalesce(reason, '') as reason
        from metrics.remark_profile
        order by case role when 'primary' then 1 when 'secondary' then 2 when 'sensitivity' then 3 else 4 end,
            analysis, endpoint, population, stratum, status, reason""",
    "subjects": """
        select subject_id, site_id, age_years, sex, ihc_score, hormone_receptor_status, her2_status,
            coalesce(in_treated, false) as in_treated, coalesce(in_efficacy, false) as in_efficacy,
            coalesce(in_response_evaluable, false) as in_response_evaluable,
            first_dose_on, last_dose_on, death_on, new_therapy_on, discontinued_on
        from marts.dim_subject order by subject_id""",
    "her2": """
        select subject_id, sample_id, study_day, case when is_visit_value then analysis_visit_name end as visit_name,
            coalesce(analysed_value_ng_ml, value_ng_ml) as shown_ng_ml, analysed_value_ng_ml, value_operator,
            lloq_ng_ml, pct_change, change_category, is_baseline, coalesce(is_usable, false) as is_usable,
            unusable_reason,
            is_usable and analysed_value_ng_ml is not null and not is_after_progression and not is_after_new_therapy
                as is_analysed
        from marts.fct_her2_delta
        order by subject_id, study_day, sample_id, analysed_value_ng_ml""",
    "her2_unusable": """
        select coalesce(unusable_reason, 'no value') as reason, count(*) as samples
        from marts.fct_her2_delta where not (is_usable and analysed_value_ng_ml is not null)
        group by 1 order by samples desc, reason""",
    "assays": """
        select coalesce(assay, 'not stated') as assay, coalesce(laboratory, 'not stated') as laboratory,
            count(*) as samples, min(lloq_ng_ml) as lowest_lloq, max(lloq_ng_ml) as highest_lloq,
            min(uloq_ng_ml) as lowest_uloq, max(uloq_ng_ml) as highest_uloq,
            count(*) filter (value_operator in ('<', '<=') or value_ng_ml < lloq_ng_ml) as below,
            count(*) filter (value_operator in ('>', '>=') or value_ng_ml > uloq_ng_ml) as above
        from marts.fct_her2_delta group by 1, 2 order by samples desc, assay, laboratory""",
    "responses": """
        with targets as (
            select subject_id, evaluator, reader, visit_no as assessment_no,
                list(lesion_id order by lesion_id) as lesion_ids,
                list(cast(case when is_assessed then diameter_mm end as double) order by lesion_id) as diameters_mm
            from intermediate.int_lesion_values where role = 'TARGET' and evaluator = $evaluator
            group by all
        )
        select subject_id, assessed_on, study_day, visit_name, is_baseline, sum_of_diameters_mm, is_sum_complete,
            nadir_sum_mm, pct_change_from_baseline, new_lesion, overall_response, lesion_ids, diameters_mm
        from marts.fct_response as reads
        left join targets using (subject_id, evaluator, reader, assessment_no)
        where evaluator = $evaluator and is_accepted
        order by subject_id, assessed_on, visit_name, assessment_no""",
    "best_responses": """
        select subject_id, best_overall_response, confirmed_best_overall_response,
            coalesce(is_responder, false) as is_responder,
            coalesce(is_confirmed_responder, false) as is_confirmed_responder, first_response_on, best_pct_change
        from marts.fct_best_response where evaluator = $evaluator order by subject_id""",
    "times": """
        select subject_id, endpoint, start_on, end_on, duration_months, is_event, event_description, censoring_reason
        from marts.fct_time_to_event where evaluator = $evaluator order by subject_id, endpoint""",
    "doses": """
        select doses.subject_id, list(distinct dosed_on - first_dose_on order by dosed_on - first_dose_on) as days
        from intermediate.int_doses as doses
        inner join marts.dim_subject as subjects on doses.subject_id = subjects.subject_id
        where first_dose_on is not null
        group by doses.subject_id order by doses.subject_id""",
    "compared": """
        select evaluator, count(*) as reads, count(*) filter (is_disagreement) as disagreements,
            count(distinct subject_id) filter (is_disagreement) as subjects
        from marts.fct_response where derived_response is not null and reported_response is not null
        group by evaluator order by evaluator""",
    "disagreements": """
        select evaluator, subject_matter, reason, count(*) as disagreements, count(distinct subject_id) as subjects,
            min(concat(derived, ' derived, ', reported, ' reported')) as example
        from intermediate.int_response_disagreements group by evaluator, subject_matter, reason
        order by evaluator, subject_matter = 'overall response' desc, subject_matter, disagreements desc, reason""",
    "files": """
        select status, count(*) as files, sum(rows_read) as rows_read, sum(rows_accepted) as rows_accepted,
            sum(rows_quarantined) as rows_quarantined
        from ops.files group by status order by status""",
    "rejected": """
        select path, coalesce(reason, '') as reason from ops.files where status = 'rejected' order by path, reason""",
    "quarantine": """
        select coalesce(record, '') as record, rule, coalesce(field, '') as field,
            count(distinct (file_id, row_number)) as quarantined, min(message) as example
        from ops.quarantine group by all order by quarantined desc, record, rule, field""",
    "findings": """
        select kind, coalesce(severity, '') as severity, coalesce(subject_id, '') as subject_id,
            coalesce(detail, '') as detail
        from ops.findings order by all""",
}


@dataclass(frozen=True)
class Published:
    """One publication: lists of rows (namedtuples), each in a fixed order, and the marts as the statistics see them."""

    cohort: Cohort
    publication: list[Row]
    estimates: list[Row]
    curves: list[Row]
    profile: list[Row]
    subjects: list[Row]
    her2: list[Row]
    her2_unusable: list[Row]
    assays: list[Row]
    responses: list[Row]
    best_responses: list[Row]
    times: list[Row]
    doses: list[Row]
    compared: list[Row]
    disagreements: list[Row]
    files: list[Row]
    rejected: list[Row]
    quarantine: list[Row]
    findings: list[Row]

    @property
    def analysed(self) -> list[Row]:
        """Samples fit for analysis, up to progression and new therapy."""
        return [row for row in self.her2 if row.is_analysed]

    def members(self, population: str) -> set[str]:
        """Subjects of an analysis set, by its flag in dim_subject."""
        return {subject.subject_id for subject in self.subjects if getattr(subject, population)}

    def estimate(
        self,
        analysis: str,
        endpoint: str,
        statistic: str,
        population: str,
        stratum: str | None = None,
        term: str | None = None,
    ) -> Row | None:
        """The row of metrics.estimates for a whole population (or one stratum); None where the analysis was not run."""
        found = [
            row
            for row in self.estimates
            if (row.analysis, row.endpoint, row.statistic, row.population)
            == (analysis, endpoint, statistic, population)
            and (row.stratum in WHOLE if stratum is None else row.stratum == stratum)
            and (term is None or row.term == term)
        ]
        return next((row for row in found if row.is_primary), found[0] if found else None)

    def primary(self, study: Study) -> Row | None:
        """The one primary result: the hazard ratio of the landmark that the protocol names."""
        stratum = f"week {study.analysis.primary_week}"
        marked = [row for row in self.estimates if row.is_primary and row.statistic == "hazard_ratio"]
        named = self.estimate("landmark", "PFS", "hazard_ratio", study.analysis.population, stratum, "log2_ratio")
        return marked[0] if marked else named

    def curve(self, endpoint: str, population: str, stratum: str | None = None) -> list[Row]:
        """Rows of one Kaplan-Meier curve in order of time."""
        return [
            row
            for row in self.curves
            if (row.endpoint, row.population) == (endpoint, population)
            and (row.stratum in WHOLE if stratum is None else row.stratum == stratum)
        ]


def read(warehouse: Path, study: Study) -> Published:
    """Read one publication, read-only.

    Raises:
        UserError: nothing is published there, the file is no warehouse, or another version of the code published it.
    """
    try:
        with connect(warehouse, read_only=True) as connection:
            tables = {}
            for name, query in _QUERIES.items():
                cursor = connection.execute(
                    query, {"evaluator": study.response.evaluator} if "$evaluator" in query else None
                )
                row = namedtuple(name, [column for column, *_ in cursor.description])
                has_nan = any(str(kind) in {"DOUBLE", "FLOAT"} for _, kind, *_ in cursor.description)
                tables[name] = [row._make(map(_known, values) if has_nan else values) for values in cursor.fetchall()]
            marts = {
                mart: connection.execute(f"select {', '.join(columns)} from marts.{mart} order by all").df()
                for mart, columns in MARTS.items()
            }
        return Published(Cohort(marts, study), **tables)
    except (duckdb.BinderException, duckdb.CatalogException, ValueError) as error:
        absent = str(error).splitlines()[0]
        raise UserError(
            f"{warehouse}: was published by another version of the code ({absent}). Publish it anew: sher2 run"
        ) from None


def _known(value: Any) -> Any:
    """NaN is how floating point says missing."""
    return None if isinstance(value, float) and math.isnan(value) else value
