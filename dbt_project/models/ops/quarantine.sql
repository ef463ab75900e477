-- of each file's verdict in force; a file that lies at several paths is listed at the one where it was judged
select
    faults.file_id,
    files.path,
    faults.row_number,
    faults.record,
    faults.field,
    faults.value,
    faults.rule,
    faults.message
from {{ source('lake', 'quarantine') }} as faults
inner join {{ ref('stg_files') }} as files
    on faults.file_id = files.file_id and faults.batch = files.parcel and files.is_judged_here
where faults.severity <> 'info'
