"""What every layout says about a result: its value and limits, its lesion, its sample.

What is the same in all exports belongs here; headings, codes and date formats belong to the layouts' writers.
"""

import numpy as np
import pandas as pd

from orchestration.simulate import codes
from orchestration.simulate.cells import Cells, either, label, spelled, tenths
from orchestration.simulate.records import SimulatedStudy

RESPONSE_TESTS = ["TRGRESP", "NTRGRESP", "NEWLPROG", "OVRLRESP"]


def lesion_names() -> list[str]:
    """TULNKID by lesion number: targets, non-targets, new lesions; the last one, number -1, is no lesion."""
    counts = (("T", codes.TARGETS), ("NT", codes.NON_TARGETS), ("NEW", codes.NEW_LESIONS))
    return [f"{prefix}{number:02d}" for prefix, count in counts for number in range(1, count + 1)] + [""]


def lesion_roles() -> list[str]:
    """TARGET, NON-TARGET, NEW by lesion number; the sum of number -1 belongs to the targets."""
    return ["TARGET"] * codes.TARGETS + ["NON-TARGET"] * codes.NON_TARGETS + ["NEW"] * codes.NEW_LESIONS + ["TARGET"]


def lab_values(frame: pd.DataFrame, decimal: str = ".") -> tuple[Cells, Cells, Cells, Cells]:
    """(as reported with < and >, number or empty, LLOQ, ULOQ) of every laboratory row."""
    her2 = (frame["analyte"] == 0).to_numpy()
    lows, highs = (
        np.array([codes.LIMITS.get(assay, (-1, -1))[side] for assay in range(len(codes.ASSAYS))]) for side in (0, 1)
    )
    low = np.where(her2, lows[frame["assay"]], -1)
    high = np.where(her2, highs[frame["assay"]], -1)
    value = frame["value"].to_numpy()
    below, above = her2 & (value < low), her2 & (value > high)
    number = tenths(np.where(below | above, -1, value), decimal)
    bound = spelled(
        np.where(below, low, np.where(above, -high, 0)),
        lambda limit: f"{'<' if limit > 0 else '>'}{abs(limit) // 10}{decimal}{abs(limit) % 10}",
    )
    return either(below | above, bound, number), number, tenths(low, decimal), tenths(high, decimal)


def sample_ids(frame: pd.DataFrame) -> Cells:
    """One number a blood draw."""
    return spelled(
        frame["subject"].to_numpy().astype(np.int64) * 100 + frame["place"], lambda number: f"S{number + 100:07d}"
    )


def measured(frame: pd.DataFrame) -> tuple[Cells, Cells, Cells]:
    """(result, number or empty, unit) of every tumour measurement; an absent target measures 0."""
    state, is_size = frame["state"].to_numpy(), (frame["test"] != codes.TUMSTATE).to_numpy()
    sized = is_size & np.isin(state, [codes.MEASURED, codes.ABSENT])
    number = tenths(np.where(sized, frame["value"], -1))
    names = ["", "ABSENT", "PRESENT", "UNEQUIVOCAL", "", "TOO SMALL TO MEASURE", ""]
    return either(sized, number, label(state, names)), number, label(sized, ["", "mm"])


def response_rows(study: SimulatedStudy) -> tuple[pd.DataFrame, Cells, Cells]:
    """(a row a reported response, its test, its value); a part of the disease that there is not has no row."""
    frame = study["responses"]
    parts = [
        frame.assign(test=test, value=frame[column].astype(int))
        for test, column in enumerate(("target", "non_target", "new", "overall"))
    ]
    parts[2]["value"] += len(codes.RESPONSES)
    long = pd.concat(parts, ignore_index=True)
    long = long[(long["value"] != codes.NA) | (long["test"] == 3)]
    long = long.sort_values(["subject", "day", "test"], kind="stable", ignore_index=True)
    return long, label(long["test"], RESPONSE_TESTS), label(long["value"], [*codes.RESPONSES, "N", "Y"])
