with evaluator_reads as (

    select
        subject_id,
        -- without lesion rows the reporter of responses to targets vouches for them
        max(case
            when targets > 0 then 1
            when not is_derived and coalesce(reported_target_response, overall_response) in ('CR', 'PR', 'SD', 'PD', 'NE') then 1
            else 0
        end) = 1 as has_baseline_target
    from {{ ref('int_accepted_reads') }}
    where evaluator = '{{ var('response')['evaluator'] }}'
    group by subject_id

),

adequate as (

    select subject_id, max(case when is_adequate then 1 else 0 end) = 1 as has_adequate_post_baseline
    from {{ ref('int_overall_response') }}
    where evaluator = '{{ var('response')['evaluator'] }}'
    group by subject_id

)

select
    evaluator_reads.subject_id,
    evaluator_reads.has_baseline_target,
    coalesce(adequate.has_adequate_post_baseline, false) as has_adequate_post_baseline,
    progressions.progression_on as first_pd_on
from evaluator_reads
left join adequate on evaluator_reads.subject_id = adequate.subject_id
left join {{ ref('int_first_progression') }} as progressions
    on
        evaluator_reads.subject_id = progressions.subject_id
        and progressions.evaluator = '{{ var('response')['evaluator'] }}'
