with dated as (

    select
        dates.*,
        timeline.reference_on,
        timeline.cutoff_on,
        case
            when completed_dates.full_on is not null then completed_dates.full_on
            -- where the month allows, an imputed baseline does not fall after the first dose, and no response before it
            when
                dates.has_baseline_row and later_visits.visit_key is null
                and {{ earliest_date('dates.on_text') }} <= timeline.reference_on
                and dates.imputed_on > timeline.reference_on
                then timeline.reference_on
            when
                (later_visits.visit_key is not null or (dates.has_response and not dates.has_baseline_row))
                and {{ latest_date('dates.on_text') }} > timeline.reference_on
                and dates.imputed_on <= timeline.reference_on
                then {{ add_days('timeline.reference_on', 1) }}
            else dates.imputed_on
        end as seen_on,
        length(dates.on_text) < 10 and completed_dates.full_on is null as is_imputed
    from {{ ref('int_stated_dates') }} as dates
    inner join {{ ref('int_subject_timeline') }} as timeline
        on dates.subject_id = timeline.subject_id and timeline.reference_on is not null
    left join {{ ref('int_completed_dates') }} as completed_dates
        on
            dates.subject_id = completed_dates.subject_id
            and dates.evaluator = completed_dates.evaluator
            and dates.reader = completed_dates.reader
            and dates.visit_name = completed_dates.visit_name
            and dates.on_text = completed_dates.on_text
    -- visits that study.yaml plans for after the first dose
    left join (
        select distinct visit_key
        from {{ ref('int_visit_windows') }}
        where window_start_day > 1
    ) as later_visits
        on length(dates.on_text) < 10 and {{ planned_visit_key('dates.visit_name') }} = later_visits.visit_key

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
