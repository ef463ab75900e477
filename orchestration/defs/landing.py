"""The landing folders as external assets: where the lineage begins. Nothing here reads a file."""

import dagster as dg

from orchestration.settings import LANDING_FOLDERS

OWNERS = ["team:data-engineering"]

_WHAT = {
    "clinical": "Demography, exposure, visits, disposition, therapies and survival status, as EDC and sponsor export them.",
    "lab": "Serum HER2 and other laboratory results, as laboratory systems export them.",
    "imaging": "Lesions, their measurements and reported responses, as imaging core labs and investigators export them.",
}

landing_assets = [
    dg.AssetSpec(
        key=["landing", folder],
        group_name="landing",
        description=f"{_WHAT[folder]} Any layout is welcome in any of the three folders; files are never changed, moved or deleted.",
        owners=OWNERS,
        kinds={"file"},
    )
    for folder in LANDING_FOLDERS
]
