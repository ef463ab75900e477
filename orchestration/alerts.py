"""Telling somebody that runs fail, and that they work again: one command, or one webhook of this machine.

SHER2_ALERT names it. It gets counts and keys as JSON, never a clinical value nor the text of an error, which may quote
one. When to tell is decided in orchestration.monitoring, not here.
"""

import http.client
import ipaddress
import json
import shlex
import shutil
import subprocess
from urllib.parse import SplitResult, urlsplit

from orchestration.errors import UserError

WEBHOOK_SECONDS = 5
COMMAND_SECONDS = 20


class NotDelivered(Exception):
    """The hook could not be reached or refused; it is told again at the end of the next run."""


def checked(target: str) -> str:
    """The hook as it stands in SHER2_ALERT.

    Raises:
        UserError: a URL that leaves this machine, or a command that is not there.
    """
    if "://" in target:
        url = urlsplit(target)
        if url.scheme != "http" or not _is_loopback(url):
            raise UserError(
                f"SHER2_ALERT: {target} leaves this machine. Name a webhook on loopback (http://127.0.0.1:PORT/...)"
                " or a command that passes the alert on."
            )
    elif target and (not (words := _words(target)) or shutil.which(words[0]) is None):
        raise UserError(
            f"SHER2_ALERT: {target!r} is no command that can be run. Give its full path, or a loopback URL."
        )
    return target


def send(target: str, alert: dict) -> None:
    """Call the hook: POST to a URL, standard input of a command.

    Raises:
        NotDelivered: with the reason.
    """
    body = json.dumps(alert, sort_keys=True)
    if "://" in target:
        _post(urlsplit(checked(target)), body)
    else:
        _run(_words(target), body)


def _post(url: SplitResult, body: str) -> None:
    # http.client follows no redirect and asks no proxy: what is said to this machine stays on it
    connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=WEBHOOK_SECONDS)
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("POST", path, body.encode(), {"Content-Type": "application/json"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise NotDelivered(f"SHER2_ALERT: {url.geturl()}: {error}") from None
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise NotDelivered(f"SHER2_ALERT: {url.geturl()} answered {status}")


def _run(words: list[str], body: str) -> None:
    try:
        done = subprocess.run(words, input=body, text=True, capture_output=True, timeout=COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotDelivered(f"SHER2_ALERT: {words[0]}: {error}") from None
    if done.returncode:
        raise NotDelivered(f"SHER2_ALERT: {words[0]} ended with {done.returncode}")


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _is_loopback(url: SplitResult) -> bool:
    try:
        url.port  # noqa: B018 - a port that is none
        return url.hostname == "localhost" or ipaddress.ip_address(url.hostname or "").is_loopback
    except ValueError:
        return False
