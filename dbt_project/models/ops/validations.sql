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
