"""Finds the results computed with R that the statistics are held against. Holds no expectation of its own."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.settings import REPOSITORY


class Reference:
    """Data of R's packages and what R made of them."""

    def __init__(self, folder: Path):
        self.folder = folder

    def data(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / "data" / f"{name}.csv")

    def results(self, name: str) -> dict:
        return json.loads((self.folder / "results" / f"{name}.json").read_text("utf-8"))

    def sample(self, name: str) -> pd.DataFrame:
        """A data set with its times as stop (and start), its event as 0/1 and the transformed covariates of the models."""
        frame = self.data(name)
        if name in {"pbc312", "pbc2_tmerge"}:
            frame = frame.assign(log_bili=np.log(frame["bili"]), log_protime=np.log(frame["protime"]), log2_bili=np.log2(frame["bili"]))
        if name == "veteran":
            frame = frame.assign(**{kind: (frame["celltype"] == kind) * 1 for kind in ("smallcell", "adeno", "large")})
        event = {"lung": ("status", 2), "pbc312": ("status", 2), "pbc2_tmerge": ("death", 2), "ovarian": ("fustat", 1),
                 "heart": ("event", 1)}.get(name, ("status", 1))
        names = {"time": "stop", "futime": "stop", "tstart": "start", "tstop": "stop"}
        return frame.assign(event=frame[event[0]] == event[1]).rename(columns=names)


@pytest.fixture(scope="session")
def reference() -> Reference:
    folder = REPOSITORY.parent / "shared" / "reference" / "survival"
    if not folder.is_dir():
        pytest.skip("the reference results (shared/reference/survival) are not beside the repository")
    return Reference(folder)
