with visits as (

    select
        visits.subject_id,
        visits.visit_name,
        visits.visit_on,
        {{ study_day('visits.visit_on', 'timeline.first_dose_on') }} as study_day,
        min(visits.visit_number) as visit_number
    from {{ ref('stg_visits') }} as visits
    inner join {{ ref('int_subject_timeline') }} as timeline
        on visits.subject_id = timeline.subject_id and visits.visit_on <= timeline.cutoff_on
    group by visits.subject_id, visits.visit_name, visits.visit_on, timeline.first_dose_on

)

select
    visits.subject_id,
    visits.visit_name,
    visits.visit_number,
    visits.visit_on,
    visits.study_day,
    windows.planned_day,
    windows.window_start_day,
    windows.window_end_day,
    visits.study_day between windows.window_start_day and windows.window_end_day as is_in_window
from visits
left join {{ ref('int_visit_windows') }} as windows
    on {{ planned_visit_key('visits.visit_name') }} = windows.visit_key
