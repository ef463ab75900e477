-- fda censors at new therapy, after missed assessments and without a baseline; ema takes the event as observed
with rule_sets as (

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

),

judged as (

    select
        events.*,
        last_adequate.adequate_on,
        planned.planned_no,
        coalesce(last_adequate.adequate_on, events.start_on) as censored_on,
        coalesce(events.event_on <= events.cut_on, false) as is_observed,
        coalesce(
            events.is_fda and {{ days_between('events.start_on', 'events.event_on') }} > planned.missed_after_days, false
        ) as is_after_missed
    from events
    left join last_adequate
        on
            events.subject_id = last_adequate.subject_id
            and events.evaluator = last_adequate.evaluator
            and events.rules = last_adequate.rules
    left join {{ ref('int_planned_imaging') }} as planned
        on
            2 * {{ days_between('events.start_on', 'coalesce(last_adequate.adequate_on, events.start_on)') }}
            >= planned.doubled_days_from
            and 2 * {{ days_between('events.start_on', 'coalesce(last_adequate.adequate_on, events.start_on)') }}
            < planned.doubled_days_before

),

outcomes as (

    select
        *,
        is_fda and lacks_baseline as is_censored_at_start,
        is_observed and not is_after_missed and not (is_fda and lacks_baseline) as is_event
    from judged

)

select
    subject_id,
    evaluator,
    rules,
    start_on,
    progression_on,
    event_on,
    cut_on,
    adequate_on,
    planned_no,
    case when is_censored_at_start then start_on when is_event then event_on else censored_on end as end_on,
    is_event,
    case when is_event then case when event_on = progression_on then 'progressive disease' else 'death' end end
        as event_description,
    case
        when is_event then null
        when is_censored_at_start then 'no baseline assessment'
        when is_observed then 'two or more missed assessments before the event'
        else concat(
            case when adequate_on is null then 'no adequate assessment after start; ' else '' end,
            case
                when is_fda and new_therapy_on <= coalesce(case when lost_by is not null then discontinued_on end, cut_on)
                    then 'new anticancer therapy'
                when lost_by is not null then lost_by
                {% if var('study')['data_cutoff'] -%}
                else 'data cut-off'
                {%- else -%}
                else 'ongoing at the last date in the data'
                {%- endif %}
            end
        )
    end as censoring_reason
from outcomes
