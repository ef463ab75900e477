{% set declared = var('study')['data_cutoff'] %}

select
    {% if declared %}
    cast('{{ declared }}' as date) as cutoff_on,
    true as is_declared
    {% else %}
    max(on_date) as cutoff_on,
    false as is_declared
    {% endif %}
from {{ ref('int_subject_dates') }}
{% if declared %}
having count(*) >= 0
{% endif %}
