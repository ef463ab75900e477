with ranked as (

    select
        classes.*,
        unconfirmed.best_rank as unconfirmed_rank,
        confirmed.best_rank as confirmed_rank,
        min(unconfirmed.best_rank) over subject_and_evaluator as best_unconfirmed_rank,
        min(confirmed.best_rank) over subject_and_evaluator as best_confirmed_rank
    from {{ ref('int_best_response_classes') }} as classes
    inner join {{ ref('overall_response_rank') }} as unconfirmed on classes.unconfirmed_class = unconfirmed.response
    inner join {{ ref('overall_response_rank') }} as confirmed on classes.confirmed_class = confirmed.response
    window subject_and_evaluator as (partition by classes.subject_id, classes.evaluator)

)

-- the earliest of the best class
select
    subject_id,
    evaluator,
    max(case when unconfirmed_rank = best_unconfirmed_rank then unconfirmed_class end) as best_overall_response,
    min(case when unconfirmed_rank = best_unconfirmed_rank then assessed_on end) as best_overall_response_on,
    max(case when confirmed_rank = best_confirmed_rank then confirmed_class end) as confirmed_best_overall_response,
    min(case when confirmed_rank = best_confirmed_rank then assessed_on end) as confirmed_best_overall_response_on,
    min(case when overall_response in ('CR', 'PR') then assessed_on end) as first_response_on,
    min(case when is_confirmed then assessed_on end) as confirmed_response_on,
    max(case
        when
            overall_response in {{ text_list(var('response')['disease_control_values'] or ['']) }}
            and days_from_reference
            >= {{ var('response')['clinical_benefit_days'] - var('response')['duration_window_days'] }}
            then 1
        else 0
    end) = 1 as has_long_control
from ranked
group by subject_id, evaluator
