"""What is taken from the book: notebooks and records to download, the PDF, and links that need an address."""

import json
import subprocess
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import address
import downloads
import everyone
import pdf
import pytest
from bs4 import BeautifulSoup
from sphinx.errors import ConfigError

from ran.files import ROOT

ADDRESS = "https://github.com/someone/residual-attention"


def settled(url, baseurl=""):
    config = SimpleNamespace(html_theme_options={"repository_url": url, "kept": 1}, html_baseurl=baseurl)
    address.settle(None, config)
    return config


def test_without_the_repositorys_address_nothing_leads_to_it():
    assert vars(settled("")) == {"html_theme_options": {"repository_url": "", "kept": 1}, "html_baseurl": ""}


@pytest.mark.parametrize("url", [ADDRESS, f"{ADDRESS}/", f"{ADDRESS}.git"])
def test_one_setting_gives_buttons_and_the_books_own_address(url):
    config = settled(url)
    options = config.html_theme_options
    assert options["repository_url"] == ADDRESS and options["kept"] == 1
    assert options["use_repository_button"] and options["launch_buttons"]["colab_url"]
    assert config.html_baseurl == "https://someone.github.io/residual-attention/"
    assert settled(url, "https://book.example/").html_baseurl == "https://book.example/"


def test_a_page_of_a_person_has_the_short_address():
    assert settled("https://github.com/Some/some.github.io").html_baseurl == "https://some.github.io/"


@pytest.mark.parametrize("url", ["github.com/someone/x", "https://gitlab.example/a/b", "https://github.com/someone"])
def test_another_address_is_refused_with_the_form_that_is_expected(url):
    with pytest.raises(ConfigError, match="https://github.com/OWNER/REPOSITORY"):
        settled(url)


def test_buttons_lead_to_the_notebooks_that_the_repository_holds():
    button = {"type": "group", "buttons": [{"url": f"{ADDRESS}/blob/main/book/executed/run.ipynb", "label": None}]}
    local = {"type": "link", "url": "../../_sources/book/executed/run.ipynb"}
    context = {"header_buttons": [button, local]}
    address.lead_to_sources(None, "page", "page.html", context, None)
    assert context["header_buttons"][0]["buttons"][0]["url"] == f"{ADDRESS}/blob/main/notebooks/run.ipynb"
    assert context["header_buttons"][1] == local  # the download of the executed notebook


@pytest.fixture
def built(tmp_path):
    """A built book of one page with one download, and the app that says so."""
    (tmp_path / "_sources").mkdir()
    general = {"cell_type": "markdown", "id": "how-to-run", "metadata": {}, "source": ["make lab"]}
    page = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# A page"]}
    drawn = {
        "cell_type": "code",
        "id": "b",
        "metadata": {"papermill": {}, "tags": ["hide-input"]},
        "source": ["plot()"],
    }
    cells = [general, page, drawn | {"execution_count": 1, "outputs": [{"output_type": "display_data", "data": {}}]}]
    (tmp_path / "_sources" / "page.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
    (tmp_path / "_downloads" / "x").mkdir(parents=True)
    (tmp_path / "_downloads" / "x" / "record.json").write_text('{"id": "attention-56-arl"}')
    link = '<a class="reference download internal" download="" href="_downloads/x/record.json">record</a>'
    page = '<html><head><title>A page</title><link rel="canonical" href="https://b.example/page.html"/></head><body>'
    text = f"<article><section><p>{'Words of the page. ' * 20}</p></section></article>"
    (tmp_path / "page.html").write_text(f"{page}{text}{link}</body></html>")
    config = SimpleNamespace(html_theme_options={}, html_baseurl="", html_title="The book", project="", language="en")
    builder = SimpleNamespace(name="html", format="html", get_target_uri=lambda name: f"{name}.html")
    return SimpleNamespace(
        outdir=tmp_path, config=config, builder=builder, env=SimpleNamespace(found_docs={"page", "other"})
    )


def test_a_downloaded_notebook_says_first_how_to_install_what_it_needs(built):
    for repository, said in (("", "copy of the book's repository"), (ADDRESS, f"git clone {ADDRESS}")):
        built.config.html_theme_options = {"repository_url": repository}
        downloads.finish(built, None)
        first, *others = json.loads((built.outdir / "_sources" / "page.ipynb").read_text())["cells"]
        assert said in "".join(first["source"]) and "pip install -e" in "".join(first["source"])
        assert [cell["id"] for cell in others] == ["a", "b"]  # once, however often the book is built
        assert (others[1]["outputs"], others[1]["execution_count"]) == ([], None)
        assert others[1]["metadata"] == {"tags": ["hide-input"]} and others[1]["source"] == ["plot()"]


def test_a_record_is_saved_under_the_name_of_its_run(built):
    downloads.finish(built, None)
    (link,) = BeautifulSoup((built.outdir / "page.html").read_text(), "html.parser").select("a")
    assert link["download"] == "attention-56-arl.json"


def test_a_build_that_failed_is_left_alone(built):
    before = (built.outdir / "page.html").read_bytes()
    downloads.finish(built, ValueError())
    everyone.finish(built, ValueError())
    assert (built.outdir / "page.html").read_bytes() == before and not (built.outdir / "404.html").exists()


@pytest.mark.parametrize("base", ["", "https://b.example/"])
def test_a_preview_has_title_and_words_and_where_the_address_is_known_a_picture(built, base):
    built.config.html_baseurl = base
    everyone.finish(built, None)
    html = BeautifulSoup((built.outdir / "page.html").read_text(), "html.parser")
    said = {meta["property"]: meta["content"] for meta in html.select("meta[property]")}
    assert said["og:title"] == "A page" and said["og:description"].startswith("Words of the page.")
    assert len(said["og:description"]) <= everyone.DESCRIPTION + 2
    expected = ("https://b.example/_static/attention.png", "https://b.example/page.html") if base else (None, None)
    assert (said.get("og:image"), said.get("og:url")) == expected


def test_the_sitemap_names_every_page_and_lost_visitors_are_led_home(built):
    built.config.html_baseurl = "https://b.example/book/"
    everyone.finish(built, None)
    places = ElementTree.parse(built.outdir / "sitemap.xml").iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")
    assert [place.text for place in places] == [f"https://b.example/book/{name}.html" for name in ("other", "page")]
    assert 'href="https://b.example/book/"' in (built.outdir / "404.html").read_text()


def test_the_page_for_paper_leaves_out_plumbing_and_opens_what_is_folded(tmp_path):
    (tmp_path / "book").mkdir()
    cell = '<div class="cell tag_hide-input"><details class="hide"><pre>import this</pre></details><p>figure</p></div>'
    solution = '<details><summary>Solution</summary><p>found</p></details><img src="../_static/a.png"/>'
    page = f'<html><head><title>The book</title></head><body><article class="bd-article">{cell}{solution}'
    (tmp_path / "book" / "intro.html").write_text(f"{page}</article></body></html>")
    pdf.for_paper(tmp_path / "book" / "intro.html", tmp_path / "printed.html")
    html = BeautifulSoup((tmp_path / "printed.html").read_text(), "html.parser")
    assert "import this" not in html.text and "figure" in html.text and html.h1.text == "The book"
    assert html.select_one("details").has_attr("open") and html.img["src"] == "_static/a.png"


def test_a_page_is_printed_with_bookmarks(browser, tmp_path):
    (tmp_path / "printed.html").write_text("<html><title>T</title><h1>First</h1><p>words</p><h2>Second</h2></html>")
    # in a process of its own: one can run a browser in one way only
    paths = [str(tmp_path / name) for name in ("printed.html", "book.pdf")]
    code = "import pathlib, sys, pdf; pdf.print_book(*map(pathlib.Path, sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", code, *paths], cwd=ROOT / "book", check=True)
    content = (tmp_path / "book.pdf").read_bytes()
    assert content.startswith(b"%PDF") and b"/Outlines" in content


def test_without_a_browser_the_pdf_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(pdf, "BROWSERS", ("no-such-browser",))
    assert pdf.main() == 2
    assert capsys.readouterr().err == (
        "make pdf: it needs a browser, one of no-such-browser: install Debian's `chromium`.\n"
    )
