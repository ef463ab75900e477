with rows_of_assessments as (

    select
        subject_id, evaluator, reader, visit_name, identified_on_text as on_text, identified_on as imputed_on,
        1 as is_lesion_row,
        0 as is_measurement,
        case when role = 'NEW' then 0 else 1 end as is_baseline_row,
        0 as is_accepted_response,
        case when is_accepted then 1 else 0 end as is_accepted_lesion
    from {{ ref('stg_tumor_identifications') }}
    union all
    select
        subject_id, evaluator, reader, visit_name, assessed_on_text, assessed_on,
        1, 1, 0, 0, case when is_accepted then 1 else 0 end
    from {{ ref('stg_tumor_measurements') }}
    where test <> 'SUMDIAM'
    union all
    select
        subject_id, evaluator, reader, visit_name, assessed_on_text, assessed_on,
        0, 0, 0, case when is_accepted then 1 else 0 end, 0
    from {{ ref('stg_tumor_responses') }}

),

stated_dates as (

    select
        subject_id,
        evaluator,
        reader,
        coalesce(visit_name, '') as visit_name,
        coalesce(on_text, '') as on_text,
        min(imputed_on) as imputed_on,
        max(is_lesion_row) = 1 as has_lesion_row,
        max(is_measurement) = 1 as has_measurement,
        max(is_baseline_row) = 1 as has_baseline_row,
        max(is_accepted_response) = 1 as has_accepted_response,
        max(is_accepted_lesion) = 1 as has_accepted_lesion
    from rows_of_assessments
    group by subject_id, evaluator, reader, coalesce(visit_name, ''), coalesce(on_text, '')

),

full_days as (

    select subject_id, visit_name, evaluator, reader, imputed_on as full_on
    from stated_dates
    where length(on_text) = 10 and visit_name <> ''
    union all
    select subject_id, visit_name, '' as evaluator, '' as reader, visit_on
    from {{ ref('stg_visits') }}
    where not is_visit_on_imputed

),

-- the full day of the same visit that a partial date can mean: the read's own, else the evaluator's, else any
completed_dates as (

    select
        stated_dates.subject_id,
        stated_dates.evaluator,
        stated_dates.reader,
        stated_dates.visit_name,
        stated_dates.on_text,
        coalesce(
            min(case
                when full_days.evaluator = stated_dates.evaluator and full_days.reader = stated_dates.reader then full_on
            end),
            min(case when full_days.evaluator = stated_dates.evaluator then full_on end),
            min(full_on)
        ) as full_on
    from stated_dates
    inner join full_days
        on
            stated_dates.subject_id = full_days.subject_id
            and stated_dates.visit_name = full_days.visit_name
            and full_days.full_on >= coalesce({{ earliest_date('stated_dates.on_text') }}, full_days.full_on)
            and full_days.full_on <= coalesce({{ latest_date('stated_dates.on_text') }}, full_days.full_on)
    where length(stated_dates.on_text) < 10
    group by
        stated_dates.subject_id, stated_dates.evaluator, stated_dates.reader, stated_dates.visit_name, stated_dates.on_text

),

dated as (

    select
        stated_dates.*,
        timeline.reference_on,
        timeline.cutoff_on,
        case
            when completed_dates.full_on is not null then completed_dates.full_on
            -- an imputed baseline does not fall after the first dose where the month allows
            when
                stated_dates.has_baseline_row and length(stated_dates.on_text) < 10
                and {{ earliest_date('stated_dates.on_text') }} <= timeline.reference_on
                and stated_dates.imputed_on > timeline.reference_on
                then timeline.reference_on
            else stated_dates.imputed_on
        end as seen_on,
        length(stated_dates.on_text) < 10 and completed_dates.full_on is null as is_imputed
    from stated_dates
    inner join {{ ref('int_subject_timeline') }} as timeline
        on stated_dates.subject_id = timeline.subject_id and timeline.reference_on is not null
    left join completed_dates
        on
            stated_dates.subject_id = completed_dates.subject_id
            and stated_dates.evaluator = completed_dates.evaluator
            and stated_dates.reader = completed_dates.reader
            and stated_dates.visit_name = completed_dates.visit_name
            and stated_dates.on_text = completed_dates.on_text

)

select
    subject_id,
    evaluator,
    reader,
    visit_name,
    on_text,
    seen_on,
    is_imputed,
    has_lesion_row,
    has_measurement,
    has_accepted_response,
    has_accepted_lesion,
    reference_on
from dated
where seen_on <= cutoff_on
