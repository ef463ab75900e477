with current_rows as (

    {{ latest_rows('therapies', ['subject_id', 'treatment', 'category'], ['started_on'], apart_by='started_on') }}

)

select
    subject_id,
    treatment,
    category,
    {{ imputed_date('started_on') }} as started_on,
    not {{ is_full_date('started_on') }} as is_started_on_imputed,
    _file_id,
    _row_number
from current_rows
