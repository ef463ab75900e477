with measured as (

    select distinct subject_id, evaluator, reader, lesion_id as measured_id
    from {{ ref('stg_tumor_measurements') }}
    where test <> 'SUMDIAM'

),

known as (

    select
        measured.*,
        lesions.lesion_id,
        lesions.is_nodal
    from measured
    left join {{ ref('int_baseline_lesions') }} as lesions
        on
            measured.subject_id = lesions.subject_id
            and measured.evaluator = lesions.evaluator
            and measured.reader = lesions.reader
            and measured.measured_id = lesions.lesion_id

),

-- T01/T02: lesions that have merged
components as (

    {% for position in range(1, 6) %}
    select subject_id, evaluator, reader, measured_id, {{ position }} as position, split_part(measured_id, '/', {{ position }}) as component
    from known
    where lesion_id is null and split_part(measured_id, '/', {{ position }}) <> ''
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

-- T01.1: a part of a lesion that has split
matched as (

    select
        components.subject_id,
        components.evaluator,
        components.reader,
        components.measured_id,
        lesions.lesion_id,
        nullif(components.component, lesions.lesion_id) as part_id,
        -- what has merged is a node only if all of it is
        min(case when lesions.is_nodal then 1 else 0 end) over (
            partition by components.subject_id, components.evaluator, components.reader, components.measured_id
        ) = 1 as is_nodal,
        row_number() over (
            partition by components.subject_id, components.evaluator, components.reader, components.measured_id, lesions.role
            order by components.position, lesions.lesion_id
        ) as match_no
    from components
    inner join {{ ref('int_baseline_lesions') }} as lesions
        on
            components.subject_id = lesions.subject_id
            and components.evaluator = lesions.evaluator
            and components.reader = lesions.reader
            and (components.component = lesions.lesion_id or split_part(components.component, '.', 1) = lesions.lesion_id)

)

select subject_id, evaluator, reader, measured_id, lesion_id, cast(null as {{ dbt.type_string() }}) as part_id, is_nodal, true as is_counted
from known
where lesion_id is not null
union all
select subject_id, evaluator, reader, measured_id, lesion_id, part_id, is_nodal, match_no = 1 as is_counted
from matched
