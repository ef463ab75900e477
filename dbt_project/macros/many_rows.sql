{#
    What keeps a query over tens of millions of rows small in memory.
#}

{# A common table expression that is not kept: DuckDB keeps one that is named twice, with all its columns. #}
{% macro inlined() -%}
    {{ adapter.dispatch('inlined')() }}
{%- endmacro %}

{% macro default__inlined() -%}
    not materialized
{%- endmacro %}

{# Spark keeps none. #}
{% macro spark__inlined() -%}
{%- endmacro %}


{# A number for some columns, nulls included. Equal ones have the same; the same does not mean equal. #}
{% macro row_hash(columns) -%}
    {{ adapter.dispatch('row_hash')(columns) }}
{%- endmacro %}

{% macro default__row_hash(columns) -%}
    hash({{ columns | join(', ') }})
{%- endmacro %}

{% macro spark__row_hash(columns) -%}
    xxhash64({{ columns | join(', ') }})
{%- endmacro %}
