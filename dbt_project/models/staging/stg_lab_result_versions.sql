{{ config(materialized='view') }}

-- a sample is known by the laboratory's number for it: two laboratories may use the same one
select
    accepted.subject_id,
    accepted.laboratory,
    coalesce(
        accepted.sample_id,
        concat_ws('', coalesce(accepted.laboratory, ''), ' ', accepted.collected_at, ' ', accepted.analyte)
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
    {{ imputed_date('accepted.collected_at_on') }} as collected_on,
    not {{ is_full_date('accepted.collected_at_on') }} as is_collected_on_imputed,
    {{ to_timestamp_utc('accepted.collected_at') }} as collected_at,
    accepted.visit_name,
    accepted.specimen,
    {{ upper_case(trimmed('accepted.assay')) }} as assay,
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
    accepted.version,
    accepted.result_id,
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
