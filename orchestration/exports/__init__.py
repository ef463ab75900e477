"""Bytes of an export -> canonical rows with their source text. Knows no Dagster and no database."""
