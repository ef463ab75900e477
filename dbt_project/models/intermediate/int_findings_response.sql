{% set parts = ['targets', 'lesions', 'axes', 'baselines', 'visits', 'reads', 'assessments'] %}

{% for part in parts %}
select kind, subject_id, detail, severity from {{ ref('int_findings_' ~ part) }}
{{ 'union all' if not loop.last }}
{% endfor %}
