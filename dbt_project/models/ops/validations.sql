select
    validations.suite,
    validations.expectation,
    validations."column",
    validations.success,
    validations.evaluated,
    validations.unexpected,
    validations.severity,
    {{ utc('validations.validated_at') }} as validated_at,
    entries.batch
from {{ source('lake', 'validations') }} as validations
inner join (select distinct batch, coalesce(parcel, batch) as parcel from {{ source('lake', 'ledger') }}) as entries
    on validations.batch = entries.parcel
{%- if var('cut', none) %}
-- a data cut knows the verdicts on its own files
where entries.batch in (select files.batch from {{ ref('stg_files') }} as files)
{%- endif %}
