{#
    Text of the lake to typed values: never raises, null where the text does not read.
    Only here may a dialect differ; models call these and stay portable.
#}

{% macro safe_cast_to(expression, data_type) -%}
    {{ adapter.dispatch('safe_cast_to')(expression, data_type) }}
{%- endmacro %}

{% macro default__safe_cast_to(expression, data_type) -%}
    try_cast({{ expression }} as {{ data_type }})
{%- endmacro %}


{# Plain decimal text to DECIMAL, rounded half up to the scale. #}
{% macro to_decimal(text, precision=18, scale=6) -%}
    {{ adapter.dispatch('to_decimal')(text, precision, scale) }}
{%- endmacro %}

{% macro default__to_decimal(text, precision, scale) -%}
    {{ safe_cast_to(text, 'decimal(' ~ precision ~ ', ' ~ scale ~ ')') }}
{%- endmacro %}

{# Spark reads digits of every script. #}
{% macro spark__to_decimal(text, precision, scale) -%}
    case when {{ text }} not rlike '[^ -~]' then {{ default__to_decimal(text, precision, scale) }} end
{%- endmacro %}


{% macro to_integer(text) -%}
    {{ safe_cast_to(to_decimal(text, 18, 0), 'integer') }}
{%- endmacro %}


{# UTC timestamp of `YYYY-MM-DDTHH:MM:SSZ`; null for a date without a time. #}
{% macro to_timestamp_utc(text) -%}
    case when {{ has_time(text) }} then {{ safe_cast_to("replace(replace(" ~ text ~ ", 'T', ' '), 'Z', '')", 'timestamp') }} end
{%- endmacro %}

{% macro has_time(text) -%}
    {{ adapter.dispatch('has_time')(text) }}
{%- endmacro %}

{% macro default__has_time(text) -%}
    length({{ text }}) > 10
{%- endmacro %}

{# Spark fills in what is missing: `2024-03-01 08` reads as eight o'clock. #}
{% macro spark__has_time(text) -%}
    {{ text }} rlike '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?Z?$'
{%- endmacro %}


{# A timestamp with a zone to plain UTC. #}
{% macro utc(timestamp_with_zone) -%}
    {{ adapter.dispatch('utc')(timestamp_with_zone) }}
{%- endmacro %}

{% macro default__utc(timestamp_with_zone) -%}
    cast({{ timestamp_with_zone }} as timestamp)
{%- endmacro %}

{% macro duckdb__utc(timestamp_with_zone) -%}
    ({{ timestamp_with_zone }} at time zone 'UTC')
{%- endmacro %}


{# DOUBLE under the name that the engine knows. #}
{% macro to_double(expression) -%}
    {{ adapter.dispatch('to_double')(expression) }}
{%- endmacro %}

{% macro default__to_double(expression) -%}
    cast({{ expression }} as double precision)
{%- endmacro %}

{% macro spark__to_double(expression) -%}
    cast({{ expression }} as double)
{%- endmacro %}
