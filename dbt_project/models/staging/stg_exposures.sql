with current_rows as (

    {{ latest_rows(
        'exposures', ['subject_id', 'treatment', 'start_on'], ['dose', 'dose_unit', 'started_at', 'end_on', 'occurred']
    ) }}

)

select
    subject_id,
    treatment,
    {{ to_decimal('dose') }} as dose,
    dose_unit,
    start_on as start_on_text,
    {{ imputed_date('start_on') }} as start_on,
    not {{ is_full_date('start_on') }} as is_start_on_imputed,
    {{ to_timestamp_utc('started_at') }} as started_at,
    {{ imputed_date('end_on') }} as end_on,
    {{ latest_date('end_on') }} as end_latest_on,
    has_conflict,
    _file_id,
    _row_number
from current_rows
-- an infusion that did not take place is recorded, too
where coalesce(occurred, 'Y') <> 'N'
