select
    subjects.subject_id,
    subjects.site_id,
    subjects.age_years,
    subjects.sex,
    subjects.regimen,
    subjects.ihc_score,
    subjects.ish_status,
    subjects.her2_status,
    subjects.is_her2_low,
    subjects.hormone_receptor_status,
    subjects.enrolled_on,
    subjects.first_dose_on,
    subjects.last_dose_on,
    subjects.death_on,
    subjects.last_alive_on,
    subjects.new_therapy_on,
    subjects.discontinued_on,
    subjects.discontinuation_reason,
    subjects.in_treated,
    subjects.in_treated and subjects.is_her2_low as in_efficacy,
    subjects.in_treated
    and subjects.is_her2_low
    and coalesce(evaluable.has_baseline_target, false)
    and (
        coalesce(evaluable.has_adequate_post_baseline, false)
        or evaluable.first_pd_on is not null
        or subjects.death_on is not null
    ) as in_response_evaluable
from {{ ref('int_subjects') }} as subjects
left join {{ ref('int_response_evaluable') }} as evaluable on subjects.subject_id = evaluable.subject_id
