"""Dagster's web interface behind our guard: `python -m orchestration.webserver PORT WORKSPACE`, for DAGSTER_HOME."""

import sys

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__

from orchestration.guard import Guard
from orchestration.pages import Pages
from orchestration.processes import tie
from orchestration.settings import Settings


def main(port: int, workspace: str) -> None:
    tie()
    with (
        dg.DagsterInstance.get() as instance,
        WorkspaceProcessContext(
            instance,
            version=__version__,
            workspace_load_target=WorkspaceFileTarget([workspace]),
        ) as context,
    ):
        pages = Pages(create_app_from_workspace_process_context(context), Settings.from_environment())
        app = Guard(pages, port)
        # No Host or X-Forwarded-For header of a proxy is believed: nobody stands between the browser and us.
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", proxy_headers=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
