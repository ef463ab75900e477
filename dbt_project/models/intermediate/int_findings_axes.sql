-- targets measured along the wrong axis: nodes need their short axis, other lesions their longest diameter
with measured as (

    select
        names.subject_id,
        names.evaluator,
        names.reader,
        names.measured_id,
        names.is_nodal,
        max(case when measurements.test = 'DIAMETER' then measurements.diameter_mm end) as summed_mm,
        max(case when measurements.test = 'LDIAM' then measurements.diameter_mm end) as longest_mm,
        max(case when measurements.test in ('LPERP', 'SAXIS') then measurements.diameter_mm end) as short_axis_mm,
        max(case when measurements.test = 'TUMSTATE' then measurements.state_code end) as state_code
    from {{ ref('stg_tumor_measurements') }} as measurements
    inner join {{ ref('int_measured_lesions') }} as names
        on
            measurements.subject_id = names.subject_id
            and measurements.evaluator = names.evaluator
            and measurements.reader = names.reader
            and measurements.lesion_id = names.measured_id
            and names.is_counted
    inner join {{ ref('int_baseline_lesions') }} as lesions
        on
            names.subject_id = lesions.subject_id
            and names.evaluator = lesions.evaluator
            and names.reader = lesions.reader
            and names.lesion_id = lesions.lesion_id
            and lesions.role = 'TARGET'
    where not measurements.is_not_done
    group by
        names.subject_id, names.evaluator, names.reader, names.measured_id, names.is_nodal,
        measurements.visit_name, measurements.assessed_on_text

),

judged as (

    select
        *,
        case
            when is_nodal and summed_mm = longest_mm and summed_mm <> short_axis_mm
                then 'the sum holds the longest diameter of a node, not its short axis'
            when summed_mm is not null or state_code in ('ABSENT', 'TOO SMALL TO MEASURE') then null
            when is_nodal and longest_mm is not null and short_axis_mm is null
                then 'a node without its short axis; the longest diameter is not used'
            when not is_nodal and short_axis_mm is not null and longest_mm is null
                then 'a lesion without its longest diameter; the short axis is not used'
        end as fault
    from measured

)

select
    'wrong_axis' as kind,
    subject_id,
    concat_ws(
        '', {{ read_label('judged') }}, ' ', min(measured_id),
        case when count(distinct measured_id) > 1 then concat_ws('', ' and ', {{ as_text('count(distinct measured_id) - 1') }}, ' more') else '' end,
        ', ', {{ as_text('count(*)') }}, ' measurements: ', fault
    ) as detail,
    'warning' as severity
from judged
where fault is not null
group by subject_id, evaluator, reader, fault
