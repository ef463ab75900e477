{% set key = 'subject_id, laboratory, sample_id, analyte' %}

-- a sample is known by the laboratory's number for it: two laboratories may use the same one
with results as (

    select
        accepted.subject_id,
        accepted.laboratory,
        coalesce(
            accepted.sample_id,
            concat(coalesce(accepted.laboratory, ''), ' ', accepted.collected_at, ' ', accepted.analyte)
        ) as sample_id,
        coalesce(accepted.analyte_key, accepted.analyte) as analyte,
        accepted.analyte_key is not null as is_declared_analyte,
        accepted.value as value_text,
        accepted.value_operator,
        {{ concentration('accepted.value_number', 'units.factor_to_base') }} as value_ng_ml,
        {{ concentration('accepted.lloq', 'units.factor_to_base') }} as lloq_ng_ml,
        {{ concentration('accepted.uloq', 'units.factor_to_base') }} as uloq_ng_ml,
        accepted.unit,
        accepted.unit_code,
        accepted.collected_at,
        accepted.collected_at_on,
        accepted.visit_name,
        accepted.specimen,
        upper(trim(accepted.assay)) as assay,
        coalesce(statuses.status_code, accepted.result_status, 'F') as result_status,
        coalesce(statuses.status_rank, 0) as status_rank,
        coalesce(statuses.carries_value, false) as carries_value,
        coalesce(statuses.is_removal, false) as is_removal,
        -- when the laboratory spoke: the day stands in where the time is not told
        coalesce(
            {{ to_timestamp_utc('accepted.reported_at') }},
            cast({{ to_date('accepted.reported_at') }} as timestamp),
            cast(accepted.exported_on as timestamp)
        ) as version_at,
        accepted._file_id,
        accepted._row_number,
        accepted.path,
        accepted.delivery
    from ({{ accepted_rows('lab_results') }}) as accepted
    left join {{ ref('result_status') }} as statuses
        on coalesce(accepted.result_status, 'F') = statuses.spelling
    left join (
        select distinct ucum_code, cast(factor_to_base as decimal(14, 6)) as factor_to_base
        from {{ ref('ucum_units') }}
        where quantity = 'mass_concentration'
    ) as units
        on accepted.unit_code = units.ucum_code

),

delivered as (

    select *
    from (
        select
            *,
            max(delivery) over (partition by {{ key }}, path) as newest_delivery
        from results
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
