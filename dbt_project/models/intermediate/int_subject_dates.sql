-- every dated thing in the data, so that the cut-off, the last day known alive and waiting rows have one source
{% set dated = [
    ('subjects', 'stg_subjects', 'enrolled_on', 'true'),
    ('subjects', 'stg_subjects', 'death_on', 'false'),
    ('exposures', 'int_exposures', 'start_on', 'true'),
    ('exposures', 'int_exposures', 'end_on', 'true'),
    ('visits', 'stg_visits', 'visit_on', 'true'),
    ('lab_results', 'stg_lab_results', 'collected_on', 'true'),
    ('dispositions', 'stg_dispositions', 'occurred_on', 'not is_death'),
    ('therapies', 'stg_therapies', 'started_on', 'true'),
    ('survival_status', 'stg_survival_status', 'assessed_on', "status = 'ALIVE'"),
] %}

{% for record, model, column, alive in dated %}
select
    subject_id,
    '{{ record }}' as record,
    '{{ column }}' as field,
    {{ column }} as on_date,
    {{ alive }} as is_known_alive,
    count(*) as row_count
from {{ ref(model) }}
where {{ column }} is not null
group by subject_id, {{ column }}{{ ', ' ~ alive if alive != 'true' and alive != 'false' }}
union all
{% endfor %}

-- a partial date of an assessment means the full day of its visit
{% for record, column in [
    ('tumor_identifications', 'identified_on'), ('tumor_measurements', 'assessed_on'), ('tumor_responses', 'assessed_on')
] %}
select
    tumor_rows.subject_id,
    '{{ record }}' as record,
    '{{ column }}' as field,
    coalesce(completed.full_on, tumor_rows.{{ column }}) as on_date,
    true as is_known_alive,
    count(*) as row_count
from {{ ref('stg_' ~ record) }} as tumor_rows
left join {{ ref('int_completed_dates') }} as completed
    on
        tumor_rows.subject_id = completed.subject_id
        and tumor_rows.evaluator = completed.evaluator
        and tumor_rows.reader = completed.reader
        and coalesce(tumor_rows.visit_name, '') = completed.visit_name
        and coalesce(tumor_rows.{{ column }}_text, '') = completed.on_text
where coalesce(completed.full_on, tumor_rows.{{ column }}) is not null
group by tumor_rows.subject_id, coalesce(completed.full_on, tumor_rows.{{ column }})
{{ 'union all' if not loop.last }}
{% endfor %}
