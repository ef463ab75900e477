select
    validations.suite,
    validations.expectation,
    validations."column",
    validations.success,
    validations.evaluated,
    validations.unexpected,
    validations.severity,
    {{ utc('validations.validated_at') }} as validated_at,
    validations.batch
from {{ source('lake', 'validations') }} as validations
{%- if var('cut', none) %}
-- a data cut knows the verdicts on its own files
where validations.batch in (select files.batch from {{ ref('stg_files') }} as files)
{%- endif %}
