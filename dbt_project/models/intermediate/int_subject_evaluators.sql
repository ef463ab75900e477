{% set basis = var('response')['basis'] %}

with evaluators as (

    select '{{ var('response')['evaluator'] }}' as evaluator
    union
    select evaluator
    from {{ ref('int_assessments') }}

),

reads as (

    select
        subject_id,
        evaluator,
        max(case when has_lesions_at_baseline then 1 else 0 end) as has_baseline,
        max(case when is_post_baseline and is_accepted and is_derived and not is_derived_from_baseline then 1 else 0 end)
            as derives_without_baseline
    from {{ ref('int_accepted_reads') }}
    group by subject_id, evaluator

)

select
    timeline.subject_id,
    evaluators.evaluator,
    timeline.start_on,
    timeline.first_dose_on,
    timeline.death_on,
    timeline.last_alive_on,
    timeline.new_therapy_on,
    timeline.cutoff_on,
    exits.exited_on,
    exits.exit_reason,
    -- who derives responses from lesions needs a baseline; a reporter of overall responses vouches for it
    {% if basis == 'derived' -%}
    coalesce(reads.has_baseline, 0) = 0
    {%- else -%}
    coalesce(reads.derives_without_baseline, 0) = 1
    {%- endif %} as lacks_baseline
from {{ ref('int_subject_timeline') }} as timeline
cross join evaluators
left join reads on timeline.subject_id = reads.subject_id and evaluators.evaluator = reads.evaluator
left join {{ ref('int_study_exits') }} as exits on timeline.subject_id = exits.subject_id
where timeline.is_treated
