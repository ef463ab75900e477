"""DuckDB's bare scan of a landing folder, every table typed: the limit of the machine, nothing being checked."""

import sys
from pathlib import Path

import duckdb

_FEED = dict.fromkeys(("patient_id", "accession", "loinc", "result", "units", "specimen", "platform"), "varchar")
_FEED |= {"lower_limit": "double", "upper_limit": "double", "event": "varchar"}
_FEED |= {"drawn": "timestamp", "released": "timestamp", "flag": "varchar"}
_HOW = {"lis_sued": f", columns = {_FEED}, timestampformat = '%Y/%m/%d %H:%M', auto_detect = false, header = true"}


def main(landing: Path) -> None:
    names = {path.name.partition("_20")[0] for path in landing.rglob("*.csv")}
    rows = 0
    with duckdb.connect(sys.argv[2]) as connection:
        for name in sorted(names):
            connection.execute(
                f"create table {name} as from read_csv($files, ignore_errors = true{_HOW.get(name, '')})",
                {"files": f"{landing}/*/{name}_20*.csv"},
            )
            rows += connection.execute(f"select count(*) from {name}").fetchone()[0]
    print(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
