{% set fields = [
    'subject_id', 'site_id', 'age_years', 'sex', 'regimen', 'enrolled_on', 'death_on', 'hormone_receptor_status',
    'ihc_score', 'ihc_membrane_staining', 'ish_status',
] %}
{% set tests = ['ihc_score', 'ihc_membrane_staining', 'ish_status'] %}

-- one field a row, because demographics, tests and death come in different exports and are merged by field
with delivered as (

    select *
    from (
        select
            *,
            max(delivery) over (partition by subject_id, path) as newest_delivery
        from ({{ accepted_rows('subjects') }}) as accepted
    ) as versions
    where delivery = newest_delivery

),

field_values as (

    {% for field in fields %}
    select
        subject_id,
        '{{ field }}' as field,
        {{ 'her2_tested_on' if field in tests else 'cast(null as varchar(10))' }} as tested_on,
        {{ field }} as field_value,
        -- a site never yields to a later export of another system: that would merge two people
        {{ "source_name" if field == 'site_id' else "cast(null as varchar(200))" }} as ordered_within,
        exported_on,
        _file_id,
        _row_number
    from delivered
    where {{ field }} is not null
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

newest as (

    select
        *,
        max(exported_on) over (partition by subject_id, field, tested_on, ordered_within) as newest_exported_on,
        row_number() over (
            partition by subject_id, field, tested_on
            order by exported_on desc nulls last, _file_id asc, _row_number asc
        ) as newest_first
    from field_values

),

-- an export without a date is not ordered, so it contradicts as much as it confirms
merged as (

    select
        subject_id,
        field,
        tested_on,
        min(field_value) as lowest_value,
        max(field_value) as highest_value,
        max(case when newest_first = 1 then _file_id end) as _file_id,
        max(case when newest_first = 1 then _row_number end) as _row_number
    from newest
    where exported_on = newest_exported_on or exported_on is null
    group by subject_id, field, tested_on

)

select
    subject_id,
    field,
    tested_on,
    case when lowest_value = highest_value then lowest_value end as field_value,
    lowest_value <> highest_value as has_conflict,
    lowest_value,
    highest_value,
    -- where the newest of the values stands
    _file_id,
    _row_number
from merged
