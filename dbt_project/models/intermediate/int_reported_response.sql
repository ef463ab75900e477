with responses as (

    select
        visits.subject_id,
        visits.evaluator,
        visits.reader,
        visits.visit_no,
        visits.seen_on,
        responses.test,
        responses.response,
        ranks.worst_rank
    from {{ ref('stg_tumor_responses') }} as responses
    inner join {{ ref('int_assessment_visits') }} as visits
        on
            responses.subject_id = visits.subject_id
            and responses.evaluator = visits.evaluator
            and responses.reader = visits.reader
            and coalesce(responses.visit_name, '') = visits.visit_name
            and coalesce(responses.assessed_on_text, '') = visits.on_text
    left join {{ ref('overall_response_rank') }} as ranks on responses.response = ranks.response

),

-- different responses at one assessment: the worst counts
worst as (

    select
        subject_id,
        evaluator,
        reader,
        visit_no,
        max(case when test = 'OVRLRESP' then worst_rank end) as overall_rank,
        min(case when test = 'OVRLRESP' then worst_rank end) as best_overall_rank,
        max(case when test = 'TRGRESP' then worst_rank end) as target_rank,
        max(case when test = 'NTRGRESP' then worst_rank end) as non_target_rank,
        max(case when test = 'NEWLPROG' and response in ('YES', 'EQUIVOCAL', 'NO') then response end) as new_lesion,
        min(case when response = 'PD' or (test = 'NEWLPROG' and response = 'YES') then seen_on end) as progression_on
    from responses
    group by subject_id, evaluator, reader, visit_no

)

select
    worst.subject_id,
    worst.evaluator,
    worst.reader,
    worst.visit_no,
    overall.response as reported_response,
    target.response as reported_target_response,
    non_target.response as reported_non_target_response,
    worst.new_lesion as reported_new_lesion,
    worst.progression_on,
    coalesce(worst.best_overall_rank < worst.overall_rank, false) as has_conflict
from worst
left join {{ ref('overall_response_rank') }} as overall on worst.overall_rank = overall.worst_rank
left join {{ ref('overall_response_rank') }} as target on worst.target_rank = target.worst_rank
left join {{ ref('overall_response_rank') }} as non_target on worst.non_target_rank = non_target.worst_rank
