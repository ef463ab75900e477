"""The report: one page rendered from what is published. It draws and words; statistics belong in efficacy/."""
