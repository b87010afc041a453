"""Figures and tables of the built book in a reader's hands (`make book` first): sizes, enlarging, links, captions."""

import base64
import io
import json
import re

import numpy as np
import pytest
from enlarge import HEAVY, smaller
from execute import in_contents
from PIL import Image

from ran.files import ROOT

PHONE = 343  # pixels that a page has for a figure where the screen is 375 wide
LETTERS = 11  # points, the smallest of a figure
SIZES = """(all) => all.map((each) => [
    each.getAttribute("width"), each.getBoundingClientRect().width, each.naturalWidth, devicePixelRatio])"""


def executed(name):
    """The cells of an executed notebook."""
    path = ROOT / "book" / "executed" / f"{name}.ipynb"
    assert path.exists(), "run `make book` first"
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def figures_of(name):
    """(name of the figure, its SVG or its PNG) of an executed notebook."""
    for cell in executed(name):
        figure = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
        for output in cell.get("outputs", []):
            for kind in ("image/svg+xml", "image/png"):
                if kind in output.get("data", {}):
                    yield figure, "".join(output["data"][kind])


def test_enter_enlarges_a_figure_and_escape_puts_it_back(open_page):
    page = open_page("book/executed/12_imagenet")
    link = page.locator("#fig-imagenet a.enlarge")
    assert (ROOT / "_build/html/book/executed" / link.get_attribute("href")).resolve().is_file()  # without the script
    shown = link.locator("img").bounding_box()["width"]
    link.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog.enlarged")
    assert dialog.is_visible() and dialog.locator("img").bounding_box()["width"] > 1.5 * shown
    assert dialog.locator("img").get_attribute("alt") == link.locator("img").get_attribute("alt")
    page.keyboard.press("Escape")
    assert not dialog.is_visible() and link.evaluate("(each) => each === document.activeElement")


def test_a_click_enlarges_a_figure_on_a_wide_screen_as_far_as_it_fits(open_page):
    page = open_page("book/executed/02_soft_mask", viewport={"width": 1280, "height": 800})
    picture = page.locator("#fig-mask-scales img")
    shown = picture.bounding_box()["width"]
    picture.click()
    large = page.locator("dialog.enlarged img").bounding_box()
    assert large["width"] > 1.2 * shown and large["height"] < 800
    page.locator("dialog.enlarged button").click()
    assert not page.locator("dialog.enlarged").is_visible()


@pytest.mark.parametrize("name", ["02_soft_mask", "05_full_network", "explain"])
def test_figures_are_sharp_and_know_their_size(open_page, name):
    page = open_page(f"book/executed/{name}", viewport={"width": 1280, "height": 800})
    pictures = page.locator("article figure img[src$=png]")
    assert pictures.count()
    pictures.evaluate_all("(all) => Promise.all(all.map((each) => each.decode()))")
    for width, shown, pixels, _ in pictures.evaluate_all(SIZES):
        assert abs(float(width) - shown) < 2 and pixels >= 2 * shown - 2
    for each in page.locator("article figure img").all():
        assert each.get_attribute("height") and each.get_attribute("alt")


def test_the_drawing_of_the_network_is_part_of_its_page(open_page):
    for theme in ("light", "dark"):
        page = open_page("book/executed/05_full_network", color_scheme=theme)
        drawing = page.locator("#fig-network svg")
        assert not page.locator("#fig-network img").count()
        assert PHONE - 30 < drawing.bounding_box()["width"] <= PHONE
        ink = drawing.locator("text").first.evaluate("(each) => getComputedStyle(each).fill")
        assert ink == page.locator("article p").first.evaluate("(each) => getComputedStyle(each).color")
    links = drawing.locator("a")
    assert links.count() > 15
    for address in set(links.evaluate_all("(all) => all.map((each) => each.href.baseVal)")):
        name, _, part = address.partition("#")
        html = (ROOT / "_build/html/book/executed" / name).read_text(encoding="utf-8")
        assert not part or f'id="{part}"' in html
    links.last.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/05_full_network.html#the-network-in-a-dozen-lines")


def test_a_caption_stays_while_its_table_scrolls(open_page):
    page = open_page("book/executed/12_imagenet")
    table, caption = page.locator("#tab-imagenet"), page.locator("#tab-imagenet caption")
    row = table.locator("td").first
    before, cell = caption.bounding_box(), row.bounding_box()
    table.evaluate("(each) => { each.closest('.pst-scrollable-table-container').scrollLeft = 150; }")
    after = caption.bounding_box()
    assert row.bounding_box()["x"] < cell["x"] - 50
    assert after["x"] == pytest.approx(before["x"], abs=1) and before["x"] >= 0
    assert after["x"] + after["width"] <= 375


def test_the_table_of_layers_holds_the_printed_numbers_beside_ours(open_page):
    page = open_page("book/executed/12_imagenet")
    rows = [row.locator("td").all_inner_texts() for row in page.locator("#tab-layers tbody tr").all()]
    ends = {row[0]: row[2:] for row in rows[-3:]}
    assert ends == {
        "parameters (M): paper, here": ["31.9, 31.81", "51.3, 52.47"],
        "multiply-adds (G): paper, here": ["6.3, 6.27", "10.4, 10.53"],
        "depth of the trunk": ["56", "92"],
    }
    assert len(rows) == 13


def test_a_picture_is_written_smaller_and_looks_the_same(tmp_path):
    path = tmp_path / "picture.png"
    noise = np.random.default_rng(0).normal(0, 1, (300, 400))  # as little as in a smooth map over a photograph
    ramp = np.add.outer(np.linspace(5, 195, 300), np.linspace(5, 50, 400)) + noise.clip(-4, 4)
    pixels = np.stack([ramp, ramp[::-1], 255 - ramp], axis=-1).astype(np.uint8)
    pixels[:20], pixels[20:40] = 255, 0
    Image.fromarray(pixels).save(path, dpi=(192, 192))
    before = path.stat().st_size
    path.write_bytes(smaller(path.read_bytes()))
    with Image.open(path) as image:
        found, density = np.asarray(image), image.info["dpi"][0]
    assert path.stat().st_size < 0.7 * before and round(density) == 192
    assert found.shape == pixels.shape and np.abs(found.astype(int) - pixels).max() <= 2
    assert (found[:20] == 255).all() and (found[20:40] == 0).all()


@pytest.mark.parametrize("name", [path.stem for path in in_contents()])
def test_letters_of_every_figure_can_be_read_on_a_phone(name):
    """A figure is shown as wide as the phone's page, so the narrower it is drawn, the larger its letters are."""
    for figure, content in figures_of(name):
        if figure == "fig-network":
            continue  # drawn in pixels, and tested where it is drawn
        if "<svg" in content:
            points = float(re.search(r'<svg[^>]* width="([\d.]+)pt"', content)[1])
        else:
            with Image.open(io.BytesIO(base64.b64decode(content))) as image:
                points = image.width / image.info["dpi"][0] * 72
        assert LETTERS * min(1, PHONE / points) >= 8, figure
    source = "\n".join("".join(cell["source"]) for cell in executed(name) if cell["cell_type"] == "code")
    assert not [size for size in re.findall(r'font_?size"?[=:] ?([\d.]+)', source) if float(size) < LETTERS]


def test_a_heavy_photograph_keeps_the_colours_that_cover_it():
    photograph = Image.open(ROOT / "book" / "_static" / "cat.jpg").resize((1200, 800))
    content = io.BytesIO()
    photograph.save(content, "PNG", dpi=(192, 192))
    lighter = smaller(content.getvalue())
    assert len(lighter) < 0.5 * len(content.getvalue()) and len(content.getvalue()) > HEAVY
    with Image.open(io.BytesIO(lighter)) as image:
        assert image.size == photograph.size and round(image.info["dpi"][0]) == 192
        difference = np.asarray(image.convert("RGB"), int) - np.asarray(photograph, int)
    assert abs(difference).mean() < 3 and abs(difference).max() < 40
