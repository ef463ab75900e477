"""The report in a browser: on paper, on a phone, in the dark, by keyboard, without a network."""

import shutil

import pytest

from orchestration.report.page import render
from orchestration.settings import REPOSITORY
from orchestration.study import load_study
from tests.unit.report_warehouse import build

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """File addresses of a full report and of one of an empty study."""
    folder = tmp_path_factory.mktemp("report")
    study = load_study(REPOSITORY / "study.yaml")
    full = render(build(folder / "full.duckdb", subjects=40), folder / "full", study)
    empty = render(build(folder / "empty.duckdb", subjects=0, without=("ops",)), folder / "empty", study)
    return {"full": full.as_uri(), "empty": empty.as_uri()}


def show(browser, address: str, width: int = 1100, media: str = "screen", scheme: str = "light") -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.get(address)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2) of ``rgb(r, g, b)``."""
    channels = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", [320, 390, 768, 1100])
@pytest.mark.parametrize("study", ["full", "empty"])
def test_the_page_never_scrolls_sideways(browser, pages, study, width):
    show(browser, pages[study], width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("width", "shown"), [(390, "narrow"), (1100, "wide")])
def test_each_screen_gets_the_drawing_made_for_it(browser, pages, width, shown):
    show(browser, pages["full"], width)
    visible = browser.execute_script(
        "return [...document.querySelectorAll('figure svg[role=img]')].filter(e => e.getClientRects().length)"
        ".map(e => e.parentElement.className)"
    )
    assert visible == [shown] * 8
    sizes = browser.execute_script(
        f"return [...document.querySelectorAll('.{shown} svg text')].map(e => parseFloat(getComputedStyle(e).fontSize)"
        " * e.ownerSVGElement.getBoundingClientRect().width / e.ownerSVGElement.viewBox.baseVal.width)"
    )
    assert min(sizes) >= 8.5  # CSS pixels: small print, still legible


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_keeps_its_contrast_in_light_and_dark_also_in_the_figures(browser, pages, scheme):
    show(browser, pages["full"], scheme=scheme)
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (luminance(paper) > 0.5) == (scheme == "light")
    colours = browser.execute_script(
        "return [...new Set([...document.querySelectorAll('p, a, dd, td, th, li, figcaption, h2')]"
        ".map(e => getComputedStyle(e).color).concat([...document.querySelectorAll('figure svg text')]"
        ".map(e => getComputedStyle(e).fill)))]"
    )
    assert len(colours) >= 3
    assert {colour: round(contrast(colour, paper), 1) for colour in colours if contrast(colour, paper) < 4.5} == {}


def test_the_first_key_reaches_the_skip_link_and_every_scrolling_box(browser, pages):
    show(browser, pages["full"], 390)
    from selenium.webdriver.common.keys import Keys

    browser.switch_to.active_element.send_keys(Keys.TAB)
    first = browser.switch_to.active_element
    assert first.get_attribute("href").endswith("#main")
    assert first.rect["x"] >= 0 and first.value_of_css_property("outline-style") == "solid"
    unreachable = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => e.scrollWidth > e.clientWidth + 1"
        " && getComputedStyle(e).overflowX == 'auto' && e.tabIndex < 0).length"
    )
    assert unreachable == 0


def test_paper_is_white_shows_every_figure_and_cuts_no_table(browser, pages):
    show(browser, pages["full"], 690, media="print", scheme="dark")
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    cut = browser.execute_script(
        "return [...document.querySelectorAll('table')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.id)"
    )
    assert cut == []
    assert browser.execute_script("return getComputedStyle(document.querySelector('nav')).display") == "none"


def test_nothing_is_loaded_and_nothing_is_complained_about(browser, pages):
    browser.get_log("browser")
    show(browser, pages["full"])
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []
