{#
    Rows of a record in their latest version, by business key:
      1. at one path the newest delivery of the key counts (rows that it lacks stay);
      2. between paths the newest export, where the source declares its date (an undated one is not ordered);
      3. identical rows collapse; different ones all stay and have has_conflict.
    Never by time of receipt, so any order of arrival gives the same rows.

    split_by: an expression that belongs to the key and is not wanted as a column.
    apart_by: a column that tells rows apart between paths only: one that a newer delivery at the same path may mend,
      where two exports may well hold two different rows (two courses of one treatment).
    Columns: key, content, has_conflict, _file_id, _row_number.
#}
{% macro latest_rows(record, key, content, split_by=none, apart_by=none) -%}
    {%- set keys = (key + ([split_by] if split_by else [])) | join(', ') -%}
    {%- set keys_between_paths = keys ~ (", " ~ apart_by if apart_by else "") -%}
    {%- set columns = (key + content) | join(', ') -%}
    with counted as (

        select
            {{ columns }},
            _file_id,
            _row_number,
            path,
            delivery,
            exported_on,
            count(*) over (partition by {{ keys }}) as versions
        from ({{ accepted_rows(record) }}) as accepted

    ),

    -- nearly every key has one version: only the others are worth sorting
    delivered as (

        select
            *,
            max(delivery) over (partition by {{ keys }}, path) as newest_delivery
        from counted
        where versions > 1

    ),

    exported as (

        select
            *,
            max(exported_on) over (partition by {{ keys_between_paths }}) as newest_exported_on
        from delivered
        where delivery = newest_delivery

    ),

    numbered as (

        select
            *,
            row_number() over (partition by {{ keys }}, {{ content | join(', ') }} order by _file_id, _row_number, path) as copy_number
        from exported
        where exported_on = newest_exported_on or exported_on is null

    )

    select {{ columns }}, false as has_conflict, _file_id, _row_number
    from counted
    where versions = 1
    union all
    select {{ columns }}, count(*) over (partition by {{ keys_between_paths }}) > 1 as has_conflict, _file_id, _row_number
    from numbered
    where copy_number = 1
{%- endmacro %}
