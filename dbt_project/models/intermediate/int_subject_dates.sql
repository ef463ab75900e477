-- every dated thing in the data, so that the cut-off, the last day known alive and waiting rows have one source
{% set dated = [
    ('subjects', 'stg_subjects', 'enrolled_on', 'true'),
    ('subjects', 'stg_subjects', 'death_on', 'false'),
    ('exposures', 'stg_exposures', 'start_on', 'true'),
    ('exposures', 'stg_exposures', 'end_on', 'true'),
    ('visits', 'stg_visits', 'visit_on', 'true'),
    ('lab_results', 'stg_lab_results', 'collected_on', 'true'),
    ('tumor_identifications', 'stg_tumor_identifications', 'identified_on', 'true'),
    ('tumor_measurements', 'stg_tumor_measurements', 'assessed_on', 'true'),
    ('tumor_responses', 'stg_tumor_responses', 'assessed_on', 'true'),
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
{{ 'union all' if not loop.last }}
{% endfor %}
