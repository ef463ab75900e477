-- what the baseline sum is made of: an assessment that missed a target does not take its earlier diameter away
with diameters as (

    select
        lesion_values.subject_id,
        lesion_values.evaluator,
        lesion_values.reader,
        lesion_values.lesion_id,
        lesion_values.visit_no,
        lesion_values.diameter_mm,
        row_number() over (
            partition by lesion_values.subject_id, lesion_values.evaluator, lesion_values.reader, lesion_values.lesion_id
            order by assessments.measured_on desc, assessments.visit_no desc
        ) as last_first
    from {{ ref('int_lesion_values') }} as lesion_values
    inner join {{ ref('int_assessments') }} as assessments
        on
            lesion_values.subject_id = assessments.subject_id
            and lesion_values.evaluator = assessments.evaluator
            and lesion_values.reader = assessments.reader
            and lesion_values.visit_no = assessments.visit_no
    where lesion_values.role = 'TARGET' and lesion_values.is_assessed and not assessments.is_post_baseline

)

select
    subject_id,
    evaluator,
    reader,
    lesion_id,
    visit_no,
    diameter_mm
from diameters
where last_first = 1
