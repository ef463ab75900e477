with sums as (

    select subject_id, evaluator, reader, count(*) as measured_targets, sum(diameter_mm) as sum_mm
    from {{ ref('int_baseline_diameters') }}
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
