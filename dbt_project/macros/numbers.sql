{#
    Arithmetic that is equal on every engine. Thresholds are cross-multiplied in the models, never divided;
    these serve the figures that are shown.
#}

{#
    numerator / denominator of two DECIMALs (at most 6 decimal places) as DECIMAL(18, scale), rounded half away from zero.
    Null where the denominator is 0 or the result does not fit.
#}
{% macro exact_ratio(numerator, denominator, scale=6) -%}
    {{ adapter.dispatch('exact_ratio')(numerator, denominator, scale) }}
{%- endmacro %}

{% macro default__exact_ratio(numerator, denominator, scale) -%}
    {{ safe_cast_to("round((" ~ numerator ~ ") / nullif(" ~ denominator ~ ", 0), " ~ scale ~ ")", 'decimal(18, ' ~ scale ~ ')') }}
{%- endmacro %}

{# DuckDB divides DECIMALs as DOUBLE, so divide whole numbers: `//` truncates, hence the half that is added first. #}
{% macro duckdb__exact_ratio(numerator, denominator, scale) -%}
    {%- set top = "cast(cast(" ~ numerator ~ " as decimal(30, 6)) * 1000000 as hugeint)" -%}
    {%- set bottom = "abs(cast(cast(" ~ denominator ~ " as decimal(30, 6)) * 1000000 as hugeint))" -%}
    try_cast(
        try_cast((2 * abs({{ top }}) * {{ 10 ** scale }} + {{ bottom }}) // nullif(2 * {{ bottom }}, 0) as decimal(18, 0))
        * sign({{ numerator }}) * sign({{ denominator }}) * cast(0.{{ '0' * (scale - 1) }}1 as decimal({{ scale + 1 }}, {{ scale }}))
        as decimal(18, {{ scale }})
    )
{%- endmacro %}


{#
    Spark keeps 38 digits and rounds a quotient, so what is divided is whole numbers without a remainder; a quotient that
    does not fit is null, where its `div` would wrap around.
#}
{% macro spark__exact_ratio(numerator, denominator, scale) -%}
    {%- set top = "cast(cast(" ~ numerator ~ " as decimal(30, 6)) * 1000000 as decimal(38, 0))" -%}
    {%- set bottom = "nullif(abs(cast(cast(" ~ denominator ~ " as decimal(30, 6)) * 1000000 as decimal(38, 0))), 0)" -%}
    {%- set dividend = "cast(2 * abs(" ~ top ~ ") * " ~ 10 ** scale ~ " + " ~ bottom ~ " as decimal(38, 0))" -%}
    {%- set divisor = "cast(2 * " ~ bottom ~ " as decimal(38, 0))" -%}
    try_cast(
        try_cast(try_divide({{ dividend }} - {{ dividend }} % {{ divisor }}, {{ divisor }}) as decimal(18, 0))
        * case when ({{ numerator }} < 0) <> ({{ denominator }} < 0) then -1 else 1 end
        * cast(0.{{ '0' * (scale - 1) }}1 as decimal({{ scale + 1 }}, {{ scale }}))
        as decimal(18, {{ scale }})
    )
{%- endmacro %}


{% macro log2(expression) -%}
    {{ adapter.dispatch('log2')(expression) }}
{%- endmacro %}

{% macro default__log2(expression) -%}
    ln({{ expression }}) / ln(2)
{%- endmacro %}

{% macro duckdb__log2(expression) -%}
    log2({{ expression }})
{%- endmacro %}

{% macro spark__log2(expression) -%}
    log2({{ expression }})
{%- endmacro %}


{# First whole number in a text, or null. #}
{% macro first_number(text) -%}
    {{ adapter.dispatch('first_number')(text) }}
{%- endmacro %}

{% macro default__first_number(text) -%}
    {{ safe_cast_to("regexp_extract(" ~ text ~ ", '([0-9]+)', 1)", 'integer') }}
{%- endmacro %}

{% macro postgres__first_number(text) -%}
    cast(substring({{ text }} from '[0-9]+') as integer)
{%- endmacro %}


{# Text in a reported unit to DECIMAL(18, 6) of the base unit, rounded once, after the conversion. #}
{% macro concentration(text, factor_to_base) -%}
    {{ safe_cast_to(to_decimal(text, 24, 12) ~ " * " ~ factor_to_base, 'decimal(18, 6)') }}
{%- endmacro %}
