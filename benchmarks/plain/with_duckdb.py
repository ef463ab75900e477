"""The deltas in DuckDB."""

import sys
from pathlib import Path

import duckdb

BASELINE_DAYS = 28
_DELTAS = f"""
with doses as (
    select USUBJID as patient_id, min(try_cast(left(EXSTDTC, 10) as date)) as first_dose
    from read_csv($doses, all_varchar = true) group by USUBJID
),
results as (
    select feed.patient_id, accession, first_dose,
        try_strptime(drawn, '%Y/%m/%d %H:%M') as drawn, try_strptime(released, '%Y/%m/%d %H:%M') as released,
        try_cast(ltrim(result, '<>') as double) as value
    from read_csv($feed, all_varchar = true) as feed inner join doses on feed.patient_id = doses.patient_id
    where loinc = '42914-2' and units = 'ng/mL' and flag in ('final', 'corrected')
),
latest as (
    from results where drawn is not null and value is not null and first_dose is not null
    qualify row_number() over (
        partition by patient_id, accession order by drawn desc, released desc nulls last, value desc
    ) = 1
),
compared as (
    select *, cast(drawn as date) - first_dose as day,
        min(value) over (
            partition by patient_id order by drawn, accession, released, value
            rows between unbounded preceding and 1 preceding
        ) as nadir
    from latest
),
baselines as (
    select patient_id, arg_max(value, (drawn, accession, released, value)) as baseline from compared
    where day between -{BASELINE_DAYS} and 0 group by patient_id
)
select *, value - baseline as change, 100 * (value - baseline) / baseline as pct_change,
    log2(value / baseline) as log2_ratio, 100 * (value - nadir) / nadir as pct_change_from_nadir
from compared inner join baselines using (patient_id) where day > 0 and baseline > 0 and value > 0
"""


def main(landing: Path) -> None:
    files = {"feed": str(landing / "lab" / "lis_sued_*.csv"), "doses": str(landing / "clinical" / "ex_*.csv")}
    with duckdb.connect() as connection:
        connection.execute(f"create table deltas as {_DELTAS}", files)
        count, total = connection.execute("select count(*), round(sum(log2_ratio), 3) from deltas").fetchone()
    print(count, total)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
