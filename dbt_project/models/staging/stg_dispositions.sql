with current_rows as (

    {{ latest_rows('dispositions', ['subject_id', 'category', 'term'], ['occurred_on']) }}

)

select
    subject_id,
    category,
    term,
    {{ imputed_date('occurred_on') }} as occurred_on,
    {{ latest_date('occurred_on') }} as occurred_latest_on,
    not {{ is_full_date('occurred_on') }} as is_occurred_on_imputed,
    term in ('DEATH', 'DEAD', 'DIED') as is_death,
    _file_id,
    _row_number
from current_rows
