-- names, order and dates of assessments
with reads as (

    select
        assessments.*,
        labels.label_number,
        max(labels.label_number) over (
            partition by assessments.subject_id, assessments.evaluator, assessments.reader, labels.stem
            order by assessments.days_from_reference
            range between unbounded preceding and 1 preceding
        ) as highest_before
    from {{ ref('int_assessments') }} as assessments
    left join (
        select visit_name, {{ label_stem('visit_name') }} as stem, {{ label_number('visit_name') }} as label_number
        from (select distinct visit_name from {{ ref('int_assessments') }}) as visit_names
    ) as labels
        on assessments.visit_name = labels.visit_name and labels.stem is not null

),

partial_dates as (

    {% for record, field in [
        ('tumor_identifications', 'identified_on'), ('tumor_measurements', 'assessed_on'), ('tumor_responses', 'assessed_on')
    ] %}
    select
        tumor_rows.subject_id,
        '{{ record }}.{{ field }}' as field,
        completed.full_on is not null as is_completed
    from {{ ref('stg_' ~ record) }} as tumor_rows
    left join {{ ref('int_completed_dates') }} as completed
        on
            tumor_rows.subject_id = completed.subject_id
            and tumor_rows.evaluator = completed.evaluator
            and tumor_rows.reader = completed.reader
            and coalesce(tumor_rows.visit_name, '') = completed.visit_name
            and tumor_rows.{{ field }}_text = completed.on_text
    where length(tumor_rows.{{ field }}_text) < 10
    {{ 'union all' if not loop.last }}
    {% endfor %}

)

select
    'date_of_two_visits' as kind,
    subject_id,
    concat_ws('', {{ read_label('visits') }}, ' ', on_date, ': ', min(visit_name), ' and ', max(visit_name), ' (', record, ')') as detail,
    'warning' as severity
from (
    {% for record, field in [
        ('tumor_identifications', 'identified_on'), ('tumor_measurements', 'assessed_on'), ('tumor_responses', 'assessed_on')
    ] %}
    select subject_id, evaluator, reader, visit_name, '{{ record }}' as record, {{ field }}_text as on_date
    from {{ ref('stg_' ~ record) }}
    where length({{ field }}_text) = 10 and visit_name is not null
    {{ 'union all' if not loop.last }}
    {% endfor %}
) as visits
group by subject_id, evaluator, reader, record, on_date
having min({{ upper_case('visit_name') }}) <> max({{ upper_case('visit_name') }})

union all
select
    'visit_name_spelled_differently' as kind,
    cast(null as {{ dbt.type_string() }}) as subject_id,
    concat_ws('', visit_name, ' and ', other_spelling, ' are one visit') as detail,
    'info' as severity
from {{ ref('stg_visit_spellings') }}

union all
select
    'visit_name_used_twice' as kind,
    subject_id,
    concat_ws('', {{ read_label('reads') }}, ' ', visit_name, ': again on ', {{ as_text('measured_on') }}, ', an assessment of its own') as detail,
    'warning' as severity
from reads
where part_no > 1 and visit_name <> ''

union all
select
    'visits_out_of_order' as kind,
    subject_id,
    concat_ws(
        '', {{ read_label('reads') }}, ' ', visit_name, ' on ', {{ as_text('measured_on') }},
        ' comes after a visit with a higher number; the dates decide'
    ) as detail,
    'warning' as severity
from reads
where label_number < highest_before

union all
select
    'partial_date' as kind,
    subject_id,
    concat_ws(
        '', field, ': ', {{ as_text('count(*)') }}, ' partial dates, ', {{ as_text('count(case when is_completed then 1 end)') }},
        ' completed from the full date of their visit, ', {{ as_text('count(case when not is_completed then 1 end)') }},
        ' by dates.impute_day = {{ var('dates')['impute_day'] }}'
    ) as detail,
    'info' as severity
from partial_dates
group by subject_id, field
