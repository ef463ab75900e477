select
    subjects.subject_id,
    subjects.site_id,
    subjects.age_years,
    subjects.sex,
    subjects.regimen,
    tumor_her2.ihc_score,
    tumor_her2.ish_status,
    tumor_her2.her2_status,
    tumor_her2.is_her2_low,
    subjects.hormone_receptor_status,
    timeline.enrolled_on,
    timeline.first_dose_on,
    timeline.is_first_dose_imputed,
    timeline.last_dose_on,
    timeline.death_on,
    timeline.last_alive_on,
    timeline.new_therapy_on,
    timeline.discontinued_on,
    timeline.discontinuation_reason,
    -- one id at two sites may be two people: in no analysis set until mended
    timeline.is_treated and not subjects.is_at_two_sites as in_treated
from {{ ref('stg_subjects') }} as subjects
inner join {{ ref('int_subject_timeline') }} as timeline on subjects.subject_id = timeline.subject_id
inner join {{ ref('int_tumor_her2_status') }} as tumor_her2 on subjects.subject_id = tumor_her2.subject_id
