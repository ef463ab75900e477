"""A believable study of trastuzumab deruxtecan in HER2-low breast cancer, written as exports into a landing folder.

``model`` draws what happened, ``exports_sdtm`` and ``exports_site`` say how a sponsor or a hospital writes it down,
``deliveries`` cuts it into dated files. Knows no Dagster, no database and no rule of the analysis.
"""

from pathlib import Path

from orchestration.errors import UserError
from orchestration.simulate import deliveries, exports_sdtm, exports_site, model, records

LAYOUTS = {"sdtm": exports_sdtm.exports, "site": exports_site.exports}


def write_study(
    out: Path,
    subjects: int,
    seed: int,
    layout: str = "sdtm",
    null: bool = False,
    progress: deliveries.Progress | None = None,
) -> None:
    """Simulate a study and write its exports into ``out``/{clinical,lab,imaging}. Same arguments, same bytes.

    Args:
        out: may be a landing folder; files of the same name and content are left as they are.
        subjects: how many give consent; a few of them are never treated or not HER2-low.
        layout: ``sdtm``, or ``site``, whose files study.yaml maps under ``sources``.
        null: serum HER2 looks the same but is unrelated to tumour burden and outcome.
        progress: called with the number of tables written, the number of all, and the name of the last one.

    Raises:
        UserError: an argument is out of range, or ``out`` holds another study or cannot be written.
    """
    if subjects < 1:
        raise UserError(f"--subjects {subjects}: a study needs at least one subject.")
    if seed < 0:
        raise UserError(f"--seed {seed}: must not be negative.")
    if layout not in LAYOUTS:
        raise UserError(f"--layout {layout}: is none of {', '.join(LAYOUTS)}.")
    study = records.simulate(subjects, seed, null)
    deliveries.amend(study, model.Streams(seed))
    deliveries.deliver(Path(out), LAYOUTS[layout](study), subjects, progress)
