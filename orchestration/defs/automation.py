"""When the assets are materialised: on arrival, every day, or at a button. Always the same job."""

import dagster as dg

from orchestration.defs.cuts import GROUP as CUTS
from orchestration.settings import Settings
from orchestration.study import Study

FINGERPRINT = "sher2/pending"
MAX_TRIES = 3

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


def build_sensor(settings: Settings, study: Study) -> dg.SensorDefinition:
    @dg.sensor(
        name="arrivals",
        job=pipeline,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for a run when whole, stable files wait in the landing folder; a failed batch is tried again,"
        f" {MAX_TRIES} times at most; what counts as loaded is decided by the lake, never by run history.",
    )
    def arrivals(context: dg.SensorEvaluationContext):
        from orchestration.ingestion import pending_fingerprint

        fingerprint = pending_fingerprint(settings, study)
        if fingerprint is None:
            return dg.SkipReason("nothing is pending")
        runs = context.instance.get_runs(dg.RunsFilter(tags={FINGERPRINT: fingerprint}))
        if any(not run.is_finished for run in runs):
            return dg.SkipReason("a run for what is pending is under way")
        if len(runs) >= MAX_TRIES:
            return dg.SkipReason(
                f"{MAX_TRIES} runs for what is pending failed: see the last one, mend its cause, then run: sher2 run"
            )
        return dg.RunRequest(run_key=f"{fingerprint}-{len(runs) + 1}", tags={FINGERPRINT: fingerprint})

    return arrivals
