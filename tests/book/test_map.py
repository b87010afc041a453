"""The map from the paper to the book is whole, and the links of every row lead somewhere (`make book` first)."""

from functools import cache

import pytest
from bs4 import BeautifulSoup, SoupStrainer

from ran.files import ROOT

PAGE = ROOT / "_build" / "html" / "book" / "map.html"
# the paper's own numbers; it is at https://arxiv.org/abs/1704.06904
PAPER = {
    "sections": ["1", "2", "3", "3.1", "3.2", "3.3", "4", "4.1", "4.2", "5"],
    "equations": ["(1)", "(2)", "(3)", "(4)", "(5)", "(6)"],
    "figures": ["1", "2", "3", "4", "training"],
    "tables": ["1", "2", "3", "4", "5", "6", "7"],
}


@cache
def anchors(path):
    """The ids of a page, to which links lead."""
    html = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser", parse_only=SoupStrainer(id=True))
    return {element["id"] for element in html.find_all(id=True)}


def rows(html, part):
    """First word of every row of a part of the map, and the texts and addresses of its links."""
    found = html.select(f"section#{part} tbody tr")
    cells = [row.select("td") for row in found]
    return [(first.get_text().split()[0], second.select("a[href]")) for first, second, *_ in cells]


def gaps(html):
    """What the map lacks: parts of the paper without a row, and rows that lead nowhere."""
    found = []
    for part, numbers in PAPER.items():
        listed = rows(html, part)
        found += [f"{part}: {number} is missing" for number in numbers if number not in dict(listed)]
        for number, links in listed:
            if not links:
                found.append(f"{part}: {number} leads nowhere")
            for link in links:
                address, _, anchor = link["href"].partition("#")
                page = (PAGE.parent / address).resolve() if address else PAGE
                if not page.exists() or (anchor and anchor not in anchors(page)):
                    found.append(f"{part}: {number} leads to {link['href']}, which does not exist")
    return found


@pytest.fixture
def html():
    assert PAGE.exists(), "run `make book` first"
    return BeautifulSoup(PAGE.read_text(encoding="utf-8"), "html.parser")


def test_every_part_of_the_paper_has_its_place(html):
    assert gaps(html) == []


def test_a_gap_in_the_map_is_found(html):
    html.select_one("section#tables tbody tr").decompose()
    html.select_one("section#equations tbody a")["href"] = "executed/03_attention_module.html#equation-none"
    for link in html.select("section#figures tbody tr:last-child a"):
        link.unwrap()
    assert gaps(html) == [
        "equations: (1) leads to executed/03_attention_module.html#equation-none, which does not exist",
        "figures: training leads nowhere",
        "tables: 1 is missing",
    ]
