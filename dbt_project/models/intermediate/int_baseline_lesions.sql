with identifications as (

    select
        visits.subject_id,
        visits.evaluator,
        visits.reader,
        identifications.lesion_id,
        identifications.role,
        identifications.location,
        identifications.method,
        visits.seen_on as identified_on,
        row_number() over (
            partition by visits.subject_id, visits.evaluator, visits.reader, identifications.lesion_id
            order by visits.seen_on desc, identifications.role desc, identifications._file_id, identifications._row_number
        ) as last_first
    from {{ ref('stg_tumor_identifications') }} as identifications
    inner join {{ ref('int_assessment_visits') }} as visits
        on
            identifications.subject_id = visits.subject_id
            and identifications.evaluator = visits.evaluator
            and identifications.reader = visits.reader
            and coalesce(identifications.visit_name, '') = visits.visit_name
            and coalesce(identifications.identified_on_text, '') = visits.on_text
    where identifications.role in ('TARGET', 'NON-TARGET') and visits.seen_on <= visits.reference_on

)

select
    identifications.subject_id,
    identifications.evaluator,
    identifications.reader,
    identifications.lesion_id,
    identifications.role,
    identifications.location,
    identifications.method,
    identifications.identified_on,
    {{ is_nodal('identifications.location') }} as is_nodal,
    case when {{ is_nodal('identifications.location') }} then 'LYMPH NODE' else identifications.location end as organ
from identifications
inner join {{ ref('int_assessments') }} as baselines
    on
        identifications.subject_id = baselines.subject_id
        and identifications.evaluator = baselines.evaluator
        and identifications.reader = baselines.reader
        and baselines.is_baseline
where identifications.last_first = 1
