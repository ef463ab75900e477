-- one row a subject and day of testing; undated tests of a subject share a row
with merged as (

    select
        subject_id,
        tested_on,
        max(case when field = 'ihc_score' then field_value end) as ihc_score,
        max(case when field = 'ihc_membrane_staining' then field_value end) as ihc_membrane_staining,
        max(case when field = 'ish_status' then field_value end) as ish_status,
        max(case when field = 'ihc_score' and has_conflict then 1 else 0 end) = 1 as has_ihc_conflict,
        max(case when field = 'ish_status' and has_conflict then 1 else 0 end) = 1 as has_ish_conflict
    from {{ ref('stg_subject_values') }}
    where field in ('ihc_score', 'ihc_membrane_staining', 'ish_status')
    group by subject_id, tested_on

)

select
    merged.subject_id,
    {{ imputed_date('merged.tested_on') }} as tested_on,
    coalesce(not {{ is_full_date('merged.tested_on') }}, false) as is_tested_on_imputed,
    coalesce(ihc_codes.code, merged.ihc_score) as ihc_score,
    merged.ihc_membrane_staining,
    coalesce(ish_codes.code, merged.ish_status) as ish_status,
    merged.has_ihc_conflict,
    merged.has_ish_conflict
from merged
left join {{ ref('her2_test_codes') }} as ihc_codes
    on ihc_codes.test = 'IHC' and merged.ihc_score = ihc_codes.spelling
left join {{ ref('her2_test_codes') }} as ish_codes
    on ish_codes.test = 'ISH' and merged.ish_status = ish_codes.spelling
