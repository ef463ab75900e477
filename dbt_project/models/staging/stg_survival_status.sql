with current_rows as (

    {{ latest_rows('survival_status', ['subject_id', 'assessed_on'], ['status']) }}

)

select
    subject_id,
    status,
    {{ imputed_date('assessed_on') }} as assessed_on,
    {{ latest_date('assessed_on') }} as assessed_latest_on,
    not {{ is_full_date('assessed_on') }} as is_assessed_on_imputed,
    has_conflict,
    _file_id,
    _row_number
from current_rows
