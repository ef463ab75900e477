"""Parameters and numbers of the analysis datasets: which PARAMCD stands for which column or endpoint of a mart."""

RESPONSE_NUMBERS = {
    "CR": 1, "PR": 2, "SD": 3, "NON-CR/NON-PD": 4, "PD": 5, "NE": 6, "MISSING": 7, "Y": 1, "N": 0, "YES": 1, "NO": 0,
}  # fmt: skip
"""AVAL of ADRS: the order that oncology ADaM uses. NA and EQUIVOCAL have no number."""

ASSESSMENTS = (
    ("OVR", "Overall Response", "overall_response"),
    ("OVRR", "Reported Overall Response", "reported_response"),
    ("TRGRESP", "Target Response", "target_response"),
    ("NTGRESP", "Non-Target Response", "non_target_response"),
    ("NEWLES", "New Lesion", "new_lesion"),
)
"""ADRS: PARAMCD, PARAM, column of marts.fct_response."""

BEST_RESPONSES = (
    ("BOR", "Best Overall Response (Unconfirmed)", "best_overall_response", "best_overall_response_on"),
    ("CBOR", "Best Overall Response (Confirmed)", "confirmed_best_overall_response",
     "confirmed_best_overall_response_on"),
    ("RSP", "Response (Unconfirmed)", "is_responder", "first_response_on"),
    ("CRSP", "Response (Confirmed)", "is_confirmed_responder", "confirmed_response_on"),
    ("DCR", "Disease Control", "has_disease_control", None),
    ("CBR", "Clinical Benefit", "has_clinical_benefit", None),
)  # fmt: skip
"""ADRS: PARAMCD, PARAM, column of marts.fct_best_response, column of its date."""

OF_SUBJECT = (
    ("PD", "Disease Progression"),
    ("LSTA", "Last Disease Assessment"),
    ("MDIS", "Measurable Disease at Baseline"),
    ("DEATH", "Death"),
)
"""ADRS: PARAMCD, PARAM of what is looked up in other tables."""

SIZES = (
    ("SDIAM", "Sum of Diameters of Target Lesions"),
    ("ISDIAM", "Incomplete Sum of Diameters of Target Lesions"),
    ("LDIAM", "Longest Diameter of Target Lesion"),
    ("SAXIS", "Short Axis of Target Lesion"),
    ("BSTPCHG", "Best Percent Change in Sum of Diameters"),
)
"""ADTR: PARAMCD, PARAM; LDIAM and SAXIS (of a lymph node) are followed by the number of the lesion."""

TIMES = (
    ("PFS", "Progression-Free Survival ({rules} Rules)", "PFS"),
    ("PFSOTH", "Progression-Free Survival ({other_rules} Rules)", "PFS_OTHER_RULES"),
    ("OS", "Overall Survival", "OS"),
    ("RSD", "Duration of Response (Confirmed)", "DOR"),
    ("RSDU", "Duration of Response (Unconfirmed)", "DOR_UNCONFIRMED"),
    ("TTR", "Time to Response", "TTR"),
)
"""ADTTE: PARAMCD, PARAM, endpoint of marts.fct_time_to_event."""

NOT_BY_EVALUATOR = frozenset({"DEATH", "OS"})
"""One record a subject, whoever assessed."""
