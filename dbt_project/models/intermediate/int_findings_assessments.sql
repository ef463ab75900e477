{% set response = var('response') %}

-- what the assessments of a subject say against each other
with reads as (

    select
        *,
        max(case when is_accepted then 1 else 0 end) over visit as accepted_reads,
        sum(case when is_accepted then 1 else 0 end) over visit as flagged_reads,
        row_number() over (partition by subject_id, evaluator, visit_no order by reader) as read_no
    from {{ ref('int_accepted_reads') }}
    window visit as (partition by subject_id, evaluator, visit_no)

),

statements as (

    select
        *,
        max(case when stated_status = 'YES' then seen_on end) over (partition by subject_id, evaluator, reader) as last_certain_on
    from {{ ref('int_new_lesion_statements') }}

)

select
    'no_accepted_read' as kind,
    subject_id,
    concat(evaluator, ' on ', {{ as_text('assessed_on') }}, ': ', {{ as_text('readers') }}, ' readers, none accepted; not analysed') as detail,
    'warning' as severity
from reads
where is_post_baseline and accepted_reads = 0 and read_no = 1

union all
select
    'several_accepted_reads' as kind,
    subject_id,
    concat(evaluator, ' on ', {{ as_text('assessed_on') }}, ': ', {{ as_text('flagged_reads') }}, ' accepted readers, the worst response counts') as detail,
    'warning' as severity
from reads
where is_post_baseline and flagged_reads > 1 and read_no = 1

union all
select
    'visit_name_used_twice' as kind,
    subject_id,
    concat({{ read_label('reads') }}, ' ', visit_name, ': again on ', {{ as_text('measured_on') }}, ', an assessment of its own') as detail,
    'warning' as severity
from reads
where part_no > 1 and visit_name <> ''

union all
select
    'baseline_outside_window' as kind,
    subject_id,
    concat(
        {{ read_label('reads') }}, ': baseline on ', {{ as_text('baseline_on') }}, ' is ',
        {{ as_text(days_between('baseline_on', 'reference_on')) }}, ' days before the first dose, at most {{ response['baseline_window_days'] }}'
    ) as detail,
    'warning' as severity
from reads
where is_baseline and {{ days_between('baseline_on', 'reference_on') }} > {{ response['baseline_window_days'] }}

union all
select
    'no_disease_at_baseline' as kind,
    subject_id,
    concat({{ read_label('reads') }}, ' on ', {{ as_text('assessed_on') }}, ': no lesion at baseline, the response is not adequate') as detail,
    'warning' as severity
from reads
where derived_response = 'NA'

union all
select
    'disease_after_cr' as kind,
    subject_id,
    concat(
        {{ read_label('reads') }} , ' on ', {{ as_text('assessed_on') }}, ': ', chosen_response, ' after a complete response; ',
        '{{ 'counted as PD' if response['disease_after_cr'] == 'pd' else 'to be judged (PD by the footnote of RECIST)' }}'
    ) as detail,
    'warning' as severity
from reads
where has_disease_after_cr and chosen_response <> 'PD'

union all
select
    'response_conflict' as kind,
    subject_id,
    concat({{ read_label('reported') }}, ': different overall responses at one assessment, the worst counts: ', reported_response) as detail,
    'warning' as severity
from {{ ref('int_reported_response') }} as reported
where has_conflict

union all
select
    'new_lesion_dated_back' as kind,
    subject_id,
    concat({{ read_label('statements') }}, ' ', dated_back_lesion_id, ': progression dated back to its first appearance on ', {{ as_text('seen_on') }})
        as detail,
    'info' as severity
from statements
where dated_back_lesion_id is not null

union all
select
    'new_lesion_not_dated_back' as kind,
    subject_id,
    concat({{ read_label('statements') }}, ': equivocal on ', {{ as_text('seen_on') }}, ', certain later, but the lesion is not named') as detail,
    'info' as severity
from statements
where stated_status = 'EQUIVOCAL' and not is_lesion_named and last_certain_on > seen_on

union all
select
    'stable_disease_by_window' as kind,
    subject_id,
    concat(
        evaluator, ' on ', {{ as_text('assessed_on') }}, ': ', overall_response, ' on day ', {{ as_text('days_from_reference') }},
        ' counts only by the window of {{ response['duration_window_days'] }} days'
    ) as detail,
    'info' as severity
from {{ ref('int_best_response_classes') }}
where overall_response in ('SD', 'NON-CR/NON-PD') and is_long_enough and not is_long_enough_without_window
