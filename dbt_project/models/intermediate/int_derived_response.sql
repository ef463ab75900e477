with visits as (

    select
        assessments.subject_id,
        assessments.evaluator,
        assessments.reader,
        assessments.visit_no,
        assessments.has_lesion_row,
        -- identified lesions, or a baseline at which nobody found any
        coalesce(targets.targets, 0) + coalesce(non_targets.non_targets, 0) > 0
        or (assessments.baseline_on is not null and not assessments.has_lesions_at_baseline) as has_baseline,
        coalesce(targets.targets, 0) as targets,
        coalesce(targets.assessed_targets, 0) > coalesce(targets.gone_targets, 0)
        or coalesce(non_targets.assessed_non_targets, 0) > coalesce(non_targets.gone_non_targets, 0) as has_disease,
        targets.target_response,
        coalesce(non_targets.non_target_response, 'NA') as non_target_response,
        new_lesions.new_lesion,
        -- for the tables, what is uncertain has no effect
        case when new_lesions.new_lesion = 'YES' then 'YES' else 'NO' end as certain_new_lesion,
        new_lesions.has_statement as has_new_lesion_statement,
        least(targets.progression_on, non_targets.progression_on, new_lesions.progression_on) as progression_on
    from {{ ref('int_assessments') }} as assessments
    inner join {{ ref('int_new_lesions') }} as new_lesions
        on
            assessments.subject_id = new_lesions.subject_id
            and assessments.evaluator = new_lesions.evaluator
            and assessments.reader = new_lesions.reader
            and assessments.visit_no = new_lesions.visit_no
    left join {{ ref('int_target_response') }} as targets
        on
            assessments.subject_id = targets.subject_id
            and assessments.evaluator = targets.evaluator
            and assessments.reader = targets.reader
            and assessments.visit_no = targets.visit_no
    left join {{ ref('int_non_target_response') }} as non_targets
        on
            assessments.subject_id = non_targets.subject_id
            and assessments.evaluator = non_targets.evaluator
            and assessments.reader = non_targets.reader
            and assessments.visit_no = non_targets.visit_no

)

select
    visits.subject_id,
    visits.evaluator,
    visits.reader,
    visits.visit_no,
    visits.has_baseline,
    visits.has_disease,
    visits.targets,
    visits.target_response,
    visits.non_target_response,
    visits.new_lesion,
    visits.progression_on,
    case
        when visits.has_baseline and visits.targets > 0 then with_targets.overall_response
        when visits.has_baseline then without_targets.overall_response
        -- without a baseline nothing but a new lesion can be told
        when visits.certain_new_lesion = 'YES' then 'PD'
        else 'NE'
    end as derived_response
from visits
left join {{ ref('recist_target_overall') }} as with_targets
    on
        visits.target_response = with_targets.target_response
        and visits.non_target_response = with_targets.non_target_response
        and visits.certain_new_lesion = with_targets.new_lesion
left join {{ ref('recist_non_target_overall') }} as without_targets
    on
        visits.non_target_response = without_targets.non_target_response
        and visits.certain_new_lesion = without_targets.new_lesion
where
    visits.has_lesion_row
    or (visits.has_baseline and visits.has_new_lesion_statement and visits.certain_new_lesion = 'YES')
