with current_rows as (

    -- unscheduled visits share a name, so the day tells them apart
    {{ latest_rows(
        'tumor_measurements',
        ['subject_id', 'lesion_id', 'test', 'evaluator', 'reader', 'visit_name'],
        ['value', 'value_number', 'value_code', 'unit', 'unit_code', 'status', 'method', 'assessed_on', 'accepted'],
        split_by="case when visit_name is null or " ~ upper_case('visit_name') ~ " like 'UNSCH%' then assessed_on end"
    ) }}

),

lengths as (

    select distinct
        ucum_code,
        cast(factor_to_base as decimal(9, 3)) as mm_per_unit
    from {{ ref('ucum_units') }}
    where quantity = 'length'

)

select
    current_rows.subject_id,
    coalesce(current_rows.evaluator, 'INVESTIGATOR') as evaluator,
    coalesce(current_rows.reader, '') as reader,
    coalesce(current_rows.accepted = 'Y', false) as is_accepted,
    {{ upper_case(trimmed('current_rows.lesion_id')) }} as lesion_id,
    current_rows.test,
    -- a length without any unit is in mm; one in a unit that we do not know is no length
    cast(
        {{ to_decimal('current_rows.value_number', 15, 6) }}
        * coalesce(lengths.mm_per_unit, case when current_rows.unit is null then 1 end) as decimal(18, 6)
    ) as diameter_mm,
    current_rows.value_code as state_code,
    coalesce(current_rows.status, '') = 'NOT DONE' as is_not_done,
    current_rows.method,
    coalesce(spellings.visit_name, {{ trimmed('current_rows.visit_name') }}) as visit_name,
    current_rows.assessed_on as assessed_on_text,
    {{ imputed_date('current_rows.assessed_on') }} as assessed_on,
    current_rows.has_conflict,
    current_rows._file_id,
    current_rows._row_number
from current_rows
left join lengths on current_rows.unit_code = lengths.ucum_code
left join {{ ref('stg_visit_spellings') }} as spellings
    on {{ upper_case(trimmed('current_rows.visit_name')) }} = spellings.visit_key
