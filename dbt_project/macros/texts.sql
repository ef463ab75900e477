{#
    Text as every engine reads, folds and trims it. Texts are joined by concat_ws(''), which leaves a null out
    everywhere.
#}

{# A text from study.yaml as a SQL literal. #}
{% macro text_literal(value) -%}
    {{ adapter.dispatch('text_literal')(value) }}
{%- endmacro %}

{% macro default__text_literal(value) -%}
    '{{ value | replace("'", "''") }}'
{%- endmacro %}

{# In Spark's literals a backslash escapes. #}
{% macro spark__text_literal(value) -%}
    '{{ value | replace("\\", "\\\\") | replace("'", "''") }}'
{%- endmacro %}


{# List of texts from study.yaml as SQL literals; a list that matches nothing where it is empty. #}
{% macro text_list(values) -%}
    ({% for value in values %}{{ text_literal(value) }}{{ ', ' if not loop.last }}{% else %}null{% endfor %})
{%- endmacro %}


{# Capital letters, a letter for a letter. #}
{% macro upper_case(text) -%}
    {{ adapter.dispatch('upper_case')(text) }}
{%- endmacro %}

{% macro default__upper_case(text) -%}
    upper({{ text }})
{%- endmacro %}

{# Spark writes SS for a sharp s; DuckDB has its capital letter. #}
{% macro spark__upper_case(text) -%}
    case
        when {{ text }} not rlike '[^ -~]' then upper({{ text }})
        else array_join(
            transform(
                split({{ text }}, ''),
                letter -> case when letter = '\u00df' then '\u1e9e' when length(upper(letter)) = 1 then upper(letter) else letter end
            ),
            ''
        )
    end
{%- endmacro %}


{# Without spaces of any width around it; tabs stay. #}
{% macro trimmed(text) -%}
    {{ adapter.dispatch('trimmed')(text) }}
{%- endmacro %}

{% macro default__trimmed(text) -%}
    trim({{ text }})
{%- endmacro %}

{# Spark's trim knows the one space only. #}
{% macro spark__trimmed(text) -%}
    trim(both ' \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000' from {{ text }})
{%- endmacro %}
