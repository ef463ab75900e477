"""What is run on a study, a module a question. An analysis takes the book, reads its cohort and writes rows into it.

No statistic is invented here: how a number is computed stands in the modules above. Every contrast of serum HER2 is an
association: a single arm cannot show that a marker is predictive.
"""
