{% set fields = ['site_id', 'age_years', 'sex', 'regimen', 'enrolled_on', 'death_on', 'hormone_receptor_status'] %}

with subjects as (

    select distinct subject_id
    from ({{ accepted_rows('subjects') }}) as accepted

),

merged as (

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
    subjects.subject_id,
    merged.site_id,
    {{ to_integer('merged.age_years') }} as age_years,
    merged.sex,
    merged.regimen,
    {{ imputed_date('merged.enrolled_on') }} as enrolled_on,
    coalesce(not {{ is_full_date('merged.enrolled_on') }}, false) as is_enrolled_on_imputed,
    {{ imputed_date('merged.death_on') }} as death_on,
    {{ latest_date('merged.death_on') }} as death_latest_on,
    coalesce(not {{ is_full_date('merged.death_on') }}, false) as is_death_on_imputed,
    merged.hormone_receptor_status,
    coalesce(merged.is_at_two_sites, false) as is_at_two_sites
from subjects
left join merged on subjects.subject_id = merged.subject_id
