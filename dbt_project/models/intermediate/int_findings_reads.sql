-- who read an assessment, and what the reader reported
with reads as (

    select
        *,
        max(case when is_accepted then 1 else 0 end) over visit as accepted_reads,
        sum(case when is_accepted then 1 else 0 end) over visit as flagged_reads,
        row_number() over (partition by subject_id, evaluator, visit_no order by reader) as read_no
    from {{ ref('int_accepted_reads') }}
    where is_post_baseline
    window visit as (partition by subject_id, evaluator, visit_no)

)

select
    'no_accepted_read' as kind,
    subject_id,
    concat_ws('', evaluator, ' on ', {{ as_text('assessed_on') }}, ': ', {{ as_text('readers') }}, ' readers, none accepted; not analysed') as detail,
    'warning' as severity
from reads
where accepted_reads = 0 and read_no = 1

union all
select
    'several_accepted_reads' as kind,
    subject_id,
    concat_ws('', evaluator, ' on ', {{ as_text('assessed_on') }}, ': ', {{ as_text('flagged_reads') }}, ' accepted readers, the worst response counts') as detail,
    'warning' as severity
from reads
where flagged_reads > 1 and read_no = 1

union all
select
    'response_conflict' as kind,
    subject_id,
    concat_ws('', {{ read_label('reported') }}, ': different overall responses at one assessment, the worst counts: ', reported_response) as detail,
    'warning' as severity
from {{ ref('int_reported_response') }} as reported
where has_conflict

union all
select
    case subject_matter
        when 'target response' then 'target_disagreement'
        when 'non-target response' then 'non_target_disagreement'
        else 'disagreement'
    end as kind,
    subject_id,
    concat_ws(
        '', {{ read_label('disagreements') }}, ' on ', {{ as_text('assessed_on') }}, ', ', subject_matter, ': ', derived, ' derived, ',
        reported, ' reported (', reason, ')'
    ) as detail,
    'warning' as severity
from {{ ref('int_response_disagreements') }} as disagreements
