"""Text from a record or from file names is shown on pages as it is: it brings no markup, link or file with it."""

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from recorded import a_record
from sphinx.cmd.build import build_main

from ran.runs import RunConfig
from ran.study import list_table, provenance, summary
from ran.study.labels import escaped

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "{download}`x <secret.txt>`",
    "![a](secret.txt)",
    "[a](javascript:alert(1))",
    "https://elsewhere.example",
    "<https://elsewhere.example>",
    "x\n```{include} secret.txt\n```",
    "x\n\n# a heading",
    "- a list",
    "1. a list",
    "$x^2$ and $$y$$",
    "*a* **b** _c_ `d` ~~e~~",
    "&lt;b&gt; &#60;",
    "{{ name }} %comment",
    "[^1] [x][y] | a | b |",
    "\\<b\\>\\",
    ":::{note}\na\n:::",
    "(target)=",
]


def body(tmp_path, text):
    """The main part of a page with `text`, as Sphinx builds it."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "secret.txt").write_text("secret")
    (source / "conf.py").write_text(
        "extensions = ['myst_parser']\nhtml_theme = 'basic'\n"
        "myst_enable_extensions = ['amsmath', 'colon_fence', 'deflist', 'dollarmath', 'linkify', 'substitution']\n"
    )
    (source / "index.md").write_text(f"# Title\n\n{text}\n", encoding="utf-8")
    assert build_main(["-q", "-b", "html", str(source), str(tmp_path / "html")]) == 0
    assert not list((tmp_path / "html").rglob("*secret*"))
    return BeautifulSoup((tmp_path / "html" / "index.html").read_text(), "html.parser").find("div", class_="body")


def test_hostile_text_is_text(tmp_path):
    frame = pd.DataFrame({"where": HOSTILE, "<b>head</b>": range(len(HOSTILE))})
    lines = "\n".join(f"- {escaped(text)}" for text in HOSTILE)
    page = body(tmp_path, list_table(frame, "tab", "A caption.") + "\n\n" + lines)
    shown = [row.find("td").get_text() for row in page.find("tbody").find_all("tr")]
    wanted = [" ".join(text.split()) for text in HOSTILE]
    assert shown == wanted
    assert [item.get_text() for item in page.find("ul").find_all("li")] == wanted
    assert page.find("thead").find_all("th")[1].get_text() == "<b>head</b>"
    assert not page.find_all(["script", "img", "em", "strong", "code", "h2", "ol", "del"])
    assert {link["href"] for link in page.find_all("a")} <= {"#title", "#tab"}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_records_texts_are_escaped_wherever_they_stand(tmp_path, text):
    config = RunConfig(dataset="cifar10", schedule="short", epochs=2)
    record = a_record(config)
    hostile = record | {
        "hardware": {"device": "cpu", "name": text},
        "precision": text,
        "date": text,
        "versions": {text: text},
        "git": {"commit": text, "changed": True},
        "dataset": record["dataset"] | {"name": text, "skipped": [text]},
        "schedule": record["schedule"] | {"name": text},
        "folder": tmp_path / config.id,
    }
    raw = " ".join(text.split())
    told = list_table(summary(hostile), "tab", "A caption.") + provenance("arl_vs_nal", [hostile], tmp_path)
    assert escaped(text) in told
    assert raw not in told.replace(escaped(text), "")
