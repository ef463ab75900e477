{% set response = var('response') %}

-- what the targets of a read say against the rules of measurability
with baseline_values as (

    select
        lesions.*,
        lesion_values.diameter_mm
    from {{ ref('int_baseline_lesions') }} as lesions
    inner join {{ ref('int_assessments') }} as assessments
        on
            lesions.subject_id = assessments.subject_id
            and lesions.evaluator = assessments.evaluator
            and lesions.reader = assessments.reader
            and assessments.is_baseline
    left join {{ ref('int_lesion_values') }} as lesion_values
        on
            assessments.subject_id = lesion_values.subject_id
            and assessments.evaluator = lesion_values.evaluator
            and assessments.reader = lesion_values.reader
            and assessments.visit_no = lesion_values.visit_no
            and lesions.lesion_id = lesion_values.lesion_id
            and lesion_values.is_assessed
    where lesions.role = 'TARGET'

),

organs as (

    select subject_id, evaluator, reader, organ, count(*) as organ_targets, sum(count(*)) over (
        partition by subject_id, evaluator, reader
    ) as all_targets
    from {{ ref('int_baseline_lesions') }}
    where role = 'TARGET'
    group by subject_id, evaluator, reader, organ

)

select
    'target_not_measurable' as kind,
    subject_id,
    concat_ws(
        '', {{ read_label('baseline_values') }}, ' ', lesion_id, ': ', {{ mm_text('diameter_mm') }},
        case when is_nodal then ', a node needs {{ response['node_target_mm'] }} mm' else ', a target needs {{ response['target_mm'] }} mm' end
    ) as detail,
    'warning' as severity
from baseline_values
where diameter_mm < case when is_nodal then {{ response['node_target_mm'] }} else {{ response['target_mm'] }} end

union all
select
    'target_without_baseline_value' as kind,
    subject_id,
    concat_ws('', {{ read_label('baseline_values') }}, ' ', lesion_id, ': not measured at the baseline assessment') as detail,
    'warning' as severity
from baseline_values
where diameter_mm is null

union all
select
    'too_many_targets' as kind,
    subject_id,
    concat_ws('', {{ read_label('organs') }}, ': ', {{ as_text('max(all_targets)') }}, ' targets, at most {{ response['max_targets'] }}') as detail,
    'warning' as severity
from organs
where all_targets > {{ response['max_targets'] }}
group by subject_id, evaluator, reader

union all
select
    'too_many_targets_in_organ' as kind,
    subject_id,
    concat_ws(
        '', {{ read_label('organs') }}, ' ', organ, ': ', {{ as_text('organ_targets') }},
        ' targets, at most {{ response['max_targets_per_organ'] }} an organ'
    ) as detail,
    'warning' as severity
from organs
where organ_targets > {{ response['max_targets_per_organ'] }} and organ is not null
