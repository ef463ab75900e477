"""The report in a browser: on paper, on a phone, in the dark, by keyboard, without a network."""

import itertools
import shutil
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from orchestration.report.page import render
from orchestration.report.pdf import write_pdf
from orchestration.settings import REPOSITORY
from orchestration.study import load_study
from tests.unit.report_warehouse import build

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the PATH")
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


def open_panels(browser, most: int = 3) -> None:
    browser.execute_script(f"[...document.querySelectorAll('details')].slice(0, {most}).forEach(e => e.open = true)")


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2) of ``rgb(r, g, b)``."""
    channels = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", [320, 360, 768, 1100])
@pytest.mark.parametrize("study", ["full", "empty"])
def test_the_page_never_scrolls_sideways(browser, pages, study, width):
    show(browser, pages[study], width)
    open_panels(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("width", "shown"), [(390, "narrow"), (1100, "wide")])
def test_each_screen_gets_the_drawing_made_for_it(browser, pages, width, shown):
    show(browser, pages["full"], width)
    visible = browser.execute_script(
        "return [...document.querySelectorAll('figure svg[role=img]')].filter(e => e.getClientRects().length)"
        ".map(e => e.parentElement.className)"
    )
    assert visible == [shown] * 10
    open_panels(browser)
    sizes = browser.execute_script(
        f"return [...document.querySelectorAll('.{shown} svg text, details[open] svg text')].map(e => parseFloat(getComputedStyle(e).fontSize)"
        " * e.ownerSVGElement.getBoundingClientRect().width / e.ownerSVGElement.viewBox.baseVal.width)"
    )
    assert min(sizes) >= 8.5  # CSS pixels: small print, still legible


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_keeps_its_contrast_in_light_and_dark_also_in_the_figures(browser, pages, scheme):
    show(browser, pages["full"], scheme=scheme)
    open_panels(browser)
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (luminance(paper) > 0.5) == (scheme == "light")
    colours = browser.execute_script(
        "return [...new Set([...document.querySelectorAll('p, a, dt, dd, td, th, li, summary, span, figcaption, h2')]"
        ".map(e => getComputedStyle(e).color).concat([...document.querySelectorAll('svg text')]"
        ".map(e => getComputedStyle(e).fill)))]"
    )
    assert len(colours) >= 3
    assert {colour: round(contrast(colour, paper), 1) for colour in colours if contrast(colour, paper) < 4.5} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_and_marks_that_carry_meaning_stand_out_from_the_page(browser, pages, scheme):
    """WCAG 2, 1.4.11: 3 to 1. Fills of bars may be paler: outline, strips and labels say the same in ink."""
    show(browser, pages["full"], scheme=scheme)
    open_panels(browser)
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    strokes = browser.execute_script(
        "return Object.fromEntries(['.sod', '.her2', '.pd', '.nadir', '.ax', '.cut', '.val']"
        ".map(name => [name, document.querySelector('details[open] ' + name)]).filter(([, e]) => e)"
        ".map(([name, e]) => [name, getComputedStyle(e).stroke]))"
    )
    names = ("--blue", "--vermilion", "--ink", "--soft")
    for name in names:
        strokes[name] = browser.execute_script(
            "const e = document.createElement('i'); e.style.color = `var(${arguments[0]})`; document.body.append(e);"
            "const c = getComputedStyle(e).color; e.remove(); return c",
            name,
        )
    assert len(strokes) >= 9
    assert {name: round(contrast(c, paper), 1) for name, c in strokes.items() if contrast(c, paper) < 3} == {}


def test_headings_follow_each_other_without_a_gap_and_every_table_says_what_it_is(browser, pages):
    for address in pages.values():
        show(browser, address)
        levels = browser.execute_script(
            "return [...document.querySelectorAll('h1, h2, h3, h4')].map(e => Number(e.tagName[1]))"
        )
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        nameless = browser.execute_script(
            "return [...document.querySelectorAll('table')].filter(e => !e.caption || !e.caption.textContent.trim())"
            ".length + [...document.querySelectorAll('th')].filter(e => !e.scope).length"
        )
        assert nameless == 0


def test_a_panel_opens_by_keyboard_and_shows_a_drawing_with_a_description(browser, pages):
    show(browser, pages["full"])
    from selenium.webdriver.common.keys import Keys

    summary = browser.find_element("css selector", "details.patient summary")
    assert not browser.find_element("css selector", "details.patient svg").is_displayed()
    summary.send_keys(Keys.ENTER)
    drawing = browser.find_element("css selector", "details.patient svg")
    assert drawing.is_displayed() and drawing.accessible_name.startswith("DE-0000: tumour and serum HER2")
    assert drawing.aria_role in ("img", "image")


def test_hundreds_of_patients_stay_usable(browser, tmp_path):
    """All panels stand closed on the page itself, which stays small enough to mail."""
    study = load_study(REPOSITORY / "study.yaml")
    warehouse = build(tmp_path / "many.duckdb", subjects=500, without=("metrics",))
    page = render(warehouse, tmp_path / "many", study)
    assert page.stat().st_size < 6_000_000
    show(browser, page.as_uri(), 360)
    assert browser.execute_script("return document.querySelectorAll('details.patient').length") == 504
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360


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
    open_panels(browser, 1)
    shown = browser.execute_script(
        "return [...document.querySelectorAll('details')].filter(e => getComputedStyle(e).display != 'none').length"
    )
    assert shown == 1  # what the reader opened is printed, and no row of closed panels


def test_the_pdf_is_printed_beside_the_page_and_nothing_else_is_left(pages):
    page = Path(url2pathname(urlparse(pages["full"]).path))
    before = set(page.parent.iterdir())
    pdf = write_pdf(page)
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    assert content.count(b"/Type /Page\n") >= 8 or content.count(b"/Type/Page/") >= 8
    assert set(page.parent.iterdir()) - before == {page.with_suffix(".pdf")}


def test_nothing_is_loaded_and_nothing_is_complained_about(browser, pages):
    browser.get_log("browser")
    show(browser, pages["full"])
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []
