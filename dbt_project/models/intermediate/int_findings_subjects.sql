-- what demographics, doses, therapies and visits of a subject say against each other
{% set endpoints_start = var('endpoints')['start'] %}

select
    'subject_at_two_sites' as kind,
    subject_id,
    concat_ws('', 'sites ', lowest_value, ' and ', highest_value, ': kept out of the analysis sets until mended') as detail,
    'error' as severity
from {{ ref('stg_subject_values') }}
where field = 'site_id' and has_conflict

union all
select
    'conflict' as kind,
    subject_id,
    concat_ws('', 'subjects.', field, ': ', lowest_value, ' and ', highest_value, ' without an order, no value is used') as detail,
    'error' as severity
from {{ ref('stg_subject_values') }}
where field <> 'site_id' and has_conflict

union all
select
    'conflict' as kind,
    subject_id,
    concat_ws(
        '', 'exposures: ', treatment, ' of ', cast(start_on as varchar(10)), ' told in ', cast(count(*) as varchar(20)),
        ' different ways, all are kept'
    ) as detail,
    'warning' as severity
from {{ ref('int_exposures') }}
where has_conflict
group by subject_id, treatment, start_on

union all
select
    'conflict' as kind,
    subject_id,
    concat_ws('', 'visits: ', visit_name, ' has ', cast(count(*) as varchar(20)), ' dates, all are kept') as detail,
    'warning' as severity
from {{ ref('stg_visits') }}
where has_conflict
group by subject_id, visit_name

union all
select
    'conflict' as kind,
    subject_id,
    concat_ws('', 'survival_status: alive and dead on ', cast(assessed_on as varchar(10))) as detail,
    'error' as severity
from {{ ref('stg_survival_status') }}
where has_conflict
group by subject_id, assessed_on

union all
select
    'her2_status_unknown' as kind,
    statuses.subject_id,
    concat_ws(
        '', 'IHC ', coalesce(statuses.ihc_score, 'missing'), ', ISH ', coalesce(statuses.ish_status, 'missing'),
        ' on or before the first dose: no HER2 status follows'
    ) as detail,
    'warning' as severity
from {{ ref('int_tumor_her2_status') }} as statuses
where statuses.her2_status = 'unknown' and exists (select 1 from {{ ref('stg_her2_tests') }})

union all
select
    'dose_before_enrolment' as kind,
    subject_id,
    concat_ws('', 'first dose ', cast(first_dose_on as varchar(10)), ', enrolled ', cast(enrolled_on as varchar(10))) as detail,
    'warning' as severity
from {{ ref('int_subject_timeline') }}
where first_dose_on < enrolled_on

{% if endpoints_start == 'enrolment' %}
union all
select
    'enrolment_missing' as kind,
    subject_id,
    'no date of enrolment: times start at the first dose' as detail,
    'warning' as severity
from {{ ref('int_subject_timeline') }}
where is_treated and enrolled_on is null
{% endif %}

union all
select
    'death_dates_differ' as kind,
    subject_id,
    concat_ws(
        '', 'died ', cast(earliest_reported_on as varchar(10)), ' or ', cast(latest_reported_on as varchar(10)),
        ' by different records; ', cast(death_on as varchar(10)), ' is used'
    ) as detail,
    'error' as severity
from {{ ref('int_deaths') }}
where earliest_reported_on <> latest_reported_on

union all
select
    'dead_before_death' as kind,
    statuses.subject_id,
    concat_ws(
        '', 'survival status DEAD on ', cast(min(statuses.assessed_on) as varchar(10)), ', before the death on ',
        cast(timeline.death_on as varchar(10))
    ) as detail,
    'error' as severity
from {{ ref('stg_survival_status') }} as statuses
inner join {{ ref('int_subject_timeline') }} as timeline on statuses.subject_id = timeline.subject_id
where statuses.status = 'DEAD' and not statuses.is_assessed_on_imputed and statuses.assessed_on < timeline.death_on
group by statuses.subject_id, timeline.death_on

union all
select
    'therapy_without_category' as kind,
    therapies.subject_id,
    concat_ws('', therapies.treatment, ' of ', cast(therapies.started_on as varchar(10)), ' has no category: not taken as new therapy')
        as detail,
    'warning' as severity
from {{ ref('stg_therapies') }} as therapies
inner join {{ ref('int_subject_timeline') }} as timeline
    on therapies.subject_id = timeline.subject_id and therapies.started_on > timeline.first_dose_on
where therapies.category is null

union all
select
    'visit_outside_window' as kind,
    subject_id,
    concat_ws(
        '', visit_name, ' on day ', cast(study_day as varchar(20)), ', planned for day ', cast(window_start_day as varchar(20)),
        ' to ', cast(window_end_day as varchar(20))
    ) as detail,
    'info' as severity
from {{ ref('int_visits') }}
where not is_in_window
