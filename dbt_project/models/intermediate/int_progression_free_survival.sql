-- fda censors at new therapy, after missed assessments and without a baseline; ema takes the event as observed
{% set max_missed = var('endpoints')['pfs']['max_missed'] %}

with judged as (

    select
        observations.*,
        planned.planned_no,
        coalesce(observations.adequate_on, observations.start_on) as censored_on,
        observations.is_fda and observations.lacks_baseline as is_censored_at_start,
        coalesce(observations.event_on <= observations.cut_on, false) as is_observed,
        coalesce(
            observations.is_fda
            and {{ days_between('observations.start_on', 'observations.event_on') }} > planned.missed_after_days, false
        ) as is_after_missed
    from {{ ref('int_pfs_observations') }} as observations
    -- the planned assessment that the last adequate one belongs to
    left join {{ ref('int_planned_imaging') }} as planned
        on
            2 * {{ days_between('observations.start_on', 'coalesce(observations.adequate_on, observations.start_on)') }}
            >= planned.doubled_days_from
            and 2 * {{ days_between('observations.start_on', 'coalesce(observations.adequate_on, observations.start_on)') }}
            < planned.doubled_days_before

),

outcomes as (

    select
        *,
        is_observed and not is_after_missed and not is_censored_at_start as is_event
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
        when is_observed then '{{ {1: "one", 2: "two", 3: "three"}.get(max_missed, max_missed) }} or more missed assessments before the event'
        else concat_ws(
            '', case when adequate_on is null then 'no adequate assessment after start; ' else '' end,
            -- what came first
            case
                when is_fda and new_therapy_on <= coalesce(exited_on, cut_on) then 'new anticancer therapy'
                when exited_on <= cut_on then exit_reason
                else '{{ "data cut-off" if var("study")["data_cutoff"] else "ongoing at the last date in the data" }}'
            end
        )
    end as censoring_reason
from outcomes
