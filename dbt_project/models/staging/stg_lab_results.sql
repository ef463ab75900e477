{% set key = 'subject_id, laboratory, sample_id, analyte' %}

-- a sample is known by the laboratory's number for it: two laboratories may use the same one
with delivered as (

    select *
    from (
        select
            *,
            max(delivery) over (partition by {{ key }}, path) as newest_delivery
        from {{ ref('stg_lab_result_versions') }}
    ) as deliveries
    where delivery = newest_delivery

),

-- times order versions only where every version tells one; a row without a value never replaces one with a value
weighed as (

    select
        *,
        count(version_at) over key_rows = count(*) over key_rows as is_ordered,
        max(case when carries_value or is_removal then 1 else 0 end) over key_rows = 1 as has_result
    from delivered
    window key_rows as (partition by {{ key }})

),

numbered as (

    select
        *,
        dense_rank() over (
            partition by {{ key }}
            order by
                case when is_ordered then version_at end desc nulls last, status_rank desc
        ) as version_number,
        row_number() over (
            partition by {{ key }}
            order by
                case when is_ordered then version_at end desc nulls last, status_rank desc,
                _file_id asc, _row_number asc, path asc
        ) as row_order
    from weighed
    where carries_value or is_removal or not has_result

),

current_rows as (

    select
        *,
        min(case when version_number = 1 then reading end) over key_rows
        <> max(case when version_number = 1 then reading end) over key_rows as has_conflict,
        version_number = 1 and result_status = 'F'
        and min(case when result_status = 'F' then reading end) over key_rows
        <> max(case when result_status = 'F' then reading end) over key_rows as is_changed_without_correction
    from (
        select
            *,
            concat(
                coalesce(value_operator, ''), coalesce(cast(value_ng_ml as varchar(40)), value_text), '|', collected_at, '|',
                coalesce(assay, ''), '|', coalesce(cast(lloq_ng_ml as varchar(40)), ''), '|',
                coalesce(cast(uloq_ng_ml as varchar(40)), '')
            ) as reading
        from numbered
    ) as readings
    window key_rows as (partition by {{ key }})

)

select
    subject_id,
    sample_id,
    laboratory,
    analyte,
    is_declared_analyte,
    value_text,
    value_operator,
    value_ng_ml,
    lloq_ng_ml,
    uloq_ng_ml,
    unit,
    unit_code,
    {{ imputed_date('collected_at_on') }} as collected_on,
    not {{ is_full_date('collected_at_on') }} as is_collected_on_imputed,
    {{ to_timestamp_utc('collected_at') }} as collected_at,
    visit_name,
    specimen,
    assay,
    result_status,
    carries_value,
    has_conflict,
    is_changed_without_correction,
    _file_id,
    _row_number
from current_rows
where row_order = 1 and not is_removal
