"""Dagster's instance of a home: its configuration in DAGSTER_HOME, and where its history lies.

SHER2_HISTORY names a PostgreSQL database (`sher2[postgres]`); without it the history is SQLite in the home
(orchestration.history). Its URL stays in the environment: it may hold a password, so no file and no message has it.
SHER2_INSTANCE names a file whose sections replace those of our dagster.yaml: another run launcher, for example.
"""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import yaml

from orchestration.errors import UserError
from orchestration.settings import REPOSITORY, Settings

HISTORY, INSTANCE = "SHER2_HISTORY", "SHER2_INSTANCE"

_CONNECT_SECONDS = 5
_STORAGE = {
    "custom": {
        "module": "orchestration.shared_history",
        "class": "SharedHistory",
        "config": {"postgres_url": {"env": HISTORY}},
    }
}


def prepare_instance(settings: Settings) -> None:
    """Point Dagster at the home: DAGSTER_HOME with our instance configuration.

    Raises:
        UserError: the home cannot be used, the database of SHER2_HISTORY cannot hold the history, or SHER2_INSTANCE is
            no configuration.
    """
    sections = _sections(settings)
    if settings.history:
        _try(settings.history)
    settings.prepare()
    os.environ["DAGSTER_HOME"] = str(settings.dagster)
    os.environ["SHER2_HOME"] = str(settings.home)
    os.environ["SHER2_STUDY"] = str(settings.study_file)
    os.environ["SHER2_ALERT"] = settings.alert
    os.environ["SHER2_LANDING_URL"] = settings.landing_url
    os.environ["SHER2_LAKE_URL"] = settings.lake_url
    os.environ["SHER2_WORKERS"] = str(settings.workers)
    os.environ[HISTORY] = settings.history
    os.environ[INSTANCE] = settings.instance
    os.environ["DAGSTER_EVENT_BATCH_SIZE"] = "1000"  # the events planned for a run are written in one go
    text = (REPOSITORY / "orchestration" / "dagster.yaml").read_text("utf-8")
    if sections:
        text = yaml.safe_dump(yaml.safe_load(text) | sections)
    (settings.dagster / "dagster.yaml").write_text(text, "utf-8")
    if settings.instance:
        _read_by_dagster(settings)


@contextmanager
def recorded(settings: Settings) -> Iterator[None]:
    """While a run is recorded.

    Raises:
        UserError: the database of SHER2_HISTORY went away meanwhile.
    """
    try:
        yield
    except Exception as error:
        if not settings.history or not _is_of_the_database(error):
            raise
        raise UserError(
            f"{HISTORY}: {_shown(urlsplit(settings.history))} went away during the run. What is published is whole;"
            " start the server again, then: sher2 run"
        ) from error


def _is_of_the_database(error: BaseException | None) -> bool:
    import sqlalchemy
    from dagster_postgres.utils import DagsterPostgresException

    while error is not None and not isinstance(error, (sqlalchemy.exc.DBAPIError, DagsterPostgresException)):
        error = error.__cause__ or error.__context__
    return error is not None


def _sections(settings: Settings) -> dict:
    """What is another in this instance than in our dagster.yaml."""
    sections = {}
    if settings.instance:
        try:
            sections = yaml.safe_load(Path(settings.instance).read_text("utf-8"))
        except (OSError, UnicodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{INSTANCE}: {settings.instance} cannot be read: {reason}. Name a YAML file.") from None
        if not isinstance(sections, dict):
            raise UserError(f"{INSTANCE}: {settings.instance} holds no sections. Write it as a dagster.yaml.")
    return sections | ({"storage": _STORAGE} if settings.history else {})


def _read_by_dagster(settings: Settings) -> None:
    """Raises UserError where Dagster does not understand the configuration."""
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef

    try:
        InstanceRef.from_dir(str(settings.dagster))
    except dg.DagsterInvalidConfigError as error:
        reasons = "; ".join(reason.message for reason in error.errors)
        raise UserError(f"{INSTANCE}: {settings.instance}: {reasons}. See deploy/README.md.") from None


def _try(history: str) -> None:
    """Raises UserError where the database does not answer or will not let us make Dagster's tables."""
    url = _url(history)
    if url is None:
        raise UserError(f"{HISTORY}: is no PostgreSQL URL. Write it as postgresql://USER:PASSWORD@HOST:5432/DATABASE")
    if importlib.util.find_spec("dagster_postgres") is None:
        raise UserError(f"{HISTORY}: the extra for PostgreSQL is not installed. pip install 'sher2[postgres]'")
    import sqlalchemy

    from orchestration.shared_history import engine

    trial = engine(history, poolclass=sqlalchemy.pool.NullPool, connect_args={"connect_timeout": _CONNECT_SECONDS})
    try:
        with trial.connect() as connection:
            may_create = sqlalchemy.text("select has_schema_privilege(current_schema(), 'CREATE')")
            is_ours = connection.execute(may_create).scalar()
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        raise UserError(
            f"{HISTORY}: {_shown(url)} cannot be used: {reason}. Start the server or mend the URL;"
            f" without {HISTORY} the history is kept in the home."
        ) from None
    if not is_ours:
        raise UserError(
            f"{HISTORY}: {url.username or 'the user'} may not make tables in {_shown(url)}."
            f" Let it own the database: ALTER DATABASE ... OWNER TO ..."
        )


def _url(history: str) -> SplitResult | None:
    try:
        url = urlsplit(history)
        is_whole = url.scheme == "postgresql" and url.path.strip("/") and url.port != 0
    except ValueError:  # a port that is no number, a bracket that is never closed
        return None
    return url if is_whole else None


def _shown(url: SplitResult) -> str:
    """The URL without user, password and parameters."""
    return f"postgresql://{url.netloc.rpartition('@')[2]}{url.path}"
