"""The rules in words, with the parameters of study.yaml. The rules themselves are dbt's: here is only what they say."""

from orchestration.study import Response, Study

OTHER_RULES = {"fda": "ema", "ema": "fda"}


def rule_of(endpoint: str, study: Study) -> str:
    """The rule of an endpoint of ENDPOINTS, one sentence or two."""
    match endpoint:
        case "PFS":
            return _progression_free_survival(study, study.endpoints.pfs.rules)
        case "PFS_OTHER_RULES":
            return _progression_free_survival(study, OTHER_RULES[study.endpoints.pfs.rules])
        case "OS":
            return f"from {_start(study)} to death; otherwise censored at the last date known alive, of any record"
        case "DOR":
            return (
                "from the first confirmed response to progression or death, censored as PFS; confirmed responders only"
            )
        case "DOR_UNCONFIRMED":
            return (
                "from the first response, confirmed or not, to progression or death, censored as PFS; responders only"
            )
        case "TTR":
            confirmed = "confirmed " if study.response.confirm_days else ""
            return f"from {_start(study)} to the first {confirmed}response; {confirmed}responders only"
        case "BOR":
            return f"the best of {_considered(study.response)}. {_stable_disease(study.response)}"
        case "CBOR":
            return f"the best of {_considered(study.response)}. {_confirmation(study.response)}"
        case _:
            return _serum_her2(study)


def _start(study: Study) -> str:
    return "the first dose" if study.endpoints.start == "first_dose" else "enrolment"


def _progression_free_survival(study: Study, rules: str) -> str:
    if rules == "ema":
        return (
            f"EMA: from {_start(study)} to the first PD or death up to the data cut-off, whatever therapy or gap lies"
            " before it; otherwise censored at the last assessment other than NE"
        )
    imaging = study.visits.imaging
    phases = []
    for phase in imaging.schedule:
        until = f" to week {phase.through_week}" if phase.through_week else ""
        phases.append(f"every {phase.every_weeks} weeks{until}")
    return (
        f"FDA: from {_start(study)} to the first PD or death that comes on or before new anticancer therapy and the"
        f" data cut-off and not after {study.endpoints.pfs.max_missed} or more missed assessments (planned"
        f" {', then '.join(phases)}, window {imaging.window_days} days); otherwise, or without a baseline, censored at"
        " the last assessment other than NE before it, or at the start"
    )


def _considered(response: Response) -> str:
    therapy = " and to new anticancer therapy" if response.stop_at_new_therapy else ""
    return f"the assessments after the first dose, up to the first PD{therapy}, CR > PR > SD > NON-CR/NON-PD > PD > NE"


def _stable_disease(response: Response) -> str:
    days = response.min_sd_days - response.duration_window_days
    return (
        f"SD and NON-CR/NON-PD count from {days} days after the first dose on ({response.min_sd_days} less the window"
        f" of {response.duration_window_days}), before that as NE"
    )


def _confirmation(response: Response) -> str:
    if not response.confirm_days:
        return f"No confirmation is asked for. {_stable_disease(response)}"
    stable = "one SD" if response.confirm_accept_sd else "no SD"
    return (
        f"CR needs a CR, PR a CR or PR at least {response.confirm_days} days later; between them lie at most"
        f" {response.confirm_max_ne} NE and, of a PR, {stable}; only the first that is late enough may confirm. What is"
        f" not confirmed counts as SD. {_stable_disease(response)}"
    )


def _serum_her2(study: Study) -> str:
    percent = study.analysis.change_thresholds_pct
    return (
        f"compared with the last valid sample of the {study.baseline.window_days} days up to the first dose, of the"
        f" same assay; below the limit of quantification half of it is taken; FALL from {percent.fall} % below, RISE"
        f" from {percent.rise} % above the baseline"
    )
