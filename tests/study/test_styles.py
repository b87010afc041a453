"""One look for one method in all figures, letters for a phone, and the format that shows a figure sharply."""

import io
import itertools
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from ran.files import ROOT
from ran.study import figures
from ran.study.styles import METHODS, SMALLEST, WIDTH, as_png, as_svg, is_drawing, line, lines, style

PHONE = 343  # pixels that a page has for a figure where the screen is 375 wide


@pytest.fixture(autouse=True)
def themed():
    figures.set_theme()
    yield
    plt.close("all")


def test_no_two_methods_look_alike():
    """But for a network called after its attention modules, which has ARL."""
    assert METHODS["Attention"] == METHODS["ARL"]
    each = {name: look for name, look in METHODS.items() if name != "Attention"}
    for (one, first), (other, second) in itertools.combinations(each.items(), 2):
        assert first.marker != second.marker, (one, other)
        assert np.linalg.norm(np.subtract(to_rgb(first.colour), to_rgb(second.colour))) > 0.15, (one, other)


def test_a_method_is_known_by_how_its_name_begins():
    assert style("Attention\u201192") == style("Attention-452") == METHODS["ARL"]
    assert style("AttentionNeXt-56") == METHODS["AttentionNeXt"] and style("f2, channel") == METHODS["f2"]
    with pytest.raises(KeyError, match="'DenseNet' has no style: expected a name that begins with one of ARL, NAL"):
        style("DenseNet")


def test_a_recorded_number_is_a_ring():
    figure, axes = plt.subplots()
    axes.plot(1, 1, **line("NAL"))
    axes.plot(1, 1, **line("NAL", recorded=True))
    paper, here = axes.get_lines()
    assert to_hex(paper.get_markerfacecolor()) == to_hex(here.get_markeredgecolor()) == METHODS["NAL"].colour
    assert here.get_markerfacecolor() == "none"


@pytest.mark.parametrize("ways", [("ARL", "NAL"), ("NAL", "ARL"), ("NAL",)])
def test_the_order_of_lines_changes_no_colour(ways):
    table = pd.DataFrame({"block": ["stem", "stage1_unit"], "response": [1.0, 2.0]})
    (axes,) = figures.mean_absolute_response(dict.fromkeys(ways, table)).axes
    drawn = {each.get_label(): (each.get_color(), each.get_marker()) for each in axes.get_lines()}
    assert {way: drawn[way] for way in ways} == {way: METHODS[way][:2] for way in ways}
    options = lines(ways)
    assert options["palette"] == {way: METHODS[way].colour for way in ways}
    assert options["markers"] == {way: METHODS[way].marker for way in ways}


def test_the_stack_of_modules_has_the_same_colours():
    css = (ROOT / "book" / "_static" / "widgets.css").read_text(encoding="utf-8")
    found = dict(re.findall(r"--(arl|nal): (#\w+);", re.search(r"^\.stack \{[^}]*\}", css, re.M)[0]))
    assert found == {"arl": METHODS["ARL"].colour, "nal": METHODS["NAL"].colour}


def test_the_smallest_letters_can_be_read_on_a_phone():
    figure, axes = plt.subplots(figsize=(WIDTH, 3))
    axes.set(title="title", xlabel="x", ylabel="y")
    axes.plot([1, 2], label="one")
    texts = [axes.title, axes.xaxis.label, *axes.get_xticklabels(), *axes.legend().get_texts()]
    assert min(text.get_fontsize() for text in texts) == SMALLEST
    assert SMALLEST * PHONE / (72 * WIDTH) >= 8


def test_lines_are_an_svg_and_pictures_are_dense_pixels():
    drawing, axes = plt.subplots()
    axes.plot([1, 2])
    picture, axes = plt.subplots(figsize=(2, 2))
    axes.imshow(np.zeros((4, 4)))
    cells, axes = plt.subplots()
    axes.pcolormesh(np.zeros((100, 100)))
    assert [is_drawing(each) for each in (drawing, picture, cells)] == [True, False, False]
    assert as_svg(drawing) == as_svg(drawing) and "<svg" in as_svg(drawing)
    with Image.open(io.BytesIO(as_png(picture))) as image:
        assert round(image.info["dpi"][0]) == 192 and abs(image.width - 2 * 192) < 40


METHODS_AS = r'hue="(?:Learning|learning|Attention|Mask|Network)"|"hue": "(?:Learning|learning|Attention|Mask|Network)"'


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_chapter_chooses_the_colour_of_a_method(path):
    """Nor takes the next one of the palette, which depends on the order of the rows."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        code = "".join(cell["source"]) if cell["cell_type"] == "code" else ""
        assert not re.findall(r"""["']C\d["']|f["']C\{|palette="|colorblind""", code)
        if re.search(METHODS_AS, code):
            assert re.search(r"figures\.(lines|colours)\(", code), code
