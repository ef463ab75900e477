with assessments as (

    select
        subject_id,
        evaluator,
        reader,
        visit_no,
        min(visit_name) as visit_name,
        min(part_no) as part_no,
        min(reference_on) as reference_on,
        -- the last date of the measurements; without any, of what else was read
        coalesce(
            max(case when has_measurement then seen_on end),
            max(case when has_lesion_row then seen_on end),
            max(seen_on)
        ) as measured_on,
        max(case when is_imputed then 1 else 0 end) = 1 as is_date_imputed,
        max(case when has_lesion_row then 1 else 0 end) = 1 as has_lesion_row,
        max(case when has_accepted_response then 1 else 0 end) = 1 as has_accepted_response,
        max(case when has_accepted_lesion then 1 else 0 end) = 1 as has_accepted_lesion
    from {{ ref('int_assessment_visits') }}
    group by subject_id, evaluator, reader, visit_no

),

baselines as (

    select
        subject_id,
        evaluator,
        reader,
        visit_no,
        measured_on as baseline_on,
        has_lesion_row as has_lesions_at_baseline,
        row_number() over (
            partition by subject_id, evaluator, reader
            order by case when has_lesion_row then 0 else 1 end, measured_on desc, visit_no desc
        ) as last_first
    from assessments
    where
        measured_on <= reference_on
        {% if var('response')['baseline_outside_window'] == 'exclude' %}
        and {{ days_between('measured_on', 'reference_on') }} <= {{ var('response')['baseline_window_days'] }}
        {% endif %}

)

select
    assessments.*,
    {{ days_between('assessments.reference_on', 'assessments.measured_on') }} as days_from_reference,
    baselines.baseline_on,
    coalesce(baselines.has_lesions_at_baseline, false) as has_lesions_at_baseline,
    coalesce(assessments.visit_no = baselines.visit_no, false) as is_baseline,
    assessments.measured_on > assessments.reference_on as is_post_baseline
from assessments
left join baselines
    on
        assessments.subject_id = baselines.subject_id
        and assessments.evaluator = baselines.evaluator
        and assessments.reader = baselines.reader
        and baselines.last_first = 1
