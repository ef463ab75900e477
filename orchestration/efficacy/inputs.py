"""What every statistic demands of its arguments, and the messages when it does not get it. Computes no statistic."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike


def numbers(name: str, values: ArrayLike, *, length: int | None = None, missing: bool = False) -> np.ndarray:
    """One-dimensional float array of finite numbers.

    Args:
        length: how many values are expected.
        missing: let NaN through.

    Raises:
        ValueError: not one-dimensional, no numbers, infinite, missing where that is not allowed, or of another length.
    """
    try:
        array = (
            pd.Series(values).to_numpy(dtype=float, na_value=np.nan)
            if np.ndim(values) == 1
            else np.asarray(values, dtype=float)
        )
    except (TypeError, ValueError):
        raise ValueError(f"{name}: needs numbers") from None
    if array.ndim != 1:
        raise ValueError(f"{name}: needs one dimension, has {array.ndim}")
    if np.isinf(array).any() or (not missing and np.isnan(array).any()):
        raise ValueError(f"{name}: holds a missing or infinite value")
    if length is not None and len(array) != length:
        raise ValueError(f"{name}: has {len(array)} values where {length} are expected")
    return array


def durations(name: str, values: ArrayLike, *, length: int | None = None) -> np.ndarray:
    """Times since an origin: finite and not negative."""
    array = numbers(name, values, length=length)
    if (array < 0).any():
        raise ValueError(f"{name}: holds a negative time")
    return array


def indicator(name: str, values: ArrayLike, *, length: int | None = None) -> np.ndarray:
    """Boolean array from booleans or 0/1."""
    array = numbers(name, values, length=length)
    if not np.isin(array, (0.0, 1.0)).all():
        raise ValueError(f"{name}: needs booleans or 0 and 1")
    return array.astype(bool)


def labels(name: str, values: ArrayLike | None, *, length: int) -> np.ndarray:
    """Integer codes 0, 1, ... of group labels in sorted order; all 0 where ``values`` is None."""
    if values is None:
        return np.zeros(length, dtype=int)
    codes, _ = pd.factorize(pd.Series(values), sort=True)
    if len(codes) != length:
        raise ValueError(f"{name}: has {len(codes)} values where {length} are expected")
    if (codes < 0).any():
        raise ValueError(f"{name}: holds a missing value")
    return codes


def confidence(level: float) -> float:
    """The level itself if it lies strictly between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level: {level!r} does not lie between 0 and 1")
    return float(level)


def columns(frame: pd.DataFrame, **names: str | Sequence[str] | None) -> None:
    """Check that the columns that the arguments name are there.

    Raises:
        ValueError: names the argument and the absent column.
    """
    for argument, wanted in names.items():
        for column in [wanted] if isinstance(wanted, str) else wanted or []:
            if column not in frame.columns:
                raise ValueError(f"{argument}: the frame has no column {column!r}")
