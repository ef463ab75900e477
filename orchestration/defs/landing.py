"""The landing folders as external assets: where the lineage begins. Nothing here reads a file."""

import dagster as dg

from orchestration.settings import LANDING_FOLDERS

OWNERS = ["team:data-engineering"]

_WHAT = {
    "clinical": "Demography, exposure, visits, disposition, therapies, survival, as EDC and sponsors export them.",
    "lab": "Serum HER2 and other laboratory results, as laboratory systems export them.",
    "imaging": "Lesions, measurements and reported responses, as imaging core labs and investigators export them.",
}

landing_assets = [
    dg.AssetSpec(
        key=["landing", folder],
        group_name="landing",
        description=f"{_WHAT[folder]} Any layout is welcome in each folder; files are never changed, moved or deleted.",
        owners=OWNERS,
        kinds={"file"},
    )
    for folder in LANDING_FOLDERS
]
