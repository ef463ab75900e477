with non_targets_at_visits as (

    select
        subject_id,
        evaluator,
        reader,
        visit_no,
        sum(case when is_assessed then 1 else 0 end) as assessed_non_targets,
        sum(case when is_assessed and is_gone then 1 else 0 end) as gone_non_targets,
        min(progression_on) as progression_on
    from {{ ref('int_lesion_values') }}
    where role = 'NON-TARGET'
    group by subject_id, evaluator, reader, visit_no

),

visits as (

    select
        assessments.subject_id,
        assessments.evaluator,
        assessments.reader,
        assessments.visit_no,
        baseline_sums.non_targets,
        coalesce(non_targets_at_visits.assessed_non_targets, 0) as assessed_non_targets,
        coalesce(non_targets_at_visits.gone_non_targets, 0) as gone_non_targets,
        non_targets_at_visits.progression_on
    from {{ ref('int_assessments') }} as assessments
    inner join {{ ref('int_baseline_sums') }} as baseline_sums
        on
            assessments.subject_id = baseline_sums.subject_id
            and assessments.evaluator = baseline_sums.evaluator
            and assessments.reader = baseline_sums.reader
    left join non_targets_at_visits
        on
            assessments.subject_id = non_targets_at_visits.subject_id
            and assessments.evaluator = non_targets_at_visits.evaluator
            and assessments.reader = non_targets_at_visits.reader
            and assessments.visit_no = non_targets_at_visits.visit_no
    where assessments.is_post_baseline

)

select
    subject_id,
    evaluator,
    reader,
    visit_no,
    non_targets,
    assessed_non_targets,
    gone_non_targets,
    case
        when non_targets = 0 then 'NA'
        when progression_on is not null then 'PD'
        when assessed_non_targets < non_targets then 'NE'
        when gone_non_targets = non_targets then 'CR'
        else 'NON-CR/NON-PD'
    end as non_target_response,
    progression_on
from visits
