-- the deepest fall of a complete sum among the assessments that count for the best response
with considered as (

    select subject_id, evaluator, max(assessed_on) as last_considered_on
    from {{ ref('int_response_sequence') }}
    group by subject_id, evaluator

)

select
    reads.subject_id,
    reads.evaluator,
    min({{ exact_ratio('100 * (reads.sum_mm - reads.baseline_sum_mm)', 'reads.baseline_sum_mm', 4) }}) as best_pct_change
from {{ ref('int_accepted_reads') }} as reads
inner join considered
    on
        reads.subject_id = considered.subject_id
        and reads.evaluator = considered.evaluator
        and reads.assessed_on <= considered.last_considered_on
where reads.is_accepted and reads.is_post_baseline
group by reads.subject_id, reads.evaluator
