with current_rows as (

    -- unscheduled visits share a name, so the day tells them apart
    {{ latest_rows(
        'visits', ['subject_id', 'visit_name', 'visit_number'], ['visit_on'],
        split_by="case when " ~ upper_case('visit_name') ~ " like 'UNSCH%' then visit_on end"
    ) }}

)

select
    subject_id,
    coalesce(spellings.visit_name, {{ trimmed('current_rows.visit_name') }}) as visit_name,
    {{ to_decimal('visit_number', 9, 3) }} as visit_number,
    {{ imputed_date('visit_on') }} as visit_on,
    not {{ is_full_date('visit_on') }} as is_visit_on_imputed,
    has_conflict,
    _file_id,
    _row_number
from current_rows
left join {{ ref('stg_visit_spellings') }} as spellings
    on {{ upper_case(trimmed('current_rows.visit_name')) }} = spellings.visit_key
