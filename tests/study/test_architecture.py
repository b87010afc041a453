"""The drawing of a whole network and the table of its layers hold the network's own numbers."""

import re
from xml.etree import ElementTree

import pytest
import torch

from ran.files import ROOT
from ran.model import PRESETS, build, cost
from ran.study import layers, network_drawing
from ran.study.svg import WIDE

SVG = "{http://www.w3.org/2000/svg}"


def outline(name, **options):
    with torch.device("meta"):
        return build(name, **options)


def drawn(network, **options):
    return ElementTree.fromstring(network_drawing(network, **options))


def words(root):
    return [text.text for text in root.iter(f"{SVG}text")]


DEEPER = {"attention-128", "attention-164", "attention-236", "resnet-1001"}  # of the kinds of others


@pytest.mark.parametrize("name", sorted({*PRESETS} - DEEPER))
def test_every_network_is_drawn_with_what_it_costs(name):
    network = outline(name)
    texts, counted = words(drawn(network)), cost(network)
    total = counted[["parameters", "multiply_adds"]].sum()
    for number, unit in ((total.parameters, "parameters"), (total.multiply_adds, "multiply-adds")):
        shown = re.search(rf"([\d.]+)([GMk]?) {unit}", texts[-1])
        value = float(shown[1]) * {"G": 1e9, "M": 1e6, "k": 1e3, "": 1}[shown[2]]
        assert value == pytest.approx(number, rel=0.005)
    shapes = {f"{row.channels} × {row.height} × {row.height}" for row in counted[:-1].itertuples()}
    assert shapes <= set(texts)
    assert sum("attention module" in text for text in texts) == sum(bool(s.modules) for s in network.config.stages)


def test_modules_and_units_in_a_row_are_drawn_once():
    texts = words(drawn(outline("attention-92-imagenet")))
    heads = [text for text in texts if "attention module" in text]
    assert heads == ["attention module", "2 attention modules, each", "3 attention modules, each"]
    assert "2 residual units, each" in texts


def test_options_show():
    texts = words(drawn(outline("attention-56", attention="nal", gate="spatial", mask="local-convolutions", p=2, t=3)))
    assert {"M · T", "gate f3, spatial", "local\u2011convolutions", "2 residual units", "3 residual units"} <= set(
        texts
    )
    assert "(1 + M) · T" in words(drawn(outline("attention-56", p=0)))


def test_the_size_of_the_image_counts():
    root = drawn(outline("attention-56"), size=37)
    assert {"image: 3 × 37 × 37", "64 × 37 × 37", "128 × 19 × 19", "37×37 → 5×5 → 37×37"} <= set(words(root))


def test_it_can_be_read_without_eyes_and_leads_on():
    root = drawn(outline("attention-56"))
    assert root.get("role") == "group"  # not one image: its links can be reached
    named = [root.find(f"{SVG}{tag}") for tag in ("title", "desc")]
    assert [each.get("id") for each in named] == [root.get("aria-labelledby"), root.get("aria-describedby")]
    assert named[0].text == "Attention\u201156" and "stage 2: 128 channels, 2 residual units" in named[1].text
    links = list(root.iter(f"{SVG}a"))
    assert all("".join(link.itertext()).strip() for link in links) and len(links) > 15
    for page, _, part in (link.get("href").partition("#") for link in links):
        notebook = ROOT / "notebooks" / page.replace(".html", ".ipynb")
        text = notebook.read_text(encoding="utf-8").lower()
        assert not part or f"## {part.replace('-', ' ')}" in text


def test_letters_are_legible_on_a_phone_and_in_both_themes():
    text = network_drawing(outline("attention-56"))
    assert min(map(float, re.findall(r"font-size:([\d.]+)px", text))) * 343 / WIDE >= 8
    assert "var(--pst-color-text-base" in text and 'fill="#' in text and 'fill-opacity="' in text
    for box in ElementTree.fromstring(text).iter(f"{SVG}rect"):
        assert float(box.get("fill-opacity")) <= 0.25  # the page's own colour shows through, and letters on it


def test_the_table_of_layers_is_that_of_the_paper():
    table = layers(outline("attention-56-imagenet"), outline("attention-92-imagenet"))
    assert list(table.columns) == [
        "Layer",
        "Output",
        "Attention\u201156\u2011imagenet",
        "Attention\u201192\u2011imagenet",
    ]
    modules = table[table.Layer == "attention module"]
    assert modules.Output.tolist() == ["56×56", "28×28", "14×14"]
    assert [text[0] for text in modules.iloc[:, 2]] == ["1", "1", "1"]
    assert [text[0] for text in modules.iloc[:, 3]] == ["1", "2", "3"]
    assert table.iloc[1].tolist()[2] == "1×1, 64; 3×3, 64; 1×1, 256"
    assert table.iloc[-2].tolist()[:3] == ["residual units", "7×7", "2 × (1×1, 512; 3×3, 512; 1×1, 2048)"]
    with pytest.raises(ValueError, match="expected networks with one stem and as many stages, got attention-56, att"):
        layers(outline("attention-56"), outline("attention-56-imagenet"))
