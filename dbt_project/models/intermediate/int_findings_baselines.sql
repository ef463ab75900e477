{% set response = var('response') %}

-- who was never assessed, and what lies on or before the first dose
with before_treatment as (

    select
        *,
        count(case when has_lesion_row then 1 end) over (partition by subject_id, evaluator, reader) as lesion_assessments,
        min(case when has_lesion_row then measured_on end) over (partition by subject_id, evaluator, reader) as first_on
    from {{ ref('int_reader_responses') }}
    where not is_post_baseline

)

select
    'no_tumor_assessment' as kind,
    subject_id,
    concat('treated from ', {{ as_text('first_dose_on') }}, ' on, but no lesion and no response was ever reported') as detail,
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
    concat(
        evaluator, ': lesions were assessed, but none on or before the first dose; by fda rules progression-free survival is',
        ' censored at the start'
    ) as detail,
    'warning' as severity
from {{ ref('int_subject_evaluators') }} as subjects
where
    lacks_baseline
    and exists (
        select 1
        from {{ ref('int_accepted_reads') }} as reads
        where
            reads.subject_id = subjects.subject_id
            and reads.evaluator = subjects.evaluator
            and reads.has_lesion_row
            and reads.is_post_baseline
    )

union all
select
    'several_baselines' as kind,
    subject_id,
    concat(
        {{ read_label('before_treatment') }}, ': lesions assessed at ', {{ as_text('lesion_assessments') }},
        ' visits on or before the first dose, from ', {{ as_text('first_on') }}, '; the last is the baseline, on ', {{ as_text('measured_on') }}
    ) as detail,
    'warning' as severity
from before_treatment
where is_baseline and lesion_assessments > 1

union all
select
    'response_before_treatment' as kind,
    subject_id,
    concat(
        {{ read_label('before_treatment') }}, ' on ', {{ as_text('measured_on') }}, ': ', reported_response,
        ' reported on or before the first dose; a baseline is never a response'
    ) as detail,
    'warning' as severity
from before_treatment
where reported_response in ('CR', 'PR', 'SD', 'PD', 'NON-CR/NON-PD')

union all
select
    'baseline_outside_window' as kind,
    subject_id,
    concat(
        {{ read_label('before_treatment') }}, ': baseline on ', {{ as_text('baseline_on') }}, ' is ',
        {{ as_text(days_between('baseline_on', 'reference_on')) }}, ' days before the first dose, at most {{ response['baseline_window_days'] }}'
    ) as detail,
    'warning' as severity
from before_treatment
where is_baseline and {{ days_between('baseline_on', 'reference_on') }} > {{ response['baseline_window_days'] }}

union all
select
    'no_disease_at_baseline' as kind,
    subject_id,
    concat({{ read_label('responses') }}, ' on ', {{ as_text('assessed_on') }}, ': no lesion at baseline, the response is not adequate') as detail,
    'warning' as severity
from {{ ref('int_reader_responses') }} as responses
where derived_response = 'NA'
