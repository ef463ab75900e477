select
    file_id,
    path,
    source,
    layout,
    bytes,
    received_at,
    exported_on,
    status,
    reason,
    rows_read,
    rows_accepted,
    rows_quarantined,
    batch
from {{ ref('stg_files') }}
