with ledger as (

    select
        file_id,
        path,
        source,
        layout,
        cast(bytes as bigint) as bytes,
        {{ utc('received_at') }} as received_at,
        {{ to_date('exported_on') }} as exported_on,
        status,
        reason,
        cast(rows_read as bigint) as rows_read,
        cast(rows_accepted as bigint) as rows_accepted,
        cast(rows_quarantined as bigint) as rows_quarantined,
        cast(batch as bigint) as batch,
        cast(coalesce(parcel, batch) as bigint) as parcel,
        cast(sequence as bigint) as delivery
    from {{ source('lake', 'ledger') }}
    {%- if var('cut', none) %}
    -- a data cut knows only what had been received before the end of its day, of what the lake held when it was frozen
    where
        batch <= {{ var('cut')['through_batch'] }}
        {%- if var('cut')['received_from'] == 'filename' %}
        and case
            when {{ to_date('exported_on') }} is not null
                then {{ to_date('exported_on') }} <= cast('{{ var('cut')['on'] }}' as date)
            else {{ utc('received_at') }} < cast('{{ var('cut')['received_before'] }}' as timestamp)
        end
        {%- else %}
        and {{ utc('received_at') }} < cast('{{ var('cut')['received_before'] }}' as timestamp)
        {%- endif %}
    {%- endif %}

),

-- a file is judged once, wherever it lies, and again when the rules change: the newest judgement stands
judgements as (

    select
        *,
        row_number() over (partition by file_id order by batch desc, delivery desc) as newest_first
    from ledger
    where status <> 'duplicate'

),

placements as (

    select
        file_id,
        path,
        min(received_at) as received_at,
        max(exported_on) as exported_on,
        max(delivery) as delivery
    from ledger
    group by file_id, path

),

judged as (

    select
        placements.file_id,
        placements.path,
        judgements.source,
        judgements.layout,
        judgements.bytes,
        placements.received_at,
        coalesce(placements.exported_on, judgements.exported_on) as exported_on,
        judgements.status,
        judgements.reason,
        judgements.rows_read,
        judgements.rows_accepted,
        judgements.rows_quarantined,
        judgements.batch,
        judgements.parcel,
        placements.delivery,
        judgements.status = 'loaded' as is_in_force,
        placements.path = judgements.path as is_judged_here,
        judgements.path as judged_path,
        max(case when judgements.status = 'loaded' then placements.delivery end) over (partition by placements.path)
            as newest_loaded_delivery
    from placements
    inner join judgements on placements.file_id = judgements.file_id and judgements.newest_first = 1

)

select
    file_id,
    path,
    source,
    layout,
    bytes,
    received_at,
    exported_on,
    case
        when not is_judged_here then 'duplicate'
        when is_in_force and delivery < newest_loaded_delivery then 'superseded'
        else status
    end as status,
    case when is_judged_here then reason else concat_ws('', 'same bytes as ', judged_path) end as reason,
    case when is_judged_here then rows_read else 0 end as rows_read,
    case when is_judged_here then rows_accepted else 0 end as rows_accepted,
    case when is_judged_here then rows_quarantined else 0 end as rows_quarantined,
    batch,
    parcel,
    delivery,
    is_in_force,
    is_judged_here
from judged
