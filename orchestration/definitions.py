"""The code location: one function that builds fresh definitions, and the definitions of this environment."""

import dagster as dg

from orchestration.defs.automation import build_schedule, build_sensor, pipeline
from orchestration.defs.cuts import build_cuts
from orchestration.defs.home import Home, Marts
from orchestration.defs.landing import landing_assets
from orchestration.defs.publication import build_publication, catalog, efficacy_report, validation_docs
from orchestration.defs.raw import raw
from orchestration.publication import code_version
from orchestration.settings import Settings
from orchestration.study import load_study
from orchestration.warehouse import Dbt


def build_defs(settings: Settings | None = None, *, with_automation: bool = True) -> dg.Definitions:
    """Definitions for one home.

    Args:
        settings: the home and its study; default: of the environment.
        with_automation: register the schedule and the sensor.

    Raises:
        UserError: study.yaml or the home is not usable; says the key and the mend.
    """
    settings = settings or Settings.from_environment()
    settings.prepare()
    code_version()  # of the code as it is now, whatever lies on disk when a run ends
    study = load_study(settings.study_file)
    return dg.Definitions(
        assets=[
            *landing_assets,
            raw,
            build_publication(Dbt(settings, study).manifest()),
            efficacy_report,
            validation_docs,
            catalog,
            build_cuts(study),
        ],
        jobs=[pipeline],
        schedules=[build_schedule(study)] if with_automation else [],
        sensors=[build_sensor(settings)] if with_automation else [],
        resources={
            "home": Home(
                path=str(settings.home),
                study_file=str(settings.study_file),
                alert=settings.alert,
                landing_url=settings.landing_url,
                lake_url=settings.lake_url,
                workers=settings.workers,
            ),
            "marts": Marts(),
        },
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    return build_defs()
