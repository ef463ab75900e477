"""The one job, loaded and executed in this process: for `sher2 run`, and for the resident worker run after run.

The web interface's button, the schedule and the sensor execute the same job in a process of their own.
"""

import gc
from collections.abc import Mapping
from dataclasses import dataclass

from orchestration.engines import Engine
from orchestration.errors import UserError
from orchestration.instance import prepare_instance, recorded
from orchestration.processes import PROCESS, identity
from orchestration.settings import Settings
from orchestration.study import load_study
from orchestration.warehouse import Dbt


@dataclass(frozen=True)
class Outcome:
    is_success: bool
    reason: str = ""
    is_users: bool = False


class Pipeline:
    """The job of a home, imported and resolved once. The study is read anew by every run."""

    def __init__(self, settings: Settings):
        # Imports and parsing make millions of objects that stay: looking through them again and again costs a sixth of
        # the start, and they are never looked through later. Afterwards the usual rhythm returns, or garbage that holds
        # whole tables would pile up.
        rhythm = gc.get_threshold()
        gc.set_threshold(100_000, 50, 1000)
        prepare_instance(settings)
        dbt = Dbt(settings, load_study(settings.study_file))
        dbt.start()
        import great_expectations  # noqa: F401
        import lifelines  # noqa: F401

        from orchestration.definitions import build_defs
        from orchestration.efficacy import metrics  # noqa: F401
        from orchestration.report import page  # noqa: F401

        self._job = build_defs(settings, with_automation=False).resolve_job_def("pipeline")
        gc.freeze()
        gc.set_threshold(*rhythm)

    def run(
        self,
        instance,
        *,
        full_refresh: bool = False,
        engine: Engine = Engine.duckdb,
        tags: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Materialise every asset once, recorded on the instance. A failed step is in the outcome, not raised."""
        result = self._job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            tags={PROCESS: identity(), "dagster/max_retries": "0", **(tags or {})},  # who asked looks again itself
            run_config={
                "ops": {"raw": {"config": {"full_refresh": full_refresh}}},
                "resources": {"marts": {"config": {"engine": engine.value}}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
        )
        return Outcome(True) if result.success else _reason(result)


def run_pipeline(settings: Settings, *, full_refresh: bool = False, engine: Engine = Engine.duckdb) -> Outcome:
    """As `sher2 run` does: one run in this process, once what was just copied has settled."""
    pipeline = Pipeline(settings)
    import dagster as dg

    from orchestration.landing import UNENDED_SECONDS, Observations, whole

    settle_seconds = load_study(settings.study_file).landing.settle_seconds
    whole(settings.landing_place, Observations(settings.build / "landing.json"), settle_seconds, UNENDED_SECONDS)
    with recorded(settings), dg.DagsterInstance.get() as instance:
        return pipeline.run(instance, full_refresh=full_refresh, engine=engine)


def _reason(result) -> Outcome:
    for event in result.all_events:
        data = event.event_specific_data
        error = getattr(data, "error", None)
        if error is None:
            continue
        while error.cause is not None:
            error = error.cause
        text = " ".join(error.message.split())
        name, _, words = text.partition(": ")
        if name.endswith(UserError.__name__):
            return Outcome(False, words, is_users=True)
        return Outcome(False, f"{event.step_key or 'run'}: {text}")
    return Outcome(False, "the run failed without saying why; see its log in the Dagster UI: sher2 up")
