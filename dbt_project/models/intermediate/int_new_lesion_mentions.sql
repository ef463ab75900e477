with new_identifications as (

    select
        visits.subject_id, visits.evaluator, visits.reader, visits.visit_no, visits.seen_on, identifications.lesion_id
    from {{ ref('stg_tumor_identifications') }} as identifications
    inner join {{ ref('int_assessment_visits') }} as visits
        on
            identifications.subject_id = visits.subject_id
            and identifications.evaluator = visits.evaluator
            and identifications.reader = visits.reader
            and coalesce(identifications.visit_name, '') = visits.visit_name
            and coalesce(identifications.identified_on_text, '') = visits.on_text
    where identifications.role = 'NEW'

),

new_lesions as (

    select distinct subject_id, evaluator, reader, lesion_id
    from new_identifications

),

new_measurements as (

    select
        visits.subject_id, visits.evaluator, visits.reader, visits.visit_no, visits.seen_on, measurements.lesion_id,
        case measurements.state_code when 'UNEQUIVOCAL' then 'YES' when 'EQUIVOCAL' then 'EQUIVOCAL' end as status
    from {{ ref('stg_tumor_measurements') }} as measurements
    inner join new_lesions
        on
            measurements.subject_id = new_lesions.subject_id
            and measurements.evaluator = new_lesions.evaluator
            and measurements.reader = new_lesions.reader
            and measurements.lesion_id = new_lesions.lesion_id
    inner join {{ ref('int_assessment_visits') }} as visits
        on
            measurements.subject_id = visits.subject_id
            and measurements.evaluator = visits.evaluator
            and measurements.reader = visits.reader
            and coalesce(measurements.visit_name, '') = visits.visit_name
            and coalesce(measurements.assessed_on_text, '') = visits.on_text
    where not measurements.is_not_done and coalesce(measurements.state_code, '') not in ('ABSENT', 'NOT ASSESSED')

),

new_lesion_responses as (

    select
        visits.subject_id, visits.evaluator, visits.reader, visits.visit_no, visits.seen_on, responses.lesion_id,
        case when responses.response in ('YES', 'EQUIVOCAL') then responses.response else 'NO' end as status
    from {{ ref('stg_tumor_responses') }} as responses
    inner join {{ ref('int_assessment_visits') }} as visits
        on
            responses.subject_id = visits.subject_id
            and responses.evaluator = visits.evaluator
            and responses.reader = visits.reader
            and coalesce(responses.visit_name, '') = visits.visit_name
            and coalesce(responses.assessed_on_text, '') = visits.on_text
    where responses.test = 'NEWLPROG' and responses.response is not null

)

select subject_id, evaluator, reader, visit_no, seen_on, lesion_id, 'response' as source, 1 as source_rank, status
from new_lesion_responses
union all
select subject_id, evaluator, reader, visit_no, seen_on, lesion_id, 'identification', 2, null
from new_identifications
union all
select subject_id, evaluator, reader, visit_no, seen_on, lesion_id, 'measurement', 3, status
from new_measurements
