"""The deltas in pandas."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

BASELINE_DAYS = 28


def main(landing: Path) -> None:
    feed = pd.concat([pd.read_csv(path, dtype=str) for path in sorted((landing / "lab").glob("lis_sued_*.csv"))])
    doses = pd.concat([pd.read_csv(path, dtype=str) for path in sorted((landing / "clinical").glob("ex_*.csv"))])
    first_dose = pd.to_datetime(doses["EXSTDTC"].str[:10], errors="coerce").groupby(doses["USUBJID"]).min()
    her2 = feed[(feed["loinc"] == "42914-2") & (feed["units"] == "ng/mL") & feed["flag"].isin(["final", "corrected"])]
    her2 = her2.assign(
        drawn=pd.to_datetime(her2["drawn"], format="%Y/%m/%d %H:%M", errors="coerce"),
        released=pd.to_datetime(her2["released"], format="%Y/%m/%d %H:%M", errors="coerce"),
        value=pd.to_numeric(her2["result"].str.lstrip("<>"), errors="coerce"),
        first_dose=her2["patient_id"].map(first_dose),
    ).dropna(subset=["drawn", "value", "first_dose"])
    order = ["patient_id", "drawn", "accession", "released", "value"]
    her2 = her2.sort_values(order).drop_duplicates(["patient_id", "accession"], keep="last")
    days = (her2["drawn"].dt.normalize() - her2["first_dose"]).dt.days
    before = her2[(days <= 0) & (days >= -BASELINE_DAYS)]
    her2["baseline"] = her2["patient_id"].map(before.groupby("patient_id")["value"].last())
    her2["nadir"] = her2.groupby("patient_id")["value"].transform(lambda values: values.cummin().shift())
    after = her2[(days > 0) & (her2["baseline"] > 0) & (her2["value"] > 0)].copy()
    after["change"] = after["value"] - after["baseline"]
    after["pct_change"] = 100 * after["change"] / after["baseline"]
    after["log2_ratio"] = np.log2(after["value"] / after["baseline"])
    after["pct_change_from_nadir"] = 100 * (after["value"] - after["nadir"]) / after["nadir"]
    print(len(after), round(after["log2_ratio"].sum(), 3))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
