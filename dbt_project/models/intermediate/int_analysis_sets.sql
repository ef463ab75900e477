-- the sets are nested, so one reason says where a subject falls out
with judged as (

    select
        subjects.subject_id,
        subjects.in_treated,
        subjects.is_her2_low,
        subjects.her2_status,
        timeline.is_treated,
        coalesce(evaluable.has_baseline_target, false) as has_baseline_target,
        coalesce(evaluable.has_adequate_post_baseline, false)
        or evaluable.first_pd_on is not null
        or subjects.death_on is not null as has_outcome
    from {{ ref('int_subjects') }} as subjects
    inner join {{ ref('int_subject_timeline') }} as timeline on subjects.subject_id = timeline.subject_id
    left join {{ ref('int_response_evaluable') }} as evaluable on subjects.subject_id = evaluable.subject_id

)

select
    subject_id,
    in_treated,
    in_treated and is_her2_low as in_efficacy,
    in_treated and is_her2_low and has_baseline_target and has_outcome as in_response_evaluable,
    case
        when not in_treated then 'in_treated'
        when not is_her2_low then 'in_efficacy'
        when not (has_baseline_target and has_outcome) then 'in_response_evaluable'
    end as left_out_of,
    case
        when not is_treated then 'no dose of a study drug up to the data cut-off'
        when not in_treated then 'one id at two sites'
        when not is_her2_low then concat_ws('', 'HER2 status of the tumour: ', her2_status)
        when not has_baseline_target then 'no target lesion at baseline'
        when not has_outcome then 'neither an adequate assessment after baseline nor progression nor death'
    end as left_out_because
from judged
