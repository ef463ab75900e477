{#
    How Spark reaches the lake, and where its tables lie: Parquet in a folder that orchestration/spark.py names and
    carries over from.
#}

{# Once before a build: schemas with nothing in them, and a view over the files of every source. #}
{% macro prepare_spark() -%}
    {%- set nodes = graph.nodes.values() | list + graph.sources.values() | list -%}
    {%- for schema in nodes | map(attribute='schema') | unique -%}
        {%- call statement() -%} drop schema if exists {{ schema }} cascade {%- endcall -%}
        {%- call statement() -%} create schema {{ schema }} {%- endcall -%}
    {%- endfor -%}
    {%- for lake_table in graph.sources.values() -%}
        {%- set location = lake_table.meta['external_location'] | replace('{name}', lake_table.name) -%}
        {%- set files = modules.re.search("read_parquet.'(.*)'", location).group(1) | replace("''", "'") -%}
        {%- call statement() -%} create view {{ lake_table.relation_name }} as select * from parquet.`{{ files }}` {%- endcall -%}
    {%- endfor -%}
{%- endmacro %}

{% macro spark__location_clause() -%}
    location {{ text_literal(env_var('SHER2_SPARK_TABLES') ~ '/' ~ model.schema ~ '/' ~ model.alias) }}
{%- endmacro %}
