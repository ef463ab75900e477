{#
    Calendar arithmetic and the one rule for partial dates (dates.impute_day of study.yaml).
    Dates arrive as ISO text: `2014-02-07`, or partial `2014-02` or `2014`.
#}

{% macro is_full_date(text) -%}
    (length({{ text }}) = 10)
{%- endmacro %}


{# DATE of a full date; null for a partial one (some engines would read `2024-03` as the first of March). #}
{% macro to_date(text) -%}
    case when length({{ text }}) = 10 then {{ date_of(text) }} end
{%- endmacro %}


{# DATE of the text of a whole day, null where there is no such day. #}
{% macro date_of(text) -%}
    {{ adapter.dispatch('date_of')(text) }}
{%- endmacro %}

{% macro default__date_of(text) -%}
    {{ safe_cast_to(text, 'date') }}
{%- endmacro %}

{# Spark reads what begins like a date, and `2024-03` as the first of March. #}
{% macro spark__date_of(text) -%}
    {{ safe_cast_to("nullif(regexp_extract(" ~ text ~ ", '^[0-9]{4}-[0-9]{2}-[0-9]{2}$', 0), '')", 'date') }}
{%- endmacro %}


{# First day that the full or partial date can mean. #}
{% macro earliest_date(text) -%}
    {{ date_of("case length(" ~ text ~ ") when 10 then " ~ text ~ " when 7 then concat_ws('', " ~ text ~ ", '-01') when 4 then concat_ws('', " ~ text ~ ", '-01-01') end") }}
{%- endmacro %}


{# Last day that the full or partial date can mean. #}
{% macro latest_date(text) -%}
    case when length({{ text }}) = 7 then {{ month_end(earliest_date(text)) }}
    else {{ date_of("case length(" ~ text ~ ") when 10 then " ~ text ~ " when 4 then concat_ws('', " ~ text ~ ", '-12-31') end") }} end
{%- endmacro %}


{#
    DATE of a full or partial date. impute_day: first | mid (15th; of a year 30 June) | last.
    Not clamped: int_subject_timeline does that where a rule asks for it.
#}
{% macro imputed_date(text, impute_day=none) -%}
    {%- set impute_day = impute_day or var('dates')['impute_day'] -%}
    {%- if impute_day == 'first' -%}
    {{ earliest_date(text) }}
    {%- elif impute_day == 'last' -%}
    {{ latest_date(text) }}
    {%- else -%}
    {{ date_of("case length(" ~ text ~ ") when 10 then " ~ text ~ " when 7 then concat_ws('', " ~ text ~ ", '-15') when 4 then concat_ws('', " ~ text ~ ", '-06-30') end") }}
    {%- endif -%}
{%- endmacro %}


{% macro month_end(on_date) -%}
    {{ adapter.dispatch('month_end')(on_date) }}
{%- endmacro %}

{% macro default__month_end(on_date) -%}
    cast({{ dbt.last_day(on_date, 'month') }} as date)
{%- endmacro %}

{% macro spark__month_end(on_date) -%}
    last_day({{ on_date }})
{%- endmacro %}


{# Whole days from the first date to the second. #}
{% macro days_between(first_on, second_on) -%}
    {{ adapter.dispatch('days_between')(first_on, second_on) }}
{%- endmacro %}

{% macro default__days_between(first_on, second_on) -%}
    {{ dbt.datediff(first_on, second_on, 'day') }}
{%- endmacro %}

{# dbt's own ends the build at a null. #}
{% macro spark__days_between(first_on, second_on) -%}
    datediff({{ second_on }}, {{ first_on }})
{%- endmacro %}


{% macro add_days(from_on, days) -%}
    {{ adapter.dispatch('add_days')(from_on, days) }}
{%- endmacro %}

{% macro default__add_days(from_on, days) -%}
    cast({{ dbt.dateadd('day', days, from_on) }} as date)
{%- endmacro %}

{% macro duckdb__add_days(from_on, days) -%}
    ({{ from_on }} + cast({{ days }} as integer))
{%- endmacro %}

{% macro spark__add_days(from_on, days) -%}
    date_add({{ from_on }}, cast({{ days }} as integer))
{%- endmacro %}


{# SDTM study day: the reference is day 1, the day before is -1, there is no day 0. #}
{% macro study_day(on_date, reference_on) -%}
    cast({{ days_between(reference_on, on_date) }} + case when {{ on_date }} >= {{ reference_on }} then 1 else 0 end as integer)
{%- endmacro %}
