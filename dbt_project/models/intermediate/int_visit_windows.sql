{#
    The planned calendar of study.yaml: sampling visits by name, imaging visits by the schedule in force.
    `*_offset` counts days from day 1, so it has no gap where the study day has none (day 0).
    The calendar ends after 20 years: longer than any study follows its imaging schedule.
#}
{% set last_week = 1040 %}
{% set visits = [] %}
{% for lab in var('visits')['lab'] %}
    {% set planned = lab.planned_day - (1 if lab.planned_day > 0 else 0) %}
    {% do visits.append({
        'kind': 'lab', 'name': lab.name, 'planned': planned, 'before': lab.window_before_days, 'after': lab.window_after_days,
        'sampling': lab.window_before_days, 'sampling_after': lab.window_after_days, 'is_sampling': true,
    }) %}
{% endfor %}
{% set imaging = var('visits')['imaging'] %}
{% set clock = namespace(week=0, scans=0) %}
{% for phase in imaging.schedule %}
    {% set through_week = phase.through_week or last_week %}
    {% for week in range(clock.week + phase.every_weeks, through_week + 1, phase.every_weeks) %}
        {% set clock.scans = clock.scans + 1 %}
        {% do visits.append({
            'kind': 'imaging', 'name': 'WEEK ' ~ week, 'planned': 7 * week, 'before': imaging.window_days, 'after': imaging.window_days,
            'sampling': imaging.sampling_window_days, 'sampling_after': imaging.sampling_window_days, 'is_sampling': clock.scans > 1,
        }) %}
    {% endfor %}
    {% set clock.week = through_week %}
{% endfor %}

{% for visit in visits %}
select
    '{{ visit.kind }}' as visit_kind,
    '{{ visit.name }}' as visit_name,
    {{ planned_visit_key("'" ~ visit.name ~ "'") }} as visit_key,
    {{ visit.planned }} as planned_offset,
    {{ study_day_of_offset(visit.planned) }} as planned_day,
    {{ study_day_of_offset(visit.planned - visit.before) }} as window_start_day,
    {{ study_day_of_offset(visit.planned + visit.after) }} as window_end_day,
    {{ visit.is_sampling }} as is_sampling_visit,
    {{ visit.planned - visit.sampling }} as sampling_start_offset,
    {{ visit.planned + visit.sampling_after }} as sampling_end_offset
{{ 'union all' if not loop.last }}
{% endfor %}
