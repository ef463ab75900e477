{% set response = var('response') %}

-- what the lesions of a read say against the rules of measurement
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

),

targets as (

    select subject_id, evaluator, reader, organ, count(*) as organ_targets, sum(count(*)) over (
        partition by subject_id, evaluator, reader
    ) as all_targets
    from {{ ref('int_baseline_lesions') }}
    where role = 'TARGET'
    group by subject_id, evaluator, reader, organ

),

roles as (

    select subject_id, evaluator, reader, lesion_id, min(role) as first_role, max(role) as last_role
    from {{ ref('stg_tumor_identifications') }}
    group by subject_id, evaluator, reader, lesion_id
    having min(role) <> max(role)

)

select
    'target_not_measurable' as kind,
    subject_id,
    concat(
        {{ read_label('baseline_values') }}, ' ', lesion_id, ': ', {{ mm_text('diameter_mm') }},
        case when is_nodal then ', a node needs {{ response['node_target_mm'] }} mm' else ', a target needs {{ response['target_mm'] }} mm' end
    ) as detail,
    'warning' as severity
from baseline_values
where
    role = 'TARGET'
    and diameter_mm < case when is_nodal then {{ response['node_target_mm'] }} else {{ response['target_mm'] }} end

union all
select
    'target_without_baseline_value' as kind,
    subject_id,
    concat({{ read_label('baseline_values') }}, ' ', lesion_id, ': not measured at the baseline assessment') as detail,
    'warning' as severity
from baseline_values
where role = 'TARGET' and diameter_mm is null

union all
select
    'too_many_targets' as kind,
    subject_id,
    concat({{ read_label('targets') }}, ': ', {{ as_text('max(all_targets)') }}, ' targets, at most {{ response['max_targets'] }}') as detail,
    'warning' as severity
from targets
where all_targets > {{ response['max_targets'] }}
group by subject_id, evaluator, reader

union all
select
    'too_many_targets_in_organ' as kind,
    subject_id,
    concat(
        {{ read_label('targets') }}, ' ', organ, ': ', {{ as_text('organ_targets') }},
        ' targets, at most {{ response['max_targets_per_organ'] }} an organ'
    ) as detail,
    'warning' as severity
from targets
where organ_targets > {{ response['max_targets_per_organ'] }} and organ is not null

union all
select
    'role_changed' as kind,
    subject_id,
    concat({{ read_label('roles') }}, ' ', lesion_id, ': ', first_role, ' and ', last_role, '; the last before first dose counts') as detail,
    'warning' as severity
from roles

union all
select distinct
    'lesion_never_identified' as kind,
    measured.subject_id,
    concat({{ read_label('measured') }}, ' ', measured.lesion_id, ': measured, but not identified at baseline; not used') as detail,
    'warning' as severity
from {{ ref('stg_tumor_measurements') }} as measured
inner join {{ ref('int_subject_timeline') }} as timeline
    on measured.subject_id = timeline.subject_id and timeline.reference_on is not null
left join {{ ref('int_measured_lesions') }} as names
    on
        measured.subject_id = names.subject_id
        and measured.evaluator = names.evaluator
        and measured.reader = names.reader
        and measured.lesion_id = names.measured_id
left join {{ ref('stg_tumor_identifications') }} as new_lesions
    on
        measured.subject_id = new_lesions.subject_id
        and measured.evaluator = new_lesions.evaluator
        and measured.reader = new_lesions.reader
        and measured.lesion_id = new_lesions.lesion_id
        and new_lesions.role = 'NEW'
where measured.test <> 'SUMDIAM' and names.lesion_id is null and new_lesions.lesion_id is null

union all
select
    'lesion_measured_twice' as kind,
    readings.subject_id,
    concat(
        {{ read_label('readings') }}, ' ', readings.measured_id, ' on ', {{ as_text('readings.seen_on') }}, ': ',
        {{ mm_text('readings.smallest_mm') }}, ' and ', {{ mm_text('readings.diameter_mm') }}, ', the larger counts'
    ) as detail,
    'warning' as severity
from {{ ref('int_lesion_readings') }} as readings
where readings.smallest_mm < readings.diameter_mm
