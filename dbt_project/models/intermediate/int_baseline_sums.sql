with last_values as (

    select
        lesion_values.subject_id,
        lesion_values.evaluator,
        lesion_values.reader,
        lesion_values.lesion_id,
        lesion_values.diameter_mm,
        row_number() over (
            partition by lesion_values.subject_id, lesion_values.evaluator, lesion_values.reader, lesion_values.lesion_id
            order by assessments.measured_on desc, assessments.visit_no desc
        ) as last_first
    from {{ ref('int_lesion_values') }} as lesion_values
    inner join {{ ref('int_assessments') }} as assessments
        on
            lesion_values.subject_id = assessments.subject_id
            and lesion_values.evaluator = assessments.evaluator
            and lesion_values.reader = assessments.reader
            and lesion_values.visit_no = assessments.visit_no
    where lesion_values.role = 'TARGET' and lesion_values.is_assessed and not assessments.is_post_baseline

),

sums as (

    select subject_id, evaluator, reader, count(*) as measured_targets, sum(diameter_mm) as sum_mm
    from last_values
    where last_first = 1
    group by subject_id, evaluator, reader

),

expected as (

    select
        subject_id,
        evaluator,
        reader,
        sum(case when role = 'TARGET' then 1 else 0 end) as targets,
        sum(case when role = 'NON-TARGET' then 1 else 0 end) as non_targets
    from {{ ref('int_baseline_lesions') }}
    group by subject_id, evaluator, reader

)

select
    expected.subject_id,
    expected.evaluator,
    expected.reader,
    expected.targets,
    expected.non_targets,
    -- an incomplete sum is no baseline
    cast(case when sums.measured_targets = expected.targets then sums.sum_mm end as decimal(18, 6)) as baseline_sum_mm
from expected
left join sums
    on
        expected.subject_id = sums.subject_id
        and expected.evaluator = sums.evaluator
        and expected.reader = sums.reader
