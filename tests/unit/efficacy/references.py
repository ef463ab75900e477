"""Finds the results computed with R that the statistics are held against. Holds no expectation of its own."""

import json

import pandas as pd
import pytest

from orchestration.settings import REPOSITORY

FOLDER = REPOSITORY.parent / "shared" / "reference" / "survival"


def data(name: str) -> pd.DataFrame:
    return pd.read_csv(_present() / "data" / f"{name}.csv")


def results(name: str) -> dict:
    return json.loads((_present() / "results" / f"{name}.json").read_text("utf-8"))


def _present():
    if not FOLDER.is_dir():
        pytest.skip(f"the reference results are not on this machine ({FOLDER.name} beside the repository)")
    return FOLDER
