-- where a serum sample was taken or a tumour was imaged: once by the visit's name, once by the day
{% set evidence = [
    ('int_serum_her2_samples', 'collected_on', 'has_serum_her2'),
    ('stg_tumor_measurements', 'assessed_on', 'has_imaging'),
    ('stg_tumor_responses', 'assessed_on', 'has_imaging'),
] %}

with seen as (

    {% for model, column, flag in evidence %}
    select distinct
        subject_id,
        {{ upper_case('visit_name') }} as visit_name,
        {{ column }} as on_date,
        {{ flag == 'has_serum_her2' }} as has_serum_her2,
        {{ flag == 'has_imaging' }} as has_imaging
    from {{ ref(model) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

)

select
    subject_id,
    visit_name,
    cast(null as date) as on_date,
    max(case when has_serum_her2 then 1 else 0 end) = 1 as has_serum_her2,
    max(case when has_imaging then 1 else 0 end) = 1 as has_imaging
from seen
where visit_name not like 'UNSCH%'
group by subject_id, visit_name
union all
select
    subject_id,
    cast(null as varchar(200)) as visit_name,
    on_date,
    max(case when has_serum_her2 then 1 else 0 end) = 1 as has_serum_her2,
    max(case when has_imaging then 1 else 0 end) = 1 as has_imaging
from seen
where on_date is not null
group by subject_id, on_date
