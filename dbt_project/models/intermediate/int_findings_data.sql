-- the whole study: what is missing altogether, what study.yaml does not name, and what validation remarked on rows that it
-- let pass
{% set evaluator = var('response')['evaluator'] %}
{% set drugs = var('study')['drugs'] %}

with counts as (

    select
        (select count(*) from {{ ref('stg_subjects') }}) as subjects,
        (select count(*) from {{ ref('int_doses') }}) as doses,
        (select count(*) from {{ ref('stg_her2_tests') }}) as her2_tests,
        (select count(*) from {{ ref('stg_lab_results') }} where is_declared_analyte) as serum_her2,
        (select count(*) from {{ ref('stg_tumor_measurements') }}) as measurements,
        (select count(*) from {{ ref('stg_tumor_responses') }}) as responses

),

evaluators as (

    select evaluator from {{ ref('stg_tumor_measurements') }}
    union
    select evaluator from {{ ref('stg_tumor_responses') }}

)

select kind, subject_id, detail, severity from {{ ref('int_findings_subjects') }}
union all
select kind, subject_id, detail, severity from {{ ref('int_findings_dates') }}
union all
select kind, subject_id, detail, severity from {{ ref('int_findings_serum_her2') }}
union all
select kind, subject_id, detail, severity from {{ ref('int_findings_deliveries') }}

union all
select
    'no_clinical_data' as kind,
    cast(null as varchar(200)) as subject_id,
    'the study has no subjects: every mart is empty until demographics arrive' as detail,
    'warning' as severity
from counts
where subjects = 0

union all
select
    'no_exposures' as kind,
    cast(null as varchar(200)) as subject_id,
    'the study has no dose of a study drug (study.drugs): nobody counts as treated' as detail,
    'warning' as severity
from counts
where subjects > 0 and doses = 0

union all
select
    'no_tumor_her2' as kind,
    cast(null as varchar(200)) as subject_id,
    'the study has no IHC or ISH result: nobody is known to be HER2-low' as detail,
    'warning' as severity
from counts
where subjects > 0 and her2_tests = 0

union all
select
    'no_serum_her2' as kind,
    cast(null as varchar(200)) as subject_id,
    'the study has no serum HER2 result: changes of serum HER2 are empty' as detail,
    'warning' as severity
from counts
where serum_her2 = 0

union all
select
    'no_imaging' as kind,
    cast(null as varchar(200)) as subject_id,
    'the study has neither lesions nor responses: response and progression are empty' as detail,
    'warning' as severity
from counts
where measurements = 0 and responses = 0

union all
select
    'evaluator_without_assessments' as kind,
    cast(null as varchar(200)) as subject_id,
    concat_ws(
        '', 'assessments by ', evaluator, ', but none by {{ evaluator }} (response.evaluator): every response counts as missing'
    ) as detail,
    'error' as severity
from evaluators
where not exists (select 1 from evaluators as named where named.evaluator = '{{ evaluator }}')

{% if drugs %}
union all
select
    'treatment_of_no_study_drug' as kind,
    cast(null as varchar(200)) as subject_id,
    concat_ws(
        '', cast(count(*) as varchar(20)), ' exposures to ', treatment, ', which study.drugs does not name: they are no doses'
    ) as detail,
    'warning' as severity
from {{ ref('stg_exposures') }}
where treatment not in {{ text_list(drugs) }}
group by treatment
{% endif %}

union all
select
    'validation_remark' as kind,
    cast(null as varchar(200)) as subject_id,
    concat_ws('', files.path, ' row ', cast(remarks.row_number as varchar(20)), ', ', remarks.record, '.', remarks.field, ': ', remarks.message)
        as detail,
    'info' as severity
from {{ source('lake', 'quarantine') }} as remarks
inner join {{ ref('stg_files') }} as files
    on remarks.file_id = files.file_id and remarks.batch = files.parcel and files.is_judged_here
where remarks.severity = 'info'
