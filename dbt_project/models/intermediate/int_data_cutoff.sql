{% set declared = var('study')['data_cutoff'] %}

select
    coalesce(cast({{ "'" ~ declared ~ "'" if declared else 'null' }} as date), max(on_date)) as cutoff_on,
    {{ 'true' if declared else 'false' }} as is_declared
from {{ ref('int_subject_dates') }}
