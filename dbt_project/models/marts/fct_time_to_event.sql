with endpoints as (

    select
        *,
        -- an end before its start is listed, and never makes a duration below one day
        greatest(end_on, start_on) as clamped_end_on
    from {{ ref('int_endpoints') }}

),

durations as (

    select
        *,
        {{ days_between('start_on', 'clamped_end_on') }} + 1 as duration_days
    from endpoints

)

select
    subject_id,
    evaluator,
    endpoint,
    start_on,
    clamped_end_on as end_on,
    cast(duration_days as integer) as duration_days,
    -- a month is a twelfth of 365.25 days
    {{ exact_ratio('duration_days', '30.4375', 6) }} as duration_months,
    is_event,
    event_description,
    censoring_reason
from durations
