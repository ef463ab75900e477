-- and a day is the distance from the first dose, in every mart that has one
select visits.subject_id
from {{ ref('fct_visit') }} as visits
inner join {{ ref('dim_subject') }} as subjects on visits.subject_id = subjects.subject_id
where
    visits.study_day = 0
    or {{ add_days('subjects.first_dose_on', 'visits.study_day - case when visits.study_day > 0 then 1 else 0 end') }}
    <> visits.visit_on
union all
select samples.subject_id
from {{ ref('fct_her2_delta') }} as samples
inner join {{ ref('dim_subject') }} as subjects on samples.subject_id = subjects.subject_id
where
    samples.study_day = 0
    or {{ add_days('subjects.first_dose_on', 'samples.study_day - case when samples.study_day > 0 then 1 else 0 end') }}
    <> samples.collected_on
