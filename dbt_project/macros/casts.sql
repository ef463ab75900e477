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
    {{ safe_cast_to(text, 'decimal(' ~ precision ~ ', ' ~ scale ~ ')') }}
{%- endmacro %}


{% macro to_integer(text) -%}
    {{ safe_cast_to(to_decimal(text, 18, 0), 'integer') }}
{%- endmacro %}


{# UTC timestamp of `YYYY-MM-DDTHH:MM:SSZ`; null for a date without a time. #}
{% macro to_timestamp_utc(text) -%}
    case when length({{ text }}) > 10 then {{ safe_cast_to("replace(replace(" ~ text ~ ", 'T', ' '), 'Z', '')", 'timestamp') }} end
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
