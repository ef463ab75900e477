"""sher2: from exports in a landing folder to published marts and efficacy metrics."""

__version__ = "0.1.0"
