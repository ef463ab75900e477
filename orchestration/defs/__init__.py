"""Dagster only, and thin: names, wiring, metadata. What is done stands in the modules beside this folder."""
