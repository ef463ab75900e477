-- what progression-free survival is judged by: the first event, the end of observation, the last adequate assessment before
with rule_sets as (

    -- fda ends observation at new anticancer therapy, ema observes beyond it
    select 'fda' as rules, true as is_fda
    union all
    select 'ema' as rules, false as is_fda

),

events as (

    select
        subjects.*,
        rule_sets.rules,
        rule_sets.is_fda,
        progressions.progression_on,
        least(progressions.progression_on, subjects.death_on) as event_on,
        case when rule_sets.is_fda then least(subjects.new_therapy_on, subjects.cutoff_on) else subjects.cutoff_on end as cut_on
    from {{ ref('int_subject_evaluators') }} as subjects
    cross join rule_sets
    left join {{ ref('int_first_progression') }} as progressions
        on subjects.subject_id = progressions.subject_id and subjects.evaluator = progressions.evaluator

),

last_adequate as (

    select
        events.subject_id,
        events.evaluator,
        events.rules,
        max(responses.assessed_on) as adequate_on
    from events
    inner join {{ ref('int_overall_response') }} as responses
        on
            events.subject_id = responses.subject_id
            and events.evaluator = responses.evaluator
            and responses.is_adequate
            and responses.assessed_on > events.start_on
            and responses.assessed_on <= events.cut_on
            and (responses.assessed_on < events.event_on or events.event_on is null)
    group by events.subject_id, events.evaluator, events.rules

)

select
    events.subject_id,
    events.evaluator,
    events.rules,
    events.is_fda,
    events.start_on,
    events.progression_on,
    events.event_on,
    events.cut_on,
    events.new_therapy_on,
    last_adequate.adequate_on,
    -- who was assessed after it was not lost
    case when events.exited_on >= coalesce(last_adequate.adequate_on, events.start_on) then events.exited_on end as exited_on,
    case when events.exited_on >= coalesce(last_adequate.adequate_on, events.start_on) then events.exit_reason end
        as exit_reason,
    events.lacks_baseline
from events
left join last_adequate
    on
        events.subject_id = last_adequate.subject_id
        and events.evaluator = last_adequate.evaluator
        and events.rules = last_adequate.rules
