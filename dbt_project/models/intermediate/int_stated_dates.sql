with tumor_rows as (

    select
        subject_id, evaluator, reader, visit_name, identified_on_text as on_text, identified_on as imputed_on,
        1 as is_lesion_row,
        0 as is_measurement,
        case when role = 'NEW' then 0 else 1 end as is_baseline_row,
        0 as is_accepted_response,
        0 as is_response,
        case when is_accepted then 1 else 0 end as is_accepted_lesion
    from {{ ref('stg_tumor_identifications') }}
    union all
    select
        subject_id, evaluator, reader, visit_name, assessed_on_text, assessed_on,
        1, 1, 0, 0, 0, case when is_accepted then 1 else 0 end
    from {{ ref('stg_tumor_measurements') }}
    where test <> 'SUMDIAM'
    union all
    select
        subject_id, evaluator, reader, visit_name, assessed_on_text, assessed_on,
        0, 0, 0, case when is_accepted then 1 else 0 end,
        case when test = 'OVRLRESP' and response in ('CR', 'PR', 'SD', 'NON-CR/NON-PD', 'PD') then 1 else 0 end, 0
    from {{ ref('stg_tumor_responses') }}

)

select
    subject_id,
    evaluator,
    reader,
    coalesce(visit_name, '') as visit_name,
    coalesce(on_text, '') as on_text,
    min(imputed_on) as imputed_on,
    max(is_lesion_row) = 1 as has_lesion_row,
    max(is_measurement) = 1 as has_measurement,
    max(is_baseline_row) = 1 as has_baseline_row,
    max(is_response) = 1 as has_response,
    max(is_accepted_response) = 1 as has_accepted_response,
    max(is_accepted_lesion) = 1 as has_accepted_lesion
from tumor_rows
group by subject_id, evaluator, reader, coalesce(visit_name, ''), coalesce(on_text, '')
