"""The figures: rows of the published warehouse in; inline SVG, words and the data behind it out. One module a figure.

How lines get on paper belongs in drawing.py, the wording of the page in its template, statistics in efficacy/.
"""

from orchestration.report.figures import (
    change_scatter,
    forest,
    kaplan_meier,
    roc,
    spider,
    swimmer,
    trajectories,
    waterfall,
)
from orchestration.report.figures.figure import Figure, Mark
from orchestration.report.published import Published
from orchestration.study import Study

__all__ = ["Figure", "Mark", "draw"]


def draw(published: Published, study: Study) -> dict[str, Figure]:
    """Every figure of the report by its name, in the order of the page."""
    made = (
        waterfall.waterfall(published, study),
        spider.spider(published, study),
        kaplan_meier.survival(published, study, "PFS"),
        kaplan_meier.survival(published, study, "OS"),
        swimmer.swimmer(published, study),
        trajectories.trajectories(published, study),
        kaplan_meier.landmark(published, study),
        forest.forest(published, study),
        roc.roc(published, study),
        change_scatter.change_scatter(published, study),
    )
    return {figure.name: figure for figure in made}
