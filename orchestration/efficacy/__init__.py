"""The study's statistics: DataFrames in, DataFrames out. Usable alone; no file, no database, no pipeline.

``rates``        intervals of proportions and incidences, heterogeneity, odds ratio of a 2x2 table, Holm
``survival``     Kaplan-Meier, quantiles, rates, follow-up, log-rank, Cox, test of proportional hazards
``landmark``     who is at risk at a landmark, and the last marker value known by then
``association``  ROC, Spearman, concordance, logistic regression
``kinetics``     lead by schedule, geometric means, mixed model of trajectories
``metrics``      every analysis of the study: ``compute(marts, study, build_id)``; what is run stands in ``analyses``,
                 where it is written down in ``book``, what it sees of the marts in ``cohort``

A number that cannot be estimated is NaN. An argument that makes no sense is a ValueError that begins with its name.
Times come back in the unit given; levels are shares of 1.

    >>> from orchestration.efficacy import rates, survival
    >>> low, high = rates.proportion_ci(26, 32)
    >>> f"{low:.3f} to {high:.3f}"
    '0.636 to 0.928'
    >>> curve = survival.kaplan_meier([6, 7, 10, 15, 19, 25], [1, 1, 1, 1, 1, 1])
    >>> survival.quantile(curve)
    (12.5, 6.0, nan)
"""
