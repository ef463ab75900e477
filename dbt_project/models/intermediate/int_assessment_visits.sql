{% set window_days = var('response')['assessment_window_days'] %}

with recursive days as (

    select distinct subject_id, evaluator, visit_name, seen_on
    from {{ ref('int_assessment_dates') }}

),

next_starts as (

    select days.subject_id, days.evaluator, days.visit_name, days.seen_on, min(later.seen_on) as next_on
    from days
    inner join days as later
        on
            days.subject_id = later.subject_id
            and days.evaluator = later.evaluator
            and days.visit_name = later.visit_name
            and later.seen_on > {{ add_days('days.seen_on', window_days) }}
    group by days.subject_id, days.evaluator, days.visit_name, days.seen_on

),

-- the first day starts a visit; the first day outside its window starts the next
starts as (

    select subject_id, evaluator, visit_name, min(seen_on) as start_on
    from days
    group by subject_id, evaluator, visit_name
    union all
    select next_starts.subject_id, next_starts.evaluator, next_starts.visit_name, next_starts.next_on
    from starts
    inner join next_starts
        on
            starts.subject_id = next_starts.subject_id
            and starts.evaluator = next_starts.evaluator
            and starts.visit_name = next_starts.visit_name
            and starts.start_on = next_starts.seen_on

),

visits as (

    select
        subject_id,
        evaluator,
        visit_name,
        start_on,
        lead(start_on) over (partition by subject_id, evaluator, visit_name order by start_on) as next_start_on,
        row_number() over (partition by subject_id, evaluator, visit_name order by start_on) as part_no,
        row_number() over (partition by subject_id, evaluator order by start_on, visit_name) as visit_no
    from starts

)

select
    dates.*,
    visits.visit_no,
    visits.part_no
from {{ ref('int_assessment_dates') }} as dates
inner join visits
    on
        dates.subject_id = visits.subject_id
        and dates.evaluator = visits.evaluator
        and dates.visit_name = visits.visit_name
        and dates.seen_on >= visits.start_on
        and (dates.seen_on < visits.next_start_on or visits.next_start_on is null)
