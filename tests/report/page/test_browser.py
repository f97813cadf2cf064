"""The page in a real browser: Debian's chromium, headless, under Playwright."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import figure_store, page_store
from rope_eval.report.page.build import page_of
from rope_eval.report.page.findings import find
from rope_eval.report.page.html import html_of
from rope_eval.report.page.model import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
pytest.importorskip("plotly", reason="the extra report is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
if CHROMIUM is None:
    pytest.skip("there is no chromium: make browser", allow_module_level=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM)
        yield found
        found.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    store = page_store.full(tmp_path_factory.mktemp("store"))
    for theta in (500.0, 1e6):
        figure_store.put_books(store, model="drawn", rope_theta=theta)
        figure_store.put_attention(store, model="drawn", rope_theta=theta)
    return page_of(find(store))


@pytest.fixture
def opened(browser: Any, page: Page, tmp_path: Path) -> Iterator[Any]:
    """The page in a browser; whatever it complains of or asks the network for fails the test."""
    file = tmp_path / "page.html"
    file.write_text(html_of(page), encoding="utf-8")
    context = browser.new_context(color_scheme="light", viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    wrong: list[str] = []
    tab.on("console", lambda said: said.type in ("error", "warning") and wrong.append(said.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    local = ("file:", "blob:", "data:")
    tab.on("request", lambda asked: asked.url.startswith(local) or wrong.append(asked.url))
    tab.goto(file.as_uri())
    tab.wait_for_selector("html[data-ready]", timeout=30_000)
    yield tab
    assert wrong == []
    assert tab.title() != "hit"
    context.close()


def numbers(tab: Any, table: str, column: int) -> list[float | None]:
    """Return the numbers of a column, of the table below the heading with this id."""
    found = tab.locator(f"[aria-labelledby={table}] tbody tr > :nth-child({column})")
    given = [cell.get_attribute("data-number") for cell in found.all()]
    return [None if number is None else float(number) for number in given]


def test_what_others_wrote_stays_text(opened: Any, page: Page) -> None:
    assert page_store.NASTY in opened.locator("main").inner_text()
    assert opened.locator("main script, main img").count() == 0


def test_a_table_sorts_by_numbers_and_blanks_stay_last(opened: Any) -> None:
    titles = opened.locator("h3:text-matches('^perplexity of builtin .2')")
    name = titles.last.get_attribute("id")
    header = opened.locator(f"[aria-labelledby={name}] th button").nth(2)
    assert numbers(opened, name, 3) == pytest.approx([None, math.exp(700), 3.0])
    header.click()
    assert numbers(opened, name, 3) == pytest.approx([3.0, math.exp(700), None])
    header.click()
    assert numbers(opened, name, 3) == pytest.approx([math.exp(700), 3.0, None])
    sorting = opened.locator(f"[aria-labelledby={name}] th[aria-sort]")
    assert sorting.count() == 1 and sorting.get_attribute("aria-sort") == "descending"


def test_csv_is_one_click_away(opened: Any, page: Page) -> None:
    with opened.expect_download() as download:
        opened.click("text='all numbers, CSV'")
    assert download.value.suggested_filename == "numbers.csv"
    assert download.value.path().read_text("utf-8-sig") == page.downloads["numbers"]
    for name in ("failures", "scores-1", "runs", "provenance"):  # it gives no more than ten
        button = opened.locator(f"main button[data-csv={name}]")
        with opened.expect_download() as download:
            button.click()
        assert download.value.suggested_filename == f"{name}.csv"
        assert len(download.value.path().read_text("utf-8-sig").splitlines()) > 1


def test_the_keyboard_reaches_everything(opened: Any) -> None:
    wanted = opened.evaluate(
        "document.querySelectorAll('a, button, summary, input, [tabindex=\"0\"]').length"
    )
    reached: list[int] = []
    for _ in range(wanted):
        opened.keyboard.press("Tab")
        reached.append(
            opened.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)")
        )
    assert len(set(reached)) == wanted
    opened.locator("th button").first.focus()
    opened.keyboard.press("Enter")
    assert opened.locator("th[aria-sort=ascending]").count() == 1
    note = opened.locator("details.notes summary").first
    note.focus()
    opened.keyboard.press("Enter")
    assert opened.locator("details.notes[open]").count() == 1


def test_both_themes_can_be_read(opened: Any) -> None:
    def contrast() -> float:
        shades = opened.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).background]"
        )
        text, back = (luminance(shade) for shade in shades)
        return (max(text, back) + 0.05) / (min(text, back) + 0.05)

    seen = {}
    for scheme in ("light", "dark"):
        opened.emulate_media(color_scheme=scheme)
        seen[scheme] = contrast()
    assert min(seen.values()) > 7  # WCAG's AAA
    opened.emulate_media(color_scheme="light")
    back = "getComputedStyle(document.body).backgroundColor"
    light = opened.evaluate(back)
    opened.click("#theme")
    assert opened.inner_text("#theme") == "theme: light" and opened.evaluate(back) == light
    opened.click("#theme")
    assert opened.inner_text("#theme") == "theme: dark" and opened.evaluate(back) != light


def luminance(shade: str) -> float:
    """Return the relative luminance of ``rgb(r, g, b)…``, as WCAG 2 defines it."""
    parts = shade.partition("(")[2].partition(")")[0].split(",")
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (int(part) / 255 for part in parts[:3])
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_phone_scrolls_tables_and_not_the_page(opened: Any) -> None:
    opened.set_viewport_size({"width": 390, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    wide = (
        "[...document.querySelectorAll('.wide')].some((one) => one.scrollWidth > one.clientWidth)"
    )
    assert opened.evaluate(wide)


def test_print_shows_all_and_no_buttons(opened: Any, tmp_path: Path) -> None:
    opened.emulate_media(media="print", color_scheme="dark")
    assert opened.locator("button.csv:visible, #theme:visible").count() == 0
    assert (
        opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    )
    opened.set_viewport_size({"width": 718, "height": 1000})  # A4 between its margins
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator("details:not([open])").count() == 0
    assert opened.evaluate("document.documentElement.scrollWidth") <= 718
    paper = "document.querySelector('.plot')._fullLayout.paper_bgcolor"
    assert opened.evaluate(paper) == "#ffffff"
    opened.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.locator("details.notes[open]").count() == 0


def lines_drawn(tab: Any, name: str) -> int:
    """Return how many lines and bands a figure shows, drawn when it is in sight."""
    opened = tab.locator(f"[data-figure={name}]")
    opened.scroll_into_view_if_needed()
    opened.locator(".main-svg").first.wait_for(state="attached")
    return int(tab.locator(f"[data-figure={name}] .scatterlayer .trace").count())


def test_the_legend_hides_a_curve_and_shows_it_again(opened: Any) -> None:
    name = "figure-curves-local-loss"
    assert lines_drawn(opened, name) == 4  # two lines and their bands
    box = opened.locator(f"figure:has([data-figure={name}]) .legend input").first
    box.focus()
    opened.keyboard.press("Space")
    assert not box.is_checked() and lines_drawn(opened, name) == 2
    opened.click("#theme")
    assert lines_drawn(opened, name) == 2  # a theme brings nothing back
    box.check()
    assert lines_drawn(opened, name) == 4
    every = opened.locator(f"figure:has([data-figure={name}]) .legend button")
    every.click()
    assert lines_drawn(opened, name) == 0
    every.click()
    assert lines_drawn(opened, name) == 4


def test_a_menu_chooses_the_panel(opened: Any) -> None:
    title = "document.querySelector('[data-figure=figure-attention]').data[1].hovertext[0]"
    menu = opened.locator("[data-panels=figure-attention]")
    lines_drawn(opened, "figure-attention")
    before = opened.evaluate(title)
    menu.select_option(index=1)
    assert menu.locator("option").all_inner_texts() == [
        "drawn, rope_theta=500",
        "drawn, rope_theta=1000000",
    ]
    assert opened.evaluate(title) == before  # two profiles that are alike
    assert lines_drawn(opened, "figure-attention") == 4


def test_figures_follow_the_theme_and_offer_no_upload(opened: Any) -> None:
    paper = "document.querySelector('.plot')._fullLayout.paper_bgcolor"
    lines_drawn(opened, "figure-curves-perplexity")
    light = opened.evaluate(paper)
    opened.emulate_media(color_scheme="dark")
    assert any(opened.wait_for_timeout(100) or opened.evaluate(paper) != light for _ in range(50))
    titles = opened.locator(".modebar-btn").evaluate_all("them => them.map(t => t.dataset.title)")
    assert titles and not [t for t in titles if "cloud" in t.lower() or "share" in t.lower()]


def test_the_page_is_drawn_in_print(opened: Any, tmp_path: Path) -> None:
    opened.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").stat().st_size > 50_000
