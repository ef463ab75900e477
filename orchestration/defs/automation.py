"""When the assets are materialised: on arrival, every day, or at a button. Always the same job."""

import time

import dagster as dg

from orchestration.defs.cuts import GROUP as CUTS
from orchestration.settings import Settings
from orchestration.study import Study

_TICK_SECONDS = 40
"""A tick waits so long for something to arrive: Dagster asks a sensor every 5 s at most, and gives it 60 s."""

_HEAD_START_SECONDS = 20
"""While a resident worker is alive, what is due is left to it for so long."""

pipeline = dg.define_asset_job(
    "pipeline",
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups(CUTS),
    executor_def=dg.in_process_executor,
    tags={"dagster/priority": "1"},  # before the cuts of a backfill: they can wait, what arrives cannot
    description="Everything: take in what is pending, rebuild the marts, compute the metrics, publish, report.",
)


def build_schedule(study: Study) -> dg.ScheduleDefinition:
    hour, minute = study.schedule.daily_at.split(":")
    return dg.ScheduleDefinition(
        name="daily",
        job=pipeline,
        cron_schedule=f"{int(minute)} {int(hour)} * * *",
        execution_timezone=study.study.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="The backbone: once a day everything is looked at again, whatever the sensor saw.",
    )


def build_sensor(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name="arrivals",
        job=pipeline,
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Waits for files in the landing folder and asks for a run as soon as one is whole, or when what is"
        " published is not the newest state. A failed run is asked for again, later each time. What counts as taken in"
        " is decided by the lake, never by the history of runs. While the resident worker of `sher2 up` is alive it is"
        " faster; then this is the safety net.",
    )
    def arrivals(context: dg.SensorEvaluationContext):
        from orchestration.arrivals import Arrivals, Request
        from orchestration.resident import is_resident

        deadline = time.monotonic() + _TICK_SECONDS
        due_since: float | None = None
        with Arrivals(context.instance, settings) as landing:
            while True:
                found = landing.look()
                now = time.monotonic()
                if isinstance(found, Request):
                    due_since = due_since or now
                    if not is_resident(settings) or now - due_since >= _HEAD_START_SECONDS:
                        return dg.RunRequest(run_key=found.run_key, tags=found.tags)
                else:
                    due_since = None
                if now >= deadline or landing.is_over():
                    return dg.SkipReason("left to the resident worker" if isinstance(found, Request) else found.reason)
                landing.wait(deadline - now)

    return arrivals
