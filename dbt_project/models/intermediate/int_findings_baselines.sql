{% set response = var('response') %}
{% set excludes = response['baseline_outside_window'] == 'exclude' %}

-- who was never assessed, and what lies on or before the first dose
with before_treatment as (

    select
        *,
        count(case when has_lesion_row then 1 end) over (partition by subject_id, evaluator, reader) as lesion_assessments,
        min(case when has_lesion_row then measured_on end) over (partition by subject_id, evaluator, reader) as first_on,
        max(case when has_lesion_row then measured_on end) over (partition by subject_id, evaluator, reader) as last_on
    from {{ ref('int_reader_responses') }}
    where not is_post_baseline

),

-- lesions that no baseline stands behind
without_baseline as (

    select
        subjects.subject_id,
        subjects.evaluator,
        subjects.lacks_baseline,
        max(case when reads.has_lesion_row then 1 else 0 end) = 1 as has_lesions,
        max(case
            when
                reads.is_post_baseline and reads.is_accepted and reads.derived_response is not null
                and not reads.is_derived_from_baseline and not reads.is_derived
                then 1
            else 0
        end) = 1 as is_reported_instead
    from {{ ref('int_subject_evaluators') }} as subjects
    inner join {{ ref('int_accepted_reads') }} as reads
        on subjects.subject_id = reads.subject_id and subjects.evaluator = reads.evaluator
    group by subjects.subject_id, subjects.evaluator, subjects.lacks_baseline

)

select
    'no_tumor_assessment' as kind,
    subject_id,
    concat_ws('', 'treated from ', {{ as_text('first_dose_on') }}, ' on, but no lesion and no response was ever reported') as detail,
    'warning' as severity
from {{ ref('int_subject_timeline') }} as timeline
where
    is_treated
    and not exists (
        select 1
        from {{ ref('int_assessments') }} as assessments
        where assessments.subject_id = timeline.subject_id
    )
    -- a study without any imaging is one finding of its own
    and exists (select 1 from {{ ref('int_assessments') }})

union all
select
    'no_baseline_assessment' as kind,
    subject_id,
    concat_ws(
        '', evaluator, ': lesions were assessed, but none on or before the first dose',
        '{{ " and at most " ~ response["baseline_window_days"] ~ " days before it" if excludes }}; ',
        case
            when lacks_baseline then 'by fda rules progression-free survival is censored at the start'
            else 'the reported overall responses count'
        end
    ) as detail,
    'warning' as severity
from without_baseline
where has_lesions and (lacks_baseline or is_reported_instead)

union all
select
    'several_baselines' as kind,
    subject_id,
    concat_ws(
        '', {{ read_label('before_treatment') }}, ': lesions assessed at ', {{ as_text('lesion_assessments') }},
        ' visits on or before the first dose, from ', {{ as_text('first_on') }}, '; the last is the baseline, on ', {{ as_text('measured_on') }}
    ) as detail,
    'warning' as severity
from before_treatment
where is_baseline and lesion_assessments > 1

union all
select
    'response_before_treatment' as kind,
    subject_id,
    concat_ws(
        '', {{ read_label('before_treatment') }}, ' on ', {{ as_text('measured_on') }}, ': ', reported_response,
        ' reported on or before the first dose; a baseline is never a response'
    ) as detail,
    'warning' as severity
from before_treatment
where reported_response in ('CR', 'PR', 'SD', 'PD', 'NON-CR/NON-PD')

union all
select distinct
    'baseline_outside_window' as kind,
    subject_id,
    concat_ws(
        '', {{ read_label('before_treatment') }}, ': baseline on ', {{ as_text('last_on') }}, ' is ',
        {{ as_text(days_between('last_on', 'reference_on')) }}, ' days before the first dose, at most {{ response['baseline_window_days'] }};',
        ' {{ "not used" if excludes else "used" }}'
    ) as detail,
    'warning' as severity
from before_treatment
where measured_on = last_on and {{ days_between('last_on', 'reference_on') }} > {{ response['baseline_window_days'] }}

union all
select
    'no_disease_at_baseline' as kind,
    subject_id,
    concat_ws('', {{ read_label('responses') }}, ' on ', {{ as_text('assessed_on') }}, ': no lesion at baseline, the response is not adequate') as detail,
    'warning' as severity
from {{ ref('int_reader_responses') }} as responses
where derived_response = 'NA'
