"""Why there is nothing to show, in words: the first thing that is absent on the way to a number or a figure."""

from orchestration.report import wording as say
from orchestration.report.published import Published
from orchestration.study import Study


def why(published: Published, study: Study, what: str) -> str:
    """In words, the first thing that is missing on the way to a figure.

    Args:
        what: members, times, changes, her2, pairs, landmark or roc.
    """
    treated = published.members("in_treated")
    members = published.members(study.analysis.population)
    if not published.subjects:
        return "No subject is known yet: no clinical export with subjects has been loaded."
    if not treated:
        return (
            f"None of the {say.plural(len(published.subjects), 'known subject')} has a recorded dose of a study drug."
        )
    if not members:
        return (
            f"None of the {say.plural(len(treated), 'treated patient')} belongs to the analysis population"
            f" ({say.population(study.analysis.population)}): the tumour's HER2 status is missing or not HER2-low."
        )
    if what in ("changes", "pairs", "times", "landmark", "roc") and not published.responses:
        return f"No tumour assessment by {study.response.evaluator.lower()} has been loaded."
    if what in ("her2", "pairs", "landmark", "roc") and not any(
        row.subject_id in members for row in published.analysed
    ):
        if published.her2_unusable:
            reasons = ", ".join(f"{row.reason} ({row.samples})" for row in published.her2_unusable[:5])
            return f"No serum HER2 sample of the analysis population is fit for analysis: {reasons}."
        return "No serum HER2 result has been loaded for the analysis population."
    return {
        "changes": "No patient of the analysis population has a complete sum of target diameters both before and after"
        " the first dose.",
        "her2": "No serum HER2 sample of the analysis population has a study day and a value above 0.",
        "pairs": "No patient has both a change of serum HER2 and a change of the sum of diameters.",
        "landmark": "Nothing was computed at the landmark: too few patients at risk with an evaluable change.",
        "roc": "Nothing was computed: too few patients with an evaluable early change, or one outcome only.",
        "times": "No survival curve was computed for the analysis population.",
        "members": "Nothing was computed for the analysis population.",
    }[what]
