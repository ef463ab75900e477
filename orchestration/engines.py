"""What may build the marts, and whether it can be had here. How Spark builds them stands in spark.py."""

import os
import re
import shutil
import socket
import subprocess
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from orchestration.errors import UserError


class Engine(StrEnum):
    """The numbers are the same, so it is no part of a build_id."""

    duckdb = "duckdb"
    spark = "spark"


OLDEST_JAVA = 17
CONNECT_PORT = 15002
ANSWER_SECONDS = 5


def require_spark() -> None:
    """Refuse a run that could not be done, before it has begun.

    Raises:
        UserError: the extra or Java is missing, or the server that SPARK_REMOTE names does not answer.
    """
    try:
        version("pyspark"), version("dbt-spark")
    except PackageNotFoundError as missing:
        raise UserError(
            f"--engine spark: the package {missing.name} is not installed. Install the extra: make setup-spark"
            " (without a checkout: pip install 'sher2[spark]')."
        ) from None
    if remote := os.environ.get("SPARK_REMOTE"):
        _require_answer(remote)
    else:
        _require_java()


def _require_answer(remote: str) -> None:
    address = urlsplit(remote)
    try:
        host, port = address.hostname, address.port or CONNECT_PORT
    except ValueError:
        host = None
    if address.scheme != "sc" or not host:
        raise UserError(
            f"SPARK_REMOTE: {remote!r} names no Spark Connect server. Write it as sc://host:{CONNECT_PORT}."
        )
    try:
        socket.create_connection((host, port), ANSWER_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"SPARK_REMOTE: {host}:{port} does not answer ({error.strerror or error}). Start the Spark Connect server"
            " there, or unset SPARK_REMOTE to run Spark on this machine."
        ) from None


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    mend = (
        f"Install Java {OLDEST_JAVA} or later (Debian: openjdk-17-jre-headless), or name a Spark server:"
        f" SPARK_REMOTE=sc://host:{CONNECT_PORT}."
    )
    if java is None:
        raise UserError(f"--engine spark: no Java in {f'JAVA_HOME ({home})' if home else 'PATH'}. {mend}")
    told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    if found is None or int(found[1]) < OLDEST_JAVA:
        raise UserError(f"--engine spark: {java} is {told.splitlines()[0] if told else 'no Java'}. {mend}")
