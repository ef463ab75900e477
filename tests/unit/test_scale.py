"""docs/scale.md says what follows from the recorded benchmark and the stated assumptions, and nothing else."""

import re

import pytest
import yaml

from benchmarks.scale import PAGE, Assumptions, Law, Plan, Recorded, rendered
from orchestration.settings import REPOSITORY

ROWS = [10, 10_000, 100_000, 1_000_000]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(Recorded.load(), Assumptions())


def test_the_page_is_what_the_recorded_figures_make(plan):
    page = PAGE.read_text("utf-8")
    assert rendered(page, plan) == page, "python -m benchmarks.scale"


def test_every_table_of_the_page_has_its_part_and_every_number_a_unit_or_head(plan):
    parts = re.findall(r"<!-- scale: (\w+) -->\n(.*?)<!-- end -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert all(content.strip() for _, content in parts)
    assert {name for name, _ in parts} == {name for name in vars(Plan) if not name.startswith("_")}


def test_the_memory_of_a_run_is_that_of_deploy():
    unit = (REPOSITORY / "deploy" / "systemd" / "sher2.service").read_text()
    run = yaml.safe_load((REPOSITORY / "deploy" / "kubernetes" / "instance.yaml").read_text())["run_launcher"]["config"]
    assert f"MemoryMax={Assumptions.deployed_memory_gib:g}G\n" in unit
    assert run["resources"]["limits"]["memory"] == f"{Assumptions.deployed_memory_gib:g}Gi"


@pytest.mark.parametrize("exponent", [1.0, 1.3])
def test_a_power_of_the_rows_is_found_and_carried_on(exponent):
    law = Law.fit(ROWS, [20 + 3 * (n / 1e6) ** exponent for n in ROWS])
    assert law.exponent == pytest.approx(exponent, abs=0.01)
    assert law.at(1e7) == pytest.approx(20 + 3 * 10**exponent, rel=0.02)
    assert law.rows_at(law.at(1e8)) == pytest.approx(1e8)


def test_a_cost_that_grows_slower_than_the_rows_is_not_believed_beyond_them():
    law = Law.fit(ROWS, [5 + (n / 1e6) ** 0.5 for n in ROWS])
    assert law.exponent == pytest.approx(0.5, abs=0.02)
    assert law.at(1e8) - law.fixed == pytest.approx(100 * (law.at(1e6) - law.fixed), rel=1e-3)


def test_a_dearer_store_costs_in_proportion(plan):
    twice = Plan(plan.recorded, Assumptions(price_gb_month=2 * Assumptions.price_gb_month))

    def storage(of: Plan) -> float:
        return float(re.search(r"\| storage \| ([\d,]+) a month", of.lake())[1].replace(",", ""))

    assert storage(twice) == pytest.approx(2 * storage(plan), abs=1)
