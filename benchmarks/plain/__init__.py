"""Serum HER2 deltas as a plain script would make them, and a bare scan: to hold the pipeline against.

Both scripts read the landing folder of `benchmarks.studies`, take the latest version of each serum HER2 result and the
last one within 28 days up to the first dose as baseline, and give change, per cent, log2 ratio and the nadir before.
They know neither quarantine nor contradictory corrections, no assays, limits, visits or trace: that is the point.
Each prints the number of samples and the sum of their log2 ratios, which must agree.
"""
