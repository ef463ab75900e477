"""Serum HER2 of a subject: each sample with its change from baseline and the raw rows of its result."""

from types import SimpleNamespace

from orchestration.tracing.facts import Fact, SubjectTables, keys, picked, rounded, signed


def serum_her2(tables: SubjectTables) -> Fact:
    samples = tables.rows("marts.fct_her2_delta")
    samples.sort(key=lambda row: (row.collected_on, str(row.collected_at), row.sample_id, row.laboratory or ""))
    baseline = next((row for row in samples if row.is_baseline), None)
    told = (
        f"baseline {rounded(baseline.baseline_ng_ml)} ng/mL of {baseline.collected_on}" if baseline else "no baseline"
    )
    return Fact(
        f"serum HER2: {told}; samples {len(samples)}, usable {sum(row.is_usable for row in samples)}",
        {"baseline_ng_ml": baseline and baseline.baseline_ng_ml, "baseline_on": baseline and baseline.collected_on},
        because=[_sample(tables, row) for row in samples],
    )


def _sample(tables: SubjectTables, row: SimpleNamespace) -> Fact:
    value = f"{row.value_operator or ''}{rounded(row.value_ng_ml)} ng/mL" if row.value_ng_ml is not None else "no value"
    if row.unusable_reason:
        words = f"not used: {row.unusable_reason}"
    elif row.is_baseline:
        words = "baseline"
    else:
        words = f"{signed(row.change_ng_ml)} ng/mL, {signed(row.pct_change)} % of baseline ({row.change_category})"
    visit = f" {row.visit_name}" if row.visit_name else ""
    results = tables.staged("lab_results", sample_id=row.sample_id, laboratory=row.laboratory, analyte="serum_her2")
    return Fact(
        f"{row.collected_on}{visit}, sample {row.sample_id}: {value}, {words}",
        picked(
            row,
            "sample_id laboratory collected_at collected_on study_day visit_name value_ng_ml value_operator is_baseline"
            " baseline_ng_ml change_ng_ml pct_change log2_ratio change_category is_usable unusable_reason",
        ),
        keys("lab_results", results),
    )
