with subjects as (

    select
        subjects.*,
        timeline.enrolled_on as known_enrolled_on,
        timeline.first_dose_on,
        timeline.last_dose_on,
        timeline.death_on as known_death_on,
        timeline.last_alive_on,
        timeline.new_therapy_on,
        timeline.discontinued_on,
        timeline.discontinuation_reason,
        tumor_her2.ihc_score,
        tumor_her2.ish_status,
        tumor_her2.her2_status,
        tumor_her2.is_her2_low,
        -- one id at two sites may be two people: in no analysis set until mended
        timeline.is_treated and not subjects.is_at_two_sites as in_treated
    from {{ ref('stg_subjects') }} as subjects
    inner join {{ ref('int_subject_timeline') }} as timeline on subjects.subject_id = timeline.subject_id
    inner join {{ ref('int_tumor_her2_status') }} as tumor_her2 on subjects.subject_id = tumor_her2.subject_id

)

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
    subjects.known_enrolled_on as enrolled_on,
    subjects.first_dose_on,
    subjects.last_dose_on,
    subjects.known_death_on as death_on,
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
        or subjects.known_death_on is not null
    ) as in_response_evaluable
from subjects
left join {{ ref('int_response_evaluable') }} as evaluable on subjects.subject_id = evaluable.subject_id
