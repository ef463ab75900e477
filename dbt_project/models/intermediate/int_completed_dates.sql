-- the full day of the same visit that a partial date can mean: the read's own, else the evaluator's, else any
with full_days as (

    select subject_id, visit_name, evaluator, reader, imputed_on as full_on
    from {{ ref('int_stated_dates') }}
    where length(on_text) = 10 and visit_name <> ''
    union all
    select subject_id, visit_name, '' as evaluator, '' as reader, visit_on
    from {{ ref('stg_visits') }}
    where not is_visit_on_imputed

)

select
    dates.subject_id,
    dates.evaluator,
    dates.reader,
    dates.visit_name,
    dates.on_text,
    coalesce(
        min(case when full_days.evaluator = dates.evaluator and full_days.reader = dates.reader then full_on end),
        min(case when full_days.evaluator = dates.evaluator then full_on end),
        min(full_on)
    ) as full_on
from {{ ref('int_stated_dates') }} as dates
inner join full_days
    on
        dates.subject_id = full_days.subject_id
        and dates.visit_name = full_days.visit_name
        and full_days.full_on >= coalesce({{ earliest_date('dates.on_text') }}, full_days.full_on)
        and full_days.full_on <= coalesce({{ latest_date('dates.on_text') }}, full_days.full_on)
where length(dates.on_text) < 10
group by dates.subject_id, dates.evaluator, dates.reader, dates.visit_name, dates.on_text
