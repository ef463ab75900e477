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
