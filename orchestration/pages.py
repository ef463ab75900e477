"""The pages of a home beside Dagster's own: report, validation docs, catalog and the reports of cuts, to be read only.

Who may ask is the guard's to say. These pages show text that exports brought, on the origin that can start runs: so
none of them may run a script, but for the catalog, which runs on an origin of its own.
"""

import mimetypes
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestration.settings import Settings

REPORT = "/reports/efficacy.html"
VALIDATION = "/reports/validation/index.html"
CATALOG = "/reports/catalog/index.html"

_NOTHING_ELSE = "default-src 'none'; base-uri 'none'; form-action 'none'"
_STILL = f"{_NOTHING_ELSE}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:"
_OF_ITS_OWN = (
    f"{_NOTHING_ELSE}; sandbox allow-scripts allow-popups; script-src 'unsafe-inline' 'unsafe-eval';"
    " style-src 'unsafe-inline'; img-src data:; font-src data:"
)
_TYPES = {".html", ".css", ".csv", ".txt", ".png", ".svg", ".gif", ".ico", ".otf"}


def page_of_cut(day: str) -> str:
    return f"/cuts/{day}/efficacy.html"


class Pages:
    """Wraps the ASGI application of Dagster."""

    def __init__(self, app: ASGIApp, settings: Settings):
        mimetypes.add_type("font/otf", ".otf")
        folders = {"/reports": settings.reports, "/cuts": settings.cuts}
        self._app, self._prefixes = app, tuple(f"{path}/" for path in folders)
        self._pages = Starlette(routes=[Mount(path, _Files(directory=folder)) for path, folder in folders.items()])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and scope["path"].startswith(self._prefixes)
        await (self._pages if is_page else self._app)(scope, receive, send)


class _Files(StaticFiles):
    """Files that a browser shows, and no other file of the folder."""

    def __init__(self, directory: Path):
        super().__init__(directory=directory, check_dir=False)

    async def check_config(self) -> None:
        """The folder may come later."""

    def lookup_path(self, path: str):
        return super().lookup_path(path) if Path(path).suffix in _TYPES else ("", None)

    def file_response(self, full_path, *arguments, **options) -> Response:
        response = super().file_response(full_path, *arguments, **options)
        is_catalog = Path(full_path).parent.name == "catalog"
        response.headers["content-security-policy"] = _OF_ITS_OWN if is_catalog else _STILL
        response.headers["x-content-type-options"] = "nosniff"
        response.headers["referrer-policy"] = "no-referrer"
        return response
