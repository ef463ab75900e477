{# Schemas carry the bare names of the layers (staging, marts, ...), without the target's prefix. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ adapter.dispatch('schema_of_layer')(custom_schema_name or target.schema) }}
{%- endmacro %}

{% macro default__schema_of_layer(layer) -%}
    {{ layer }}
{%- endmacro %}

{# A metastore may serve many homes: each has a prefix of its own. #}
{% macro spark__schema_of_layer(layer) -%}
    {{ target.schema }}_{{ layer }}
{%- endmacro %}
