"""The command line: thin. Every command calls what the UI calls; heavy imports happen inside the command."""

import json
import sys
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import NoReturn

import click

from orchestration import __version__, progress
from orchestration.engines import Engine, require_spark
from orchestration.errors import UserError, has_no_room
from orchestration.processes import ends_at_once
from orchestration.settings import Settings
from orchestration.study import load_study


class _Commands(click.Group):
    """One line an error: exit 2 for the user's mistakes, 1 for ours, a traceback only with --debug."""

    def invoke(self, context: click.Context):
        try:
            return super().invoke(context)
        except UserError as error:
            _fail(str(error), 2, context)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if has_no_room(error):
                home = Settings.from_environment().home
                _fail(f"the disk of {home} is full. Make room, then run again; what is published stays.", 1, context)
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            _fail(f"{text} (this is our mistake, not yours; sher2 --debug shows where)", 1, context)


def _fail(text: str, code: int, context: click.Context) -> None:
    if context.params.get("debug"):
        raise  # noqa: PLE0704 - inside the except clause of the caller
    click.echo(f"sher2: {text}", err=True)
    context.exit(code)


def command() -> NoReturn:
    """The command sher2."""
    with ends_at_once():
        main()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Exports in a landing folder -> published marts and efficacy metrics."""


@main.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--subjects", default=120, show_default=True, type=int)
@click.option("--seed", default=1, show_default=True, type=int)
@click.option("--layout", default="sdtm", show_default=True, type=click.Choice(["sdtm", "site"]))
@click.option("--null", is_flag=True, help="Serum HER2 unrelated to outcome.")
def simulate(out: Path, subjects: int, seed: int, layout: str, null: bool) -> None:
    """Write a realistic study's exports into OUT/{clinical,lab,imaging}. Same arguments, same bytes."""
    from orchestration.simulate import write_study

    with _shown_progress():
        write_study(
            out,
            subjects,
            seed,
            layout=layout,
            null=null,
            progress=lambda done, total, text: progress.tell(f"simulating: {done} of {total} {text}"),
        )
    files = [path for path in out.rglob("*") if path.is_file()]
    click.echo(f"{subjects} subjects in {len(files)} files below {out}")


@main.command()
@click.option("--full-refresh", is_flag=True, help="Judge every kept file again.")
@click.option("--engine", default="duckdb", show_default=True, type=click.Choice([engine.value for engine in Engine]))
def run(full_refresh: bool, engine: str) -> None:
    """Take in everything pending and materialise all assets in one process."""
    settings = Settings.from_environment()
    _read_protocol(settings)
    if engine == Engine.spark:
        require_spark()
    settings.prepare()
    from orchestration.pipeline import run_pipeline

    with _shown_progress():
        outcome = run_pipeline(settings, full_refresh=full_refresh, engine=Engine(engine))
    if not outcome.is_success:
        raise UserError(outcome.reason) if outcome.is_users else RuntimeError(outcome.reason)
    click.echo(_summary(settings))


@main.command()
@click.option("--share", default="1/1", show_default=True, help="Take a part of the files: the second of four is 2/4.")
def ingest(share: str) -> None:
    """Take in what is pending and build nothing: for further machines beside the one that runs the pipeline."""
    settings = Settings.from_environment()
    study = load_study(settings.study_file)
    from orchestration.due import Share
    from orchestration.ingestion import ingest as take_in

    part = Share.of(share)

    def tell(done: int, total: int, text: str) -> None:
        progress.tell(f"reading files: {done} of {total}, {text}")

    with _shown_progress():
        taken = take_in(settings, study, tell, share=part)
    rows = sum(verdict.rows_read for verdict in taken.files)
    click.echo(
        f"{len(taken.files)} files with {rows:,} rows taken in, {len(taken.held)} held. sher2 run publishes them."
    )


@main.command()
@click.option("--port", default=3000, show_default=True, type=int)
@click.option("--without-worker", is_flag=True, help="Leave every run to the daemon: less memory, slower.")
def up(port: int, without_worker: bool) -> None:
    """Serve Dagster's web interface, daemon and worker on the loopback address until interrupted."""
    settings = Settings.from_environment()
    _read_protocol(settings)
    settings.prepare()
    from orchestration.serving import serve

    sys.exit(serve(settings, port, with_worker=not without_worker))


@main.command()
@click.option("--json", "as_json", is_flag=True)
def status(as_json: bool) -> None:
    """Files, rows, the last publication and open findings."""
    from orchestration.inspection import status as read_status

    settings = Settings.from_environment()
    content = read_status(settings, load_study(settings.study_file))
    if as_json:
        click.echo(json.dumps(content, indent=2))
        return
    broken = content.pop("broken")
    for key, value in content.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        if key == "waiting":
            lines = [f"{item['path']}: {item['reason']}" for item in value]
            text = f"\n{'':<21}".join(lines[:20] + ([f"and {len(lines) - 20} more: --json"] if len(lines) > 20 else []))
        click.echo(f"{key.replace('_', ' '):<20} {text if text not in (None, '') else '-'}")
    click.echo(f"{'broken now':<20} {'nothing' if not broken else ''}".rstrip())
    for problem in broken:
        click.echo(f"  {problem['says']}\n    {problem['mend']}")


@main.command()
@click.option("--json", "as_json", is_flag=True)
@click.option("--csv", "as_csv", is_flag=True, help="A query list to send back to the site.")
def quarantine(as_json: bool, as_csv: bool) -> None:
    """Each quarantined row: file, row number, field, value, rule, what to do."""
    from orchestration.inspection import quarantined, queries

    settings = Settings.from_environment()
    rows = quarantined(settings)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif as_csv:
        click.echo(_csv(queries(settings, rows)), nl=False)
    elif not rows:
        click.echo("nothing is quarantined")
    else:
        for row in rows:
            # a row's message names its file, row, field and value already
            click.echo(row["message"] if row["row_number"] is not None else f"{row['path']}: {row['message']}")


@main.command()
@click.argument("query")
@click.option("--format", "shape", default="table", show_default=True, type=click.Choice(["table", "csv", "json"]))
def sql(query: str, shape: str) -> None:
    """Read-only QUERY on what is published."""
    from orchestration.inspection import query_rows

    columns, rows = query_rows(Settings.from_environment(), query)
    _print_rows(columns, rows, shape)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Say what would happen to FILES, without taking them in."""
    from orchestration.inspection import check_file

    settings = Settings.from_environment()
    study = load_study(settings.study_file)
    verdicts = [check_file(settings, study, path) for path in files]
    for verdict in verdicts:
        click.echo(verdict.text)
    sys.exit(0 if all(verdict.would_load for verdict in verdicts) else 2)


@main.command()
@click.argument("sha")
def reprocess(sha: str) -> None:
    """Judge a rejected or set-aside file again at the next run; SHA is its file_id or the beginning of it."""
    from orchestration.lake import Lake
    from orchestration.locking import writer_lock

    settings = Settings.from_environment()
    settings.prepare()
    with writer_lock(settings.home):
        path = Lake(settings).reprocess(sha)
    click.echo(f"{path} will be judged again: sher2 run")


@main.command()
@click.option(
    "--parquet", "parquet", type=click.Path(file_okay=False, path_type=Path), help="All marts and metrics as Parquet."
)
@click.option(
    "--adam", "adam", type=click.Path(file_okay=False, path_type=Path), help="Analysis datasets for the statistician."
)
def export(parquet: Path | None, adam: Path | None) -> None:
    """Write what is published into a folder."""
    if adam is None and parquet is None:
        raise UserError("export: name a folder: --adam DIR or --parquet DIR")
    settings = Settings.from_environment()
    written = []
    if parquet is not None:
        from orchestration.inspection import export_parquet

        written += export_parquet(settings, parquet)
    if adam is not None:
        from orchestration.adam import export_adam

        written += export_adam(settings, load_study(settings.study_file), adam)
    for path in written:
        click.echo(path)


@main.command()
@click.option("--pdf", is_flag=True, help="Also print the page to PDF with the Chromium of this machine.")
def report(pdf: bool) -> None:
    """Render the report from what is published."""
    from orchestration.report.page import render
    from orchestration.report.pdf import write_pdf

    settings = Settings.from_environment()
    page = render(settings.warehouse, settings.reports, load_study(settings.study_file))
    click.echo(page)
    if pdf:
        click.echo(write_pdf(page))


@main.command()
@click.argument("build", required=False)
@click.option("--json", "as_json", is_flag=True)
def diff(build: str | None, as_json: bool) -> None:
    """Which numbers changed since BUILD (default: the one before), and through which rows."""
    from orchestration.comparison import as_text, compare, find_build

    settings = Settings.from_environment()
    changes = compare(settings, find_build(settings, build))
    click.echo(json.dumps(changes, indent=2, ensure_ascii=False) if as_json else as_text(changes))


@main.command()
@click.argument("subject")
@click.option(
    "--endpoint",
    help="PFS, PFS_OTHER_RULES, OS, DOR, DOR_UNCONFIRMED, TTR, BOR, CBOR or SHER2; without it a summary of all.",
)
@click.option("--evaluator", help="Whose assessments; without it the study's evaluator.")
@click.option("--json", "as_json", is_flag=True)
def trace(subject: str, endpoint: str | None, evaluator: str | None, as_json: bool) -> None:
    """From the numbers of SUBJECT back to the assessments, lesions, files and rows they came from."""
    from orchestration.tracing import as_text
    from orchestration.tracing import trace as trace_subject

    settings = Settings.from_environment()
    content = trace_subject(
        settings, load_study(settings.study_file), subject, endpoint and endpoint.upper(), evaluator
    )
    click.echo(json.dumps(content, indent=2, ensure_ascii=False) if as_json else as_text(content))


@main.command()
@click.argument("day")
@click.option(
    "--received-from",
    metavar="[ledger|filename]",
    help="When a file came: by the ledger (default), or by the date in its name where its source declares one.",
)
def cut(day: str, received_from: str | None) -> None:
    """Freeze a data cut: what had been received by DAY and is dated on or before it. Again: prove it."""
    from orchestration.cuts import cut as freeze
    from orchestration.locking import writer_lock

    settings = Settings.from_environment()
    study = load_study(settings.study_file)
    settings.prepare()
    with _shown_progress(), writer_lock(settings.home):
        progress.tell("freezing the data cut")
        frozen = freeze(settings, study, _date(day), received_from)
    click.echo(frozen.database)
    if not frozen.is_new:
        click.echo("frozen before; built again from its study.yaml and its files: every table is the same", err=True)


@main.command()
@click.option("--all", "everything", is_flag=True, help="Every estimate, not the headline numbers alone.")
@click.option("--format", "shape", default="table", show_default=True, type=click.Choice(["table", "csv", "json"]))
def cuts(everything: bool, shape: str) -> None:
    """The estimates of every frozen data cut, by day: how the numbers came about."""
    from orchestration.cuts import estimates, headlines

    settings = Settings.from_environment()
    study = load_study(settings.study_file)
    _print_rows(*(estimates(settings) if everything else headlines(settings, study)), shape)


@main.command()
def rollback() -> None:
    """Publish the build before the current one again."""
    from orchestration.locking import writer_lock
    from orchestration.publication import rollback as publish_earlier

    settings = Settings.from_environment()
    settings.prepare()
    with writer_lock(settings.home):
        build_id = publish_earlier(settings)
    click.echo(f"build {build_id} is published again")


@main.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(file: Path) -> None:
    """Write the home, Dagster's history left out, into one tar FILE."""
    from orchestration.backup import backup as write_backup
    from orchestration.locking import writer_lock

    settings = Settings.from_environment()
    settings.prepare()
    with writer_lock(settings.home):
        count = write_backup(settings, file)
    click.echo(f"{count} files in {file}")
    if buckets := " and ".join(filter(None, (settings.landing_url, settings.lake_url))):
        click.echo(f"Not in it is what lies in {buckets}: keep versions or a replica there.")


@main.command()
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
def restore(file: Path) -> None:
    """Unpack a backup FILE into an empty home, every file proven by its hash."""
    from orchestration.backup import restore as unpack_backup
    from orchestration.locking import writer_lock

    settings = Settings.from_environment()
    settings.prepare()
    with writer_lock(settings.home):
        count = unpack_backup(settings, file)
        settings.prepare()
    click.echo(f"{count} files restored into {settings.home}")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def layout(file: Path) -> None:
    """Propose a sources: entry of study.yaml for an unknown table. A person checks it; nothing is applied."""
    from orchestration.exports.proposal import propose

    settings = Settings.from_environment()
    click.echo(propose(file, load_study(settings.study_file)), nl=False)


def _read_protocol(settings: Settings) -> None:
    """Where it makes no sense the alert hook is called too: who starts a run or a service may be no person."""
    try:
        load_study(settings.study_file)
    except UserError as error:
        if settings.monitoring.exists():  # else there was no run yet
            from orchestration.monitoring import note_protocol

            note_protocol(settings, error)
        raise


def _summary(settings: Settings) -> str:
    from orchestration.inspection import headline

    return headline(settings, load_study(settings.study_file))


class _shown_progress:
    """One line on a terminal, rewritten; one line a stage elsewhere. On stderr, so that output stays clean."""

    def __enter__(self) -> None:
        from rich.console import Console

        console = Console(stderr=True)
        self._status = console.status("starting") if console.is_terminal else None
        self._stage = ""
        if self._status:
            self._status.start()
        progress.listen(self._show)

    def _show(self, text: str) -> None:
        if self._status:
            self._status.update(text)
        elif (stage := text.partition(":")[0]) != self._stage:
            self._stage = stage
            with suppress(OSError):  # that nobody listens any more breaks nothing off
                click.echo(f"{stage} ...", err=True)

    def __exit__(self, *exception) -> None:
        progress.listen(None)
        if self._status:
            self._status.stop()


def _csv(records: list[dict], columns: list[str] | None = None) -> str:
    import csv
    import io

    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=columns or (list(records[0]) if records else []), lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({name: _inert(value) for name, value in record.items()})
    return out.getvalue()


def _inert(value):
    """A text cell that a spreadsheet would take for a formula gets a quote before it; numbers never."""
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return "'" + value
    if isinstance(value, bool):
        return str(value).lower()
    return value


def _print_rows(columns: list[str], rows: list[tuple], shape: str) -> None:
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    if shape == "json":
        click.echo(json.dumps(records, ensure_ascii=False))
    elif shape == "csv":
        click.echo(_csv(records, columns), nl=False)
    else:
        _print_table(columns, rows)


def _print_table(columns: list[str], rows: list[tuple]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for position, name in enumerate(columns):
        is_number = any(isinstance(row[position], (int, float)) and not isinstance(row[position], bool) for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(120, 24 * len(columns)))
    console.print(table)
    click.echo(f"{len(rows)} rows")


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UserError(f"{text!r} is no date. Write it as YYYY-MM-DD.") from None


if __name__ == "__main__":
    command()
