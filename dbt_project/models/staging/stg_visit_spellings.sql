-- names that tumour rows and visits spell in several ways (Week 6 and WEEK 6): one spelling, so that they are one visit
with visit_names as (

    {% for record in ['visits', 'tumor_identifications', 'tumor_measurements', 'tumor_responses'] %}
    select {{ trimmed('visit_name') }} as visit_name
    from ({{ accepted_rows(record) }}) as accepted
    where visit_name is not null
    {{ 'union' if not loop.last }}
    {% endfor %}

)

select
    {{ upper_case('visit_names.visit_name') }} as visit_key,
    min(visit_names.visit_name) as visit_name,
    max(visit_names.visit_name) as other_spelling
from visit_names
group by {{ upper_case('visit_names.visit_name') }}
having count(*) > 1
