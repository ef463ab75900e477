{% set fields = ['site_id', 'age_years', 'sex', 'regimen', 'enrolled_on', 'death_on', 'hormone_receptor_status'] %}

with subjects as (

    select
        subject_id,
        {% for field in fields %}
        max(case when field = '{{ field }}' then field_value end) as {{ field }},
        {% endfor %}
        max(case when field = 'site_id' and has_conflict then 1 else 0 end) = 1 as is_at_two_sites
    from {{ ref('stg_subject_values') }}
    group by subject_id

)

select
    subject_id,
    site_id,
    {{ to_integer('age_years') }} as age_years,
    sex,
    regimen,
    {{ imputed_date('enrolled_on') }} as enrolled_on,
    {{ earliest_date('enrolled_on') }} as enrolled_earliest_on,
    coalesce(not {{ is_full_date('enrolled_on') }}, false) as is_enrolled_on_imputed,
    {{ imputed_date('death_on') }} as death_on,
    {{ latest_date('death_on') }} as death_latest_on,
    coalesce(not {{ is_full_date('death_on') }}, false) as is_death_on_imputed,
    hormone_receptor_status,
    is_at_two_sites
from subjects
