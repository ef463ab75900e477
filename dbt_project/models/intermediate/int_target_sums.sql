with targets_at_visits as (

    select
        subject_id,
        evaluator,
        reader,
        visit_no,
        sum(case when is_assessed then 1 else 0 end) as assessed_targets,
        sum(case when is_assessed and is_gone then 1 else 0 end) as gone_targets,
        cast(sum(diameter_mm) as decimal(18, 6)) as measured_sum_mm,
        max(measured_on) as measured_on
    from {{ ref('int_lesion_values') }}
    where role = 'TARGET'
    group by subject_id, evaluator, reader, visit_no

),

sums as (

    select
        assessments.subject_id,
        assessments.evaluator,
        assessments.reader,
        assessments.visit_no,
        assessments.days_from_reference,
        assessments.is_baseline,
        baseline_sums.targets,
        baseline_sums.baseline_sum_mm,
        coalesce(targets_at_visits.assessed_targets, 0) as assessed_targets,
        coalesce(targets_at_visits.gone_targets, 0) as gone_targets,
        targets_at_visits.measured_sum_mm,
        targets_at_visits.measured_on,
        case
            when assessments.is_baseline then baseline_sums.baseline_sum_mm
            when targets_at_visits.assessed_targets = baseline_sums.targets then targets_at_visits.measured_sum_mm
        end as sum_mm
    from {{ ref('int_assessments') }} as assessments
    inner join {{ ref('int_baseline_sums') }} as baseline_sums
        on
            assessments.subject_id = baseline_sums.subject_id
            and assessments.evaluator = baseline_sums.evaluator
            and assessments.reader = baseline_sums.reader
            and baseline_sums.targets > 0
    left join targets_at_visits
        on
            assessments.subject_id = targets_at_visits.subject_id
            and assessments.evaluator = targets_at_visits.evaluator
            and assessments.reader = targets_at_visits.reader
            and assessments.visit_no = targets_at_visits.visit_no
    where assessments.is_baseline or assessments.is_post_baseline

)

-- the nadir is the smallest complete sum strictly before the visit
select
    *,
    min(sum_mm) over (
        partition by subject_id, evaluator, reader
        order by days_from_reference
        range between unbounded preceding and 1 preceding
    ) as nadir_mm
from sums
