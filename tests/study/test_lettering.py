"""Names of classes in plots: every letter is drawn, or shown by its number, and none begins a formula."""

import io
import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
from matplotlib import rcParams
from PIL import Image

from ran.inference import DEFAULT, explain, load
from ran.study import figures, save_explanation
from ran.study.lettering import lettered

NAMES = ["plain", "$a_b$ 5$", "大きい犬", "개", "собака", "κύων", "كلب", "\U0001f415 dog", "\U000e0041"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_drawn_without_boxes(name):
    figures.set_theme()
    figure, axes = plt.subplots()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that is missing is a warning
        axes.set_title(lettered(name))
        figure.savefig(io.BytesIO())
    plt.close(figure)


def test_letters_that_no_font_has_are_shown_by_their_number(monkeypatch):
    monkeypatch.setitem(rcParams, "font.family", ["DejaVu Sans"])
    assert lettered("dog 大") == r"dog \u5927" and lettered("dog") == "dog"


def test_a_dollar_sign_begins_no_formula():
    assert lettered("$a_b$ 5$") == r"\$a_b\$ 5\$"


def test_names_of_files_and_classes_are_no_formulas_in_an_explanation(tmp_path):
    trained = load(DEFAULT)
    found = explain(trained, Image.new("RGB", (40, 40)))
    odd = replace(found, likeliest=[(r"$\frac$", share) for _, share in found.likeliest])
    assert save_explanation(odd, tmp_path / "odd.png", r"$\frac$.png").stat().st_size
