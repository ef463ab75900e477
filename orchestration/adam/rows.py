"""Where the rows of each analysis dataset come from: FROM clauses over the published file and what stands beside it.

Beside it stand the small tables of context.py and the datasets built before. Rows are picked and joined here, never
judged: rules live in dbt. Which variable renames which column, stands in datasets.py.
"""

from orchestration.adam.codes import ASSESSMENTS, BEST_RESPONSES
from orchestration.adam.variables import yes_no

ADSL = """
marts.dim_subject as dim_subject
cross join protocol
cross join intermediate.int_data_cutoff as int_data_cutoff
left join intermediate.int_deaths as int_deaths on dim_subject.subject_id = int_deaths.subject_id
"""

ADLB = """
marts.fct_her2_delta as fct_her2_delta
inner join adsl on fct_her2_delta.subject_id = adsl.USUBJID
cross join protocol
left join visit_numbers on fct_her2_delta.analysis_visit_name = visit_numbers.visit_name
left join staging.stg_lab_results as stg_lab_results
    on fct_her2_delta.subject_id = stg_lab_results.subject_id
    and fct_her2_delta.sample_id = stg_lab_results.sample_id
    and fct_her2_delta.laboratory is not distinct from stg_lab_results.laboratory
    and stg_lab_results.analyte = 'serum_her2' and stg_lab_results.is_declared_analyte
"""

# Sums of a read, diameters of its targets (numbered within the read by their ids), and the best change of a subject.
# A diameter has no study day in any mart: it takes the assessment's where both fall on one day.
ADTR = """
(
    with sums as (
        select
            subject_id, evaluator, reader, assessment_no, visit_name, assessed_on as on_date, study_day,
            is_accepted, is_baseline, 'mm' as unit,
            case when is_sum_complete then 'SDIAM' else 'ISDIAM' end as parameter,
            sum_of_diameters_mm as value,
            case when is_sum_complete then baseline_sum_mm end as baseline_value,
            pct_change_from_baseline, nadir_sum_mm, pct_change_from_nadir
        from marts.fct_response
        where sum_of_diameters_mm is not null
    ),
    targets as (
        select
            subject_id, evaluator, reader, lesion_id, location,
            row_number() over (partition by subject_id, evaluator, reader order by lesion_id) as lesion_no
        from intermediate.int_baseline_lesions
        where role = 'TARGET'
    ),
    diameters as (
        select
            reads.subject_id, reads.evaluator, reads.reader, reads.assessment_no, reads.visit_name,
            lesions.seen_on as on_date,
            case when lesions.seen_on = reads.assessed_on then reads.study_day end as study_day,
            reads.is_accepted, reads.is_baseline, 'mm' as unit, 'LDIAM' as parameter,
            case when lesions.is_assessed then lesions.diameter_mm end as value,
            targets.lesion_no, targets.lesion_id, targets.location
        from intermediate.int_lesion_values as lesions
        inner join targets using (subject_id, evaluator, reader, lesion_id)
        inner join marts.fct_response as reads
            on lesions.subject_id = reads.subject_id and lesions.evaluator = reads.evaluator
            and lesions.reader = reads.reader and lesions.visit_no = reads.assessment_no
    ),
    best_changes as (
        select
            subject_id, evaluator, '' as reader, true as is_accepted, false as is_baseline, '%' as unit,
            'BSTPCHG' as parameter, best_pct_change as value
        from marts.fct_best_response
        where best_pct_change is not null
    )
    select * from sums
    union all by name
    select
        *,
        max(case when is_baseline then value end) over (
            partition by subject_id, evaluator, reader, lesion_id
        ) as baseline_value
    from diameters
    union all by name
    select * from best_changes
) as sizes
inner join adsl on sizes.subject_id = adsl.USUBJID
inner join evaluators on sizes.evaluator = evaluators.evaluator
inner join parameters on parameters.dataset = 'ADTR' and sizes.parameter = parameters.key
left join visit_numbers on sizes.visit_name = visit_numbers.visit_name
left join imputed_dates
    on sizes.subject_id = imputed_dates.subject_id and sizes.evaluator = imputed_dates.evaluator
    and sizes.reader = imputed_dates.reader and sizes.on_date = imputed_dates.on_date
"""


def _assessments(code: str, column: str) -> str:
    return f"""
        select
            subject_id, evaluator, reader, assessment_no, visit_name, assessed_on as on_date, study_day,
            '{code}' as parameter, {column} as value, false as is_best
        from marts.fct_response
        where {column} is not null"""


def _best_responses(code: str, column: str, on_column: str | None) -> str:
    value = column if column.endswith("_response") else yes_no(column)
    return f"""
        select
            subject_id, evaluator, '' as reader, cast({on_column or "null"} as date) as on_date,
            '{code}' as parameter, {value} as value, true as is_best
        from marts.fct_best_response"""


_RESULTS = "\n        union all by name".join(
    [_assessments(code, column) for code, _, column in ASSESSMENTS]
    + [_best_responses(code, column, on_column) for code, _, column, on_column in BEST_RESPONSES]
)

# A best response takes day, visit and imputation from the assessment of its date: the read that counts on that day.
ADRS = f"""
(
    with results as ({_RESULTS}
    ),
    numbered as (
        select
            results.*, parameters.title, parameters.code, evaluators.suffix, evaluators.title as evaluator_title,
            counted_reads.response_no,
            row_number() over (
                partition by results.subject_id
                order by
                    parameters.position, evaluators.suffix, results.reader, results.on_date, results.assessment_no
            ) as sequence_no
        from results
        inner join evaluators on results.evaluator = evaluators.evaluator
        inner join parameters on parameters.dataset = 'ADRS' and results.parameter = parameters.key
        left join intermediate.int_overall_response as counted_reads
            on results.subject_id = counted_reads.subject_id and results.evaluator = counted_reads.evaluator
            and results.reader = counted_reads.reader and results.assessment_no = counted_reads.visit_no
    )
    select
        numbered.* replace (
            coalesce(numbered.study_day, counted.study_day) as study_day,
            coalesce(numbered.visit_name, counted.visit_name) as visit_name
        ),
        coalesce(counted.reader, numbered.reader) as reader_of_date,
        counted.sequence_no as source_no
    from numbered
    left join numbered as counted
        on numbered.is_best and counted.parameter = 'OVR' and counted.response_no is not null
        and numbered.subject_id = counted.subject_id and numbered.evaluator = counted.evaluator
        and numbered.on_date = counted.on_date
) as results
inner join adsl on results.subject_id = adsl.USUBJID
left join numbers on results.value = numbers.value
left join visit_numbers on results.visit_name = visit_numbers.visit_name
left join intermediate.int_response_sequence as int_response_sequence
    on results.subject_id = int_response_sequence.subject_id
    and results.evaluator = int_response_sequence.evaluator
    and results.response_no = int_response_sequence.response_no
left join imputed_dates
    on results.subject_id = imputed_dates.subject_id and results.evaluator = imputed_dates.evaluator
    and results.reader_of_date = imputed_dates.reader and results.on_date = imputed_dates.on_date
"""

# The end of a time is a date of ADSL, or the assessment of that day in ADRS. An end that is neither has no source.
ADTTE = """
(
    select
        times.*, evaluators.suffix, evaluators.title as evaluator_title,
        adrs.ASEQ as assessment_no, adrs.ADTF as assessment_flag,
        case
            when times.event_description = 'death' then case when adsl.DTHDT = times.end_on then 'DTHDT' end
            when times.endpoint = 'OS' and adsl.LSTALVDT = times.end_on then 'LSTALVDT'
            when times.endpoint <> 'OS' and adrs.ASEQ is not null then 'ADT'
            when adsl.TRTSDT = times.end_on then 'TRTSDT'
            when adsl.ENRLDT = times.end_on then 'ENRLDT'
        end as source_variable
    from marts.fct_time_to_event as times
    inner join adsl on times.subject_id = adsl.USUBJID
    inner join evaluators on times.evaluator = evaluators.evaluator
    left join adrs
        on times.subject_id = adrs.USUBJID and times.end_on = adrs.ADT
        and adrs.PARAMCD = concat('OVR', evaluators.suffix) and adrs.ANL01FL = 'Y'
) as fct_time_to_event
inner join adsl on fct_time_to_event.subject_id = adsl.USUBJID
inner join parameters
    on parameters.dataset = 'ADTTE' and fct_time_to_event.endpoint = parameters.key
    and (parameters.is_by_evaluator or fct_time_to_event.suffix = '')
"""
