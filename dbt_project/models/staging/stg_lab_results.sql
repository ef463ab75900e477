{% set keys = 'subject_id, laboratory, sample_id, analyte' %}
{% set hashed = row_hash(['laboratory', 'sample_id', 'analyte']) %}
{% set columns = [
    'subject_id', 'sample_id', 'laboratory', 'analyte', 'is_declared_analyte', 'value_text', 'value_operator', 'value_ng_ml',
    'lloq_ng_ml', 'uloq_ng_ml', 'unit', 'unit_code', 'collected_on', 'is_collected_on_imputed', 'collected_at', 'visit_name',
    'specimen', 'assay', 'result_status', 'carries_value', '_file_id', '_row_number',
] | join(', ') %}

-- messages name their results: a retraction takes away what it names, and leaves other results of the sample
with named as {{ inlined() }} (

    select
        subject_id,
        result_id,
        is_removal,
        row_number() over (
            partition by subject_id, result_id
            order by version_at desc nulls last, version desc nulls last, status_rank desc
        ) as version_order
    from (
        select
            *,
            max(delivery) over (partition by subject_id, result_id, path) as newest_delivery
        from {{ ref('stg_lab_result_versions') }}
        where result_id is not null
    ) as named_versions
    where delivery = newest_delivery

),

standing as {{ inlined() }} (

    select versions.*
    from {{ ref('stg_lab_result_versions') }} as versions
    left join named
        on
            versions.subject_id = named.subject_id
            and versions.result_id = named.result_id
            and named.version_order = 1
            and named.is_removal
    where named.subject_id is null

),

-- nearly all results come once: only the others are put in order; one that comes once is what it is in any order, so
-- it does no harm that two results may share a hash
repeated as {{ inlined() }} (

    select
        subject_id,
        {{ hashed }} as key_hash
    from standing
    group by subject_id, {{ hashed }}
    having count(*) > 1

),

versions as {{ inlined() }} (

    select
        versions.*,
        repeated.subject_id is not null as is_repeated
    from standing as versions
    left join repeated
        on
            versions.subject_id is not distinct from repeated.subject_id
            and {{ row_hash(['versions.laboratory', 'versions.sample_id', 'versions.analyte']) }} = repeated.key_hash

),

delivered as (

    select *
    from (
        select
            *,
            max(delivery) over (partition by {{ keys }}, path) as newest_delivery
        from versions
        where is_repeated
    ) as deliveries
    where delivery = newest_delivery

),

-- times order versions only where every version tells one; a row without a value never replaces one with a value
weighed as (

    select
        *,
        count(version_at) over key_rows = count(*) over key_rows as is_ordered,
        max(case when carries_value or is_removal then 1 else 0 end) over key_rows = 1 as has_result,
        max(case when result_status = 'U' then 1 else 0 end) over key_rows = 1 as is_promoted,
        max(case when result_status = 'U' then version_at end) over key_rows as promoted_at
    from delivered
    window key_rows as (partition by {{ keys }})

),

-- U makes final what was held as preliminary, and brings no value of its own
held as (

    select
        *,
        max(case when carries_value and version_at <= promoted_at then version_at end) over key_rows as held_at
    from weighed
    window key_rows as (partition by {{ keys }})

),

promoted as (

    select
        *,
        case
            when result_status = 'P' and is_promoted and (not is_ordered or version_at = held_at) then 'F'
            else result_status
        end as current_status
    from held

),

numbered as (

    select
        *,
        dense_rank() over (
            partition by {{ keys }}
            order by case when is_ordered then version_at end desc nulls last, version desc nulls last, status_rank desc
        ) as version_number,
        row_number() over (
            partition by {{ keys }}
            order by
                case when is_ordered then version_at end desc nulls last, version desc nulls last, status_rank desc,
                _file_id asc, _row_number asc, path asc
        ) as row_order,
        concat_ws(
            '', coalesce(value_operator, ''), coalesce(cast(value_ng_ml as varchar(40)), value_text), '|',
            cast(coalesce(collected_at, cast(collected_on as timestamp)) as varchar(40)), '|', coalesce(assay, ''), '|',
            coalesce(cast(lloq_ng_ml as varchar(40)), ''), '|', coalesce(cast(uloq_ng_ml as varchar(40)), '')
        ) as reading
    from promoted
    where carries_value or is_removal or not has_result

),

compared as (

    select
        *,
        min(case when version_number = 1 then reading end) over key_rows
        <> max(case when version_number = 1 then reading end) over key_rows as has_conflict,
        current_status = 'F'
        and min(case when current_status = 'F' then reading end) over key_rows
        <> max(case when current_status = 'F' then reading end) over key_rows as is_changed_without_correction
    from numbered
    window key_rows as (partition by {{ keys }})

)

select {{ columns | replace(' result_status,', ' current_status as result_status,') }}, has_conflict, is_changed_without_correction
from compared
where row_order = 1 and not is_removal
union all
select {{ columns }}, false as has_conflict, false as is_changed_without_correction
from versions
where not is_repeated and not is_removal
