{# Thirty years reach beyond any trial. -#}
{%- set last_week = 30 * 52 -%}
{%- set imaging = var('visits')['imaging'] -%}
{%- set weeks = [0] -%}
{%- for phase in imaging['schedule'] -%}
    {%- for week in range(weeks[-1] + phase['every_weeks'], (phase['through_week'] or last_week) + 1, phase['every_weeks']) -%}
        {%- do weeks.append(week) -%}
    {%- endfor -%}
{%- endfor -%}

with planned as (

    {% for week in weeks %}
    select {{ loop.index0 }} as planned_no, {{ 7 * week }} as days_from_start{{ ' union all' if not loop.last }}
    {%- endfor %}

),

neighbours as (

    select
        *,
        lag(days_from_start) over (order by planned_no) as previous_days,
        lead(days_from_start) over (order by planned_no) as next_days,
        lead(days_from_start, {{ var('endpoints')['pfs']['max_missed'] }}) over (order by planned_no) as last_missed_days
    from planned

)

-- an assessment belongs to the nearest planned one, a tie to the later
select
    planned_no,
    days_from_start,
    coalesce(previous_days + days_from_start, 0) as doubled_days_from,
    days_from_start + next_days as doubled_days_before,
    last_missed_days + {{ imaging['window_days'] }} as missed_after_days
from neighbours
