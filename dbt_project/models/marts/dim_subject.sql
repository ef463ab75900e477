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
    sets.in_treated,
    sets.in_efficacy,
    sets.in_response_evaluable
from {{ ref('int_subjects') }} as subjects
inner join {{ ref('int_analysis_sets') }} as sets on subjects.subject_id = sets.subject_id
