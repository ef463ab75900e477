select
    visits.subject_id,
    visits.visit_name,
    visits.visit_number,
    visits.visit_on,
    visits.study_day,
    visits.planned_day,
    visits.window_start_day,
    visits.window_end_day,
    visits.is_in_window,
    coalesce(by_name.has_serum_her2, false) or coalesce(by_day.has_serum_her2, false) as has_serum_her2,
    coalesce(by_name.has_imaging, false) or coalesce(by_day.has_imaging, false) as has_imaging
from {{ ref('int_visits') }} as visits
left join {{ ref('int_visit_evidence') }} as by_name
    on visits.subject_id = by_name.subject_id and {{ upper_case('visits.visit_name') }} = by_name.visit_name
left join {{ ref('int_visit_evidence') }} as by_day
    on visits.subject_id = by_day.subject_id and visits.visit_on = by_day.on_date
