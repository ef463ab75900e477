-- the last result before the first dose counts; the ISH of an earlier specimen says nothing about a later IHC
with tests as (

    select
        tests.*,
        timeline.first_dose_on
    from {{ ref('stg_her2_tests') }} as tests
    inner join {{ ref('int_subject_timeline') }} as timeline on tests.subject_id = timeline.subject_id
    where tests.tested_on is null or tests.tested_on <= coalesce(timeline.first_dose_on, timeline.cutoff_on)

),

ihc as (

    select
        *,
        row_number() over (
            partition by subject_id
            order by tested_on desc nulls last, is_tested_on_imputed, ihc_score nulls last, ish_status nulls last
        ) as newest_first
    from tests
    where ihc_score is not null or has_ihc_conflict

),

ish as (

    select
        tests.subject_id,
        tests.ish_status,
        tests.has_ish_conflict,
        row_number() over (
            partition by tests.subject_id
            order by tests.tested_on desc nulls last, tests.is_tested_on_imputed, tests.ish_status nulls last
        ) as newest_first
    from tests
    inner join ihc on tests.subject_id = ihc.subject_id and ihc.newest_first = 1
    where
        (tests.ish_status is not null or tests.has_ish_conflict)
        and (tests.tested_on is null or ihc.tested_on is null or tests.tested_on >= ihc.tested_on)

),

paired as (

    select
        timeline.subject_id,
        ihc.tested_on,
        ihc.ihc_score,
        ihc.ihc_membrane_staining,
        ish.ish_status,
        case when coalesce(ish.has_ish_conflict, false) then 'EQUIVOCAL' else coalesce(ish.ish_status, 'NOT DONE') end
            as ish_result
    from {{ ref('int_subject_timeline') }} as timeline
    left join ihc on timeline.subject_id = ihc.subject_id and ihc.newest_first = 1
    left join ish on timeline.subject_id = ish.subject_id and ish.newest_first = 1

),

-- faint or incomplete staining of more than 0 and at most 10 % of the cells; more than that would be IHC 1+
stained as (

    select
        *,
        (ihc_membrane_staining like '%FAINT%' or ihc_membrane_staining like '%INCOMPLETE%' or ihc_membrane_staining like '%PARTIAL%')
        and coalesce({{ first_number('ihc_membrane_staining') }}, 10) between 1 and 10
        and not replace(ihc_membrane_staining, ' ', '') like '%>10%' as is_faintly_stained
    from paired

)

select
    stained.subject_id,
    stained.tested_on,
    stained.ihc_score,
    stained.ihc_membrane_staining,
    stained.ish_status,
    case
        when statuses.her2_status = 'HER2-zero' and stained.is_faintly_stained then 'HER2-ultralow'
        else coalesce(statuses.her2_status, 'unknown')
    end as her2_status,
    coalesce(statuses.is_her2_low, false) as is_her2_low
from stained
left join {{ ref('her2_status') }} as statuses
    on stained.ihc_score = statuses.ihc_score and stained.ish_result = statuses.ish_status
