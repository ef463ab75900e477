"""Great Expectations' data docs of the last validations. No verdict rests on anything here."""

import json
import os
import shutil
from html import escape
from pathlib import Path

from orchestration.exports.records import RECORDS
from orchestration.settings import EXPECTATIONS, Settings

_KEPT_BATCHES = 10


def keep(settings: Settings, batch: int, documents: list[dict]) -> None:
    """Keep the results of a batch for `write_docs`; the oldest ones go."""
    folder = _folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{batch:09d}.json").write_text(json.dumps(documents), "utf-8")
    for old in sorted(folder.glob("*.json"))[:-_KEPT_BATCHES]:
        old.unlink(missing_ok=True)


def write_docs(settings: Settings) -> Path:
    """Render suites and results of the kept batches as static pages: counts by expectation, never a clinical value.

    The pages take their styles from public addresses; without a network they are plain, but complete. The index of
    Great Expectations would be empty then (a script from elsewhere fills it), so it is our own. Rendered anew only when
    a batch has come since.

    Returns:
        the index page, reports/validation/index.html.
    """
    target = settings.reports / "validation"
    kept = sorted(_folder(settings).glob("*.json"))
    mark = target / "batches.txt"
    content = "".join(f"{path.name} {path.stat().st_mtime_ns}\n" for path in kept)
    if mark.exists() and mark.read_text() == content:
        return target / "index.html"
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    fresh = target.with_name("validation.new")
    shutil.rmtree(fresh, ignore_errors=True)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    for site in list(context.variables.data_docs_sites or {}):
        context.delete_data_docs_site(site)
    context.add_data_docs_site(
        "validation",
        {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(fresh)},
        },
    )
    for record in RECORDS:
        suite = json.loads((EXPECTATIONS / f"{record}.json").read_text("utf-8"))
        context.suites.add(gx.ExpectationSuite(name=record, expectations=suite["expectations"], meta=suite["meta"]))
    for path in kept:
        for frame, document in enumerate(json.loads(path.read_text("utf-8"))):
            key = ValidationResultIdentifier(
                expectation_suite_identifier=ExpectationSuiteIdentifier(document["suite_name"]),
                run_id=RunIdentifier(run_name=f"batch-{int(path.stem)}"),
                batch_identifier=f"frame-{frame}",
            )
            context.validation_results_store.set(key, expectationSuiteValidationResultSchema.load(document))
    context.build_data_docs()
    (fresh / "index.html").write_text(_index(fresh), "utf-8")
    (fresh / mark.name).write_text(content)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(fresh, target)
    return target / "index.html"


def _index(site: Path) -> str:
    suites = sorted(site.glob("expectations/*.html"))
    results = sorted(
        site.glob("validations/*/batch-*/*/*.html"), key=lambda page: int(page.parts[-3][6:]), reverse=True
    )

    def link(page: Path, text: str) -> str:
        return f'<li><a href="{escape(page.relative_to(site).as_posix())}">{escape(text)}</a></li>'

    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Validation</title>'
        "<style>:root{color-scheme:light dark}body{font:1rem/1.5 sans-serif;max-width:44rem;margin:2rem auto;"
        "padding:0 1rem}</style><h1>Validation</h1>"
        f"<h2>Results of the last {_KEPT_BATCHES} batches</h2><ul>"
        + "".join(link(page, f"batch {page.parts[-3][6:]}: {page.parts[-4]}") for page in results)
        + "</ul><h2>Rules of each record</h2><ul>"
        + "".join(link(page, page.stem) for page in suites)
        + "</ul></html>"
    )


def _folder(settings: Settings) -> Path:
    return settings.build / "validation"
