"""The stack of modules in chapter 3: what it shows is what the notebook measured, and follows the formula."""

import json
import re

import numpy as np
import pytest
from bs4 import BeautifulSoup

from ran.files import ROOT

PAGE = "book/executed/03_attention_module"
PATH, RESPONSE, COSINE = "scale of the input's path", "mean absolute response", "cosine with the input"
POWERS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


@pytest.fixture(scope="module")
def measured():
    """The outputs of the executed notebook: numbers by quantity, learning and level, and the tables of fresh masks."""
    numbers, tables = None, []
    for cell in json.loads((ROOT / f"{PAGE}.ipynb").read_text(encoding="utf-8"))["cells"]:
        if "hide-cell" in cell["metadata"].get("tags", []):
            continue  # the solution of an exercise, which has a table of its own
        for output in cell.get("outputs", []):
            html = BeautifulSoup("".join(output.get("data", {}).get("text/html", "")), "html.parser")
            found = html.find(id="stack-numbers")
            numbers = json.loads(found.string) if found else numbers
            tables += [] if found else html.select("table")
    assert numbers is not None, "run `make book` first"
    return numbers, tables


def number(text):
    """A number as the page writes it: 25.6, −0.0359, 2.6·10⁻⁶, 10⁻⁸."""
    if "10" in text and re.search("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]", text):
        digits, power = text.split("10", 1) if "·" in text else ("1·", text.removeprefix("10"))
        return float(digits.rstrip("·").replace("−", "-")) * 10.0 ** int(power.translate(POWERS))
    return float(text.replace("−", "-"))


def rows(page):
    return {
        row.locator("th").inner_text(): [number(cell) for cell in row.locator("td").all_inner_texts()]
        for row in page.locator("#stack tbody tr").all()
    }


def test_the_path_is_the_product_of_the_masks(measured):
    numbers, _ = measured
    assert list(numbers) == [PATH, RESPONSE, COSINE]
    modules = np.arange(1, 9)
    for learning, one in (("NAL", 0), ("ARL", 1)):
        assert len(numbers[PATH][learning]) == 11
        for level, values in numbers[PATH][learning].items():
            np.testing.assert_allclose(values, (one + float(level)) ** modules, rtol=1e-4)


def test_an_open_naive_mask_is_a_closed_residual_one(measured):
    numbers, _ = measured
    for quantity in numbers.values():
        np.testing.assert_allclose(quantity["NAL"]["1.0"], quantity["ARL"]["0.0"], rtol=1e-4)


def test_one_half_everywhere_is_near_what_fresh_masks_do(measured):
    """A fresh mask is one half on average: the chapter's table of both rules after eight modules."""
    numbers, tables = measured
    (last,) = [table for table in tables if "learning" in table.get_text() and "ARL" in table.get_text()]
    headings = [cell.get_text() for cell in last.select("thead tr")[0].select("th")][1:]
    for line in last.select("tbody tr"):
        learning = line.select_one("th").get_text()
        shown = dict(zip(headings, (float(cell.get_text()) for cell in line.select("td")), strict=True))
        for quantity, near in ((PATH, 0.15), (RESPONSE, 0.15)):
            assert numbers[quantity][learning]["0.5"][-1] == pytest.approx(shown[quantity], rel=near)
        assert numbers[COSINE][learning]["0.5"][-1] == pytest.approx(shown[COSINE], abs=0.1)


def test_the_page_shows_the_measured_numbers_and_follows_the_keyboard(open_page, measured):
    numbers, _ = measured
    page = open_page(PAGE)
    modules, level = (page.get_by_role("slider", name=name) for name in ("Modules", "Level of the mask"))

    def check(count, at):
        assert f"after {count} module" in page.locator("#stack thead").inner_text()
        found = rows(page)
        for quantity, of in numbers.items():
            expected = [of[learning][at][count - 1] for learning in ("NAL", "ARL")]
            assert found[quantity] == pytest.approx(expected, rel=0.05, abs=1e-12)  # two digits below a thousandth
        return [each.get_attribute("aria-label") for each in page.locator("#stack figure svg").all()]

    first = check(8, "0.5")
    level.focus()
    page.keyboard.press("ArrowLeft")
    assert check(8, "0.4") != first
    page.keyboard.press("Home")
    check(8, "0.0")
    page.keyboard.press("ArrowRight")
    check(8, "0.1")
    page.keyboard.press("End")
    modules.focus()
    page.keyboard.press("Home")
    check(1, "1.0")
    assert page.locator("#stack circle").count() == 6 and not page.locator("#stack img").count()


def test_without_scripts_there_is_a_still_picture(open_page):
    page = open_page(PAGE, java_script_enabled=False)
    still = page.locator("#stack img")
    still.scroll_into_view_if_needed()
    assert still.is_visible() and still.evaluate("(image) => image.naturalWidth") > 300


@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_is_wider_than_the_page(open_page, width):
    page = open_page(PAGE, viewport={"width": width, "height": 800})
    frame = page.locator("#stack").bounding_box()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for each in page.locator("#stack :is(input, figure, table)").all():
        box = each.bounding_box()
        assert box["x"] >= frame["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"]
