"""The words and dates of the simulated study: what each code of the model's frames stands for.

Probabilities and rates belong to ``model``; the spelling of one vendor belongs to that vendor's writer.
"""

import numpy as np

NEVER = 10**6
FIRST_ENROLMENT = int(np.datetime64("2022-02-01").astype(int))
ACCRUAL_DAYS = 540
CUTOFF = int(np.datetime64("2025-03-31").astype(int))
"""The last day with data; what is entered later only describes days up to here."""
ASSAY_SWITCH = int(np.datetime64("2024-06-03").astype(int))

TARGETS, NON_TARGETS, NEW_LESIONS = 5, 3, 2
CYCLES = 60
IMAGING_WEEKS = [*range(6, 55, 6), *range(66, 170, 12)]
SCANS = len(IMAGING_WEEKS)
GRID_WEEKS = 168
"""Deaths and new lesions come on a weekly grid that outlasts the study."""

CYCLE_VISITS = 3
_CYCLES = range(1, CYCLE_VISITS + 1)
VISITS = ["SCREENING", *(f"C{cycle}D1" for cycle in _CYCLES), *(f"WEEK {week}" for week in IMAGING_WEEKS)]
VISIT_NUMBERS = [0, *_CYCLES, *(100 + week for week in IMAGING_WEEKS)]
SCREENING, FIRST_SCAN = 0, 1 + CYCLE_VISITS

ORGANS = ["LYMPH NODE", "LIVER", "LUNG", "BREAST", "CHEST WALL", "PLEURA", "ADRENAL GLAND"]
ORGAN_WEIGHTS = np.array([0.30, 0.30, 0.20, 0.08, 0.05, 0.04, 0.03])
NODE = 0

RESPONSES = ["CR", "PR", "SD", "PD", "NE", "NON-CR/NON-PD", "NA"]
CR, PR, SD, PD, NE, NN, NA = range(len(RESPONSES))
NEVER_SEEN, ABSENT, PRESENT, UNEQUIVOCAL, NOT_DONE, TOO_SMALL, MEASURED = range(7)
"""States of a lesion at a scan."""
LONGEST, SHORT_AXIS, TUMSTATE, SUM = range(4)
"""Kinds of a tumour measurement."""

ANALYTES = ["HER2", "CA153", "CEA", "LDH", "ALT"]
ASSAYS = ["HER2-ECD ELISA", "HER2-ECD CLIA", "ECLIA", "PHOTOMETRY"]
ELISA, CLIA, ECLIA, PHOTOMETRY = range(len(ASSAYS))
LIMITS = {ELISA: (45, 1000), CLIA: (5, 3500)}
"""LLOQ and ULOQ of serum HER2, tenths of ng/mL. The other analytes carry none."""
CLIA_CALIBRATION = 1.25
"""The chemiluminescence assay reads so much higher on the same serum."""
NORTH, SOUTH = 0, 1
"""The two laboratories; the southern one switches from ELISA to CLIA on ``ASSAY_SWITCH``."""

RESULT_STATES = ["F", "C", "P", "X"]
FINAL, CORRECTED, PRELIMINARY, CANCELLED = range(len(RESULT_STATES))

DISPOSITIONS = [
    "INFORMED CONSENT OBTAINED",
    "ENROLLED",
    "SCREEN FAILURE",
    "PROGRESSIVE DISEASE",
    "ADVERSE EVENT",
    "DEATH",
    "WITHDRAWAL BY SUBJECT",
    "LOST TO FOLLOW-UP",
    "PHYSICIAN DECISION",
]
CONSENTED, ENROLLED, FAILED, PROGRESSED, ADVERSE_EVENT, DIED, WITHDREW, LOST, DECIDED = range(len(DISPOSITIONS))
MILESTONE, TREATMENT, STUDY = range(3)
"""Categories of a disposition."""

THERAPIES = [
    ("LETROZOLE", "ENDOCRINE THERAPY"),
    ("PACLITAXEL", "CHEMOTHERAPY"),
    ("CAPECITABINE", "CHEMOTHERAPY"),
    ("ERIBULIN", "CHEMOTHERAPY"),
    ("SACITUZUMAB GOVITECAN", "TARGETED THERAPY"),
    ("RADIOTHERAPY BONE", "RADIOTHERAPY"),
    ("ONDANSETRON", "SUPPORTIVE CARE"),
]
ONDANSETRON = 6

IHC = ["0", "1+", "2+", "3+"]
ISH = ["NEGATIVE", "POSITIVE", "NOT DONE"]
