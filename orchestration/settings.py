"""Paths and environment. No rule of the study belongs here: those stand in study.yaml."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestration import storage
from orchestration.alerts import checked
from orchestration.errors import UserError

REPOSITORY = Path(__file__).resolve().parent.parent
DBT_PROJECT = REPOSITORY / "dbt_project"
EXPECTATIONS = REPOSITORY / "expectations"
LANDING_FOLDERS = ("clinical", "lab", "imaging")
_MOST_WORKERS = 64


@dataclass(frozen=True)
class Settings:
    """Where everything lies: ``home`` (SHER2_HOME) and ``study_file`` (SHER2_STUDY); ``alert`` (SHER2_ALERT): a command
    or a webhook of this machine that is told when runs fail and when they work again, empty for none; ``history``
    (SHER2_HISTORY): the PostgreSQL database of Dagster's history, empty for SQLite in the home; ``instance``
    (SHER2_INSTANCE): a file whose sections replace those of our dagster.yaml; ``landing_url`` (SHER2_LANDING_URL) and
    ``lake_url`` (SHER2_LAKE_URL): buckets instead of the home's folders, empty for those; ``workers`` (SHER2_WORKERS):
    processes among which files are divided."""

    home: Path
    study_file: Path
    alert: str = ""
    history: str = ""
    instance: str = ""
    landing_url: str = ""
    lake_url: str = ""
    workers: int = 1

    @classmethod
    def from_environment(cls) -> "Settings":
        return cls(
            home=Path(os.environ.get("SHER2_HOME") or REPOSITORY / "var").expanduser().resolve(),
            study_file=Path(os.environ.get("SHER2_STUDY") or REPOSITORY / "study.yaml").expanduser().resolve(),
            alert=checked(os.environ.get("SHER2_ALERT", "")),
            history=os.environ.get("SHER2_HISTORY", ""),
            instance=os.environ.get("SHER2_INSTANCE", ""),
            landing_url=storage.checked("SHER2_LANDING_URL", os.environ.get("SHER2_LANDING_URL", "")),
            lake_url=storage.checked("SHER2_LAKE_URL", os.environ.get("SHER2_LAKE_URL", "")),
            workers=_workers(os.environ.get("SHER2_WORKERS") or "1"),
        )

    def told(self) -> dict:
        """As JSON says them."""
        return asdict(self) | {"home": str(self.home), "study_file": str(self.study_file)}

    @classmethod
    def as_told(cls, told: dict) -> "Settings":
        return cls(**told | {"home": Path(told["home"]), "study_file": Path(told["study_file"])})

    @property
    def landing(self) -> Path:
        return self.home / "landing"

    @property
    def landing_place(self) -> Path | storage.Bucket:
        """Where exports are dropped: the landing folder, or the bucket that stands for it."""
        return storage.bucket_of("SHER2_LANDING_URL", self.landing_url, is_ours=False) or self.landing

    @property
    def lake(self) -> Path:
        """The lake; where it lies in a bucket, the copy that builds read."""
        return self.home / "lake"

    @property
    def lake_bucket(self) -> storage.Bucket | None:
        return storage.bucket_of("SHER2_LAKE_URL", self.lake_url, is_ours=True)

    @property
    def build(self) -> Path:
        """Private folder: database files that nobody but the running pipeline opens, and dbt's target."""
        return self.home / "build"

    @property
    def frozen(self) -> Path:
        """The ledger as the running build reads it."""
        return self.build / "ledger"

    @property
    def frozen_cut(self) -> Path:
        """The ledger as a data cut that is being built reads it."""
        return self.build / "ledger-cut"

    @property
    def warehouse(self) -> Path:
        return self.home / "warehouse.duckdb"

    @property
    def builds(self) -> Path:
        """The last published builds, for rollback and diff."""
        return self.home / "builds"

    @property
    def cuts(self) -> Path:
        """Frozen data cuts: a database and a folder each, named by the day."""
        return self.home / "cuts"

    @property
    def reports(self) -> Path:
        return self.home / "reports"

    @property
    def monitoring(self) -> Path:
        """What a watcher outside reads: sher2.prom."""
        return self.home / "monitoring"

    @property
    def dagster(self) -> Path:
        return self.home / "dagster"

    def prepare(self) -> None:
        """Make the folders of the home; those that hold every patient's rows and nobody but us opens, for us alone.

        Raises:
            UserError: the home cannot be written, one of its folders is a file, or a bucket cannot be used.
        """
        self._refuse_a_home_among_exports()
        _ = self.landing_place, self.lake_bucket  # found usable before anything is made
        folders = dict.fromkeys([self.landing / name for name in LANDING_FOLDERS] + [self.reports], 0o777)
        folders |= dict.fromkeys([self.lake, self.build, self.builds, self.dagster], 0o700)
        for folder, mode in folders.items():
            try:
                folder.mkdir(mode, parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(
                    f"SHER2_HOME: cannot make {folder}: {error.strerror}. Point it at a folder you may write to."
                ) from None
        if not os.access(self.home, os.W_OK):
            raise UserError(f"SHER2_HOME: {self.home} is read-only. Point SHER2_HOME at a folder you may write to.")

    def _refuse_a_home_among_exports(self) -> None:
        """What we write must not lie where exports are looked for: it would be taken for them."""
        if self.home.is_relative_to(self.landing.resolve()):
            raise UserError(f"SHER2_HOME: {self.landing} holds the home itself. Make it a folder of its own.")
        for folder in self.home.parents:
            if folder.name == self.landing.name and (folder.parent / self.lake.name).is_dir():
                raise UserError(
                    f"SHER2_HOME: {self.home} lies in the landing folder {folder} of another home."
                    " Point SHER2_HOME at a folder outside it."
                )


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST_WORKERS):
        raise UserError(f"SHER2_WORKERS: {text!r} is no number of processes from 1 to {_MOST_WORKERS}.")
    return int(text)
