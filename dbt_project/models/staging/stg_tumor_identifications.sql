with current_rows as (

    -- unscheduled visits share a name, so the day tells them apart
    {{ latest_rows(
        'tumor_identifications',
        ['subject_id', 'lesion_id', 'evaluator', 'reader', 'visit_name'],
        ['role', 'location', 'method', 'identified_on', 'accepted'],
        split_by="case when visit_name is null or " ~ upper_case('visit_name') ~ " like 'UNSCH%' then identified_on end"
    ) }}

)

select
    subject_id,
    coalesce(evaluator, 'INVESTIGATOR') as evaluator,
    coalesce(reader, '') as reader,
    coalesce(accepted = 'Y', false) as is_accepted,
    {{ upper_case(trimmed('lesion_id')) }} as lesion_id,
    role,
    location,
    method,
    coalesce(spellings.visit_name, {{ trimmed('current_rows.visit_name') }}) as visit_name,
    identified_on as identified_on_text,
    {{ imputed_date('identified_on') }} as identified_on,
    has_conflict,
    _file_id,
    _row_number
from current_rows
left join {{ ref('stg_visit_spellings') }} as spellings
    on {{ upper_case(trimmed('current_rows.visit_name')) }} = spellings.visit_key
