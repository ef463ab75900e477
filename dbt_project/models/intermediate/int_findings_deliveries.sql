-- a newer delivery of a file with far fewer rows than the one before it: a cut export, or a snapshot of less
with deliveries as (

    select
        files.path,
        judged.rows_read,
        lag(judged.rows_read) over (partition by files.path order by files.delivery) as rows_before,
        row_number() over (partition by files.path order by files.delivery desc) as newest_first
    from {{ ref('stg_files') }} as files
    inner join {{ ref('stg_files') }} as judged on files.file_id = judged.file_id and judged.is_judged_here
    where files.is_in_force

)

select
    'rows_vanished' as kind,
    cast(null as varchar(200)) as subject_id,
    concat_ws(
        '', path, ': the newest delivery has ', cast(rows_read as varchar(20)), ' rows, the one before it ',
        cast(rows_before as varchar(20)), '; what it lacks still counts as it was delivered before'
    ) as detail,
    'warning' as severity
from deliveries
where newest_first = 1 and rows_read * 100 < rows_before * (100 - {{ var('alarms')['max_vanished_pct'] }})
