-- dates that contradict each other, and which of them the marts show
with endpoints as (

    select *
    from {{ ref('int_endpoints') }}

),

last_scans as (

    select subject_id, max(assessed_on) as last_scan_on
    from {{ ref('int_overall_response') }}
    group by subject_id

)

select
    'end_before_start' as kind,
    subject_id,
    concat_ws(
        '', evaluator, ' ', endpoint, ': ends on ', {{ as_text('end_on') }}, ', starts on ', {{ as_text('start_on') }},
        '; one day is shown'
    ) as detail,
    'warning' as severity
from endpoints
where end_on < start_on

union all
select
    'survival_before_progression' as kind,
    survival.subject_id,
    concat_ws(
        '', progression.evaluator, ': overall survival ends on ', {{ as_text('survival.end_on') }},
        ', before progression-free survival on ', {{ as_text('progression.end_on') }}, '; both are shown'
    ) as detail,
    'warning' as severity
from endpoints as survival
inner join endpoints as progression
    on
        survival.subject_id = progression.subject_id
        and progression.endpoint = 'PFS'
where survival.endpoint = 'OS' and survival.evaluator = progression.evaluator and survival.end_on < progression.end_on

union all
select
    'assessment_after_death' as kind,
    timeline.subject_id,
    concat_ws(
        '', 'assessed on ', {{ as_text('last_scans.last_scan_on') }}, ', dead since ', {{ as_text('timeline.death_on') }},
        '; times to event end at the death'
    ) as detail,
    'error' as severity
from {{ ref('int_subject_timeline') }} as timeline
inner join last_scans on timeline.subject_id = last_scans.subject_id
where last_scans.last_scan_on > timeline.death_on

union all
select
    'alive_before_last_scan' as kind,
    contacts.subject_id,
    concat_ws(
        '', 'last reported alive on ', {{ as_text('max(contacts.assessed_on)') }}, ', assessed later on ',
        {{ as_text('max(last_scans.last_scan_on)') }}, '; the latest day of all records is the last known alive'
    ) as detail,
    'info' as severity
from {{ ref('stg_survival_status') }} as contacts
inner join last_scans on contacts.subject_id = last_scans.subject_id
where contacts.status = 'ALIVE'
group by contacts.subject_id
having max(contacts.assessed_on) < max(last_scans.last_scan_on)

union all
select
    'assessment_after_exit' as kind,
    exits.subject_id,
    concat_ws(
        '', exits.exit_reason, ' on ', {{ as_text('exits.exited_on') }}, ', assessed later on ', {{ as_text('last_scans.last_scan_on') }},
        '; the assessment counts'
    ) as detail,
    'warning' as severity
from {{ ref('int_study_exits') }} as exits
inner join last_scans on exits.subject_id = last_scans.subject_id
where last_scans.last_scan_on > exits.exited_on
