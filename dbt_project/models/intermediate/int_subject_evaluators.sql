{% set basis = var('response')['basis'] %}

with reads as (

    select
        subject_id,
        evaluator,
        max(case when has_lesion_row then 1 else 0 end) = 1 as has_lesions,
        max(case when has_lesions_at_baseline then 1 else 0 end) = 1 as has_baseline,
        max(case when is_counted then 1 else 0 end) = 1 as has_responses,
        max(case when is_counted and (is_derived_from_baseline or not is_derived) then 1 else 0 end) = 1 as has_vouched_responses
    from (
        select *, is_post_baseline and is_accepted and overall_response is not null as is_counted
        from {{ ref('int_accepted_reads') }}
    ) as accepted
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
    -- responses derived from lesions need a baseline; a reporter of overall responses vouches for it
    {% if basis == 'reported' -%}
    false
    {%- else -%}
    {% if basis == 'derived_else_reported' %}coalesce(reads.has_lesions, false) and {% endif -%}
    not coalesce(case when reads.has_responses then reads.has_vouched_responses else reads.has_baseline end, false)
    {%- endif %} as lacks_baseline
from {{ ref('int_subject_timeline') }} as timeline
cross join {{ ref('int_evaluators') }} as evaluators
left join reads on timeline.subject_id = reads.subject_id and evaluators.evaluator = reads.evaluator
left join {{ ref('int_study_exits') }} as exits on timeline.subject_id = exits.subject_id
where timeline.is_treated
