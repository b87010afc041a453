"""The network in the browser: the same answers as PyTorch's, and the page that shows them (`make book` first)."""

import base64
import io
from dataclasses import replace

import explorer
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from ran.data import read_picture
from ran.files import ROOT
from ran.inference import DEFAULT, Trained, load, predict
from ran.model import build

HTML = ROOT / "_build" / "html"
STATIC = ROOT / "book" / "_static"
TOLERANCE = 1e-3  # of the largest value; 16 bits take about 1e-4
UNTRAINED = 1e-2  # random weights magnify what 16 bits take; a wrong layer is off by far more
BRANCHES = ("trunk", "mask", "attended")
FORWARD = """([pixels, side, wanted]) => {
    globalThis.network ??= new AttentionNetwork(RAN);
    const { logits, modules } = network.forward(pixels, side);
    const text = (values) => {
        const bytes = new Uint8Array(values.buffer), letters = [];
        for (let at = 0; at < bytes.length; at += 8192) {
            letters.push(String.fromCharCode(...bytes.subarray(at, at + 8192)));
        }
        return btoa(letters.join(""));
    };
    const branches = modules.flatMap((module) =>
        wanted.map((branch) => [`${module.name}.${branch}`, text(module[branch].values)]));
    return Object.fromEntries([["logits", text(logits)], ...branches]);
}"""
DROP = """([name, content]) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name));
    document.getElementById("explorer").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
}"""


@pytest.fixture(scope="module")
def trained():
    return load(DEFAULT)


def in_browser(page, pixels, branches=BRANCHES):
    """What the page's network gives for an RGB image (S, S, 3) uint8, by name."""
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    found = page.evaluate(FORWARD, [opaque.flatten().tolist(), len(pixels), branches])
    return {
        name: torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float32) for name, text in found.items()
    }


@torch.inference_mode()
def in_pytorch(trained, pixels, branches=BRANCHES):
    trace = {}
    logits = trained.network(trained.normalise(torch.tensor(pixels)[None]), trace)
    found = {name: value for name, value in trace.items() if name.rpartition(".")[2] in branches}
    return {name: value.flatten() for name, value in ({"logits": logits} | found).items()}


def assert_equal(found, expected, tolerance=TOLERANCE):
    assert list(found) == list(expected)
    for name, values in expected.items():
        far = (found[name] - values).abs().max() / values.abs().max()
        assert far < tolerance, f"{name}: {far:.1e}"
    assert found["logits"].argmax() == expected["logits"].argmax()


def started(page):
    """The page once the network is loaded and has looked at the first picture."""
    page.get_by_role("button", name="Load the network").click()
    answered(page, "truck")
    return page


def answered(page, what):
    page.get_by_role("status").filter(has_text="done on this page").filter(has_text=what).wait_for()


def answers(page):
    lines = page.get_by_role("listitem").filter(has=page.locator("i[aria-hidden]")).all()
    return [(line.locator("span").nth(0).inner_text(), line.locator("span").nth(1).inner_text()) for line in lines]


def seen(page, part):
    return page.locator(f"canvas[data-part={part}]").evaluate("(canvas) => canvas.toDataURL()")


@pytest.fixture(scope="module")
def ready(browser):
    """One page with its network, for tests that leave it as usable as they found it."""
    page = browser.new_page(viewport={"width": 375, "height": 800})
    page.goto((HTML / "book" / "explorer.html").as_uri())
    return started(page)


def test_the_page_computes_what_pytorch_does(ready, trained):
    page = ready
    strip = np.asarray(Image.open(explorer.SAMPLES).convert("RGB"))
    assert strip.shape == (32, 16 * 32, 3)
    for number, pixels in enumerate(np.split(strip, 16, axis=1)):
        branches = BRANCHES if number == 0 else ("mask",)
        assert_equal(in_browser(page, pixels, branches), in_pytorch(trained, pixels, branches))


def shaken(network):
    """The network with weights, running means and deviations of its own, as after a training."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight, layer.running_var):
                nn.init.uniform_(values, 0.5, 1.5)
            for values in (layer.bias, layer.running_mean):
                nn.init.normal_(values, std=0.2)
        elif isinstance(layer, nn.Conv2d):
            layer.weight.data /= 2  # masks would be all zeros and ones
    return network.eval()


@pytest.mark.parametrize(
    ("name", "options", "side"),
    [
        ("attention-92", {"narrow": 2, "attention": "nal", "gate": "spatial", "num_classes": 7}, 32),
        ("attention-56", {"narrow": 4, "mask": "local-convolutions", "gate": "channel"}, 32),
        ("attention-56", {"narrow": 4, "p": 2, "t": 1, "r": 2}, 37),
        ("attention-56-imagenet", {"narrow": 16, "num_classes": 5}, 64),
    ],
)
def test_another_network_takes_the_same_tool_and_no_other_script(browser, tmp_path, trained, name, options, side):
    network = shaken(build(name, **options))
    classes = tuple(f"class {number}" for number in range(network.config.num_classes))
    config = {"dataset": "folder", "test_size": side}
    other = Trained(network, classes, trained.mean, trained.std, config, tmp_path / "other.safetensors")
    page = browser.new_page()
    for script in (explorer.write(other, tmp_path / "made" / "weights.js"), STATIC / "network.js"):
        page.add_script_tag(path=script)
    assert page.evaluate("[RAN.size, RAN.classes.length]") == [side, len(classes)]
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    assert_equal(in_browser(page, pixels), in_pytorch(other, pixels), UNTRAINED)
    page.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [("resnet-164", "no attention modules"), ("attentionnext-56-imagenet", "expected pre-activation units")],
)
def test_a_network_that_the_script_cannot_run_is_refused(trained, tmp_path, name, message):
    narrow = {} if name == "attentionnext-56-imagenet" else {"narrow": 4}
    other = replace(trained, network=build(name, **narrow), config={})
    with pytest.raises(ValueError, match=message):
        explorer.write(other, tmp_path / "made" / "weights.js")
    assert not (tmp_path / "made" / "weights.js").exists()


def test_unknown_weights_end_in_one_line(capsys):
    assert explorer.main(["--weights", "attention-57"]) == 1
    assert "attention-56" in capsys.readouterr().err


def test_the_weights_are_loaded_when_they_are_asked_for_and_from_nowhere_else(open_page):
    page, requests = open_page("book/explorer"), []
    page.on("request", lambda request: requests.append(request.url))
    page.reload()
    assert requests and not [address for address in requests if "weights.js" in address]
    started(page)
    assert [address for address in requests if "weights.js" in address]
    assert all(address.startswith(("file:", "data:", "blob:")) for address in requests)


def test_it_can_be_played_with_by_keyboard(open_page, trained):
    page = open_page("book/explorer")
    page.get_by_role("button", name="Load the network").focus()
    page.keyboard.press("Enter")
    answered(page, "test image 1, truck")
    page.keyboard.press("ArrowRight")  # the button is gone, and the picture that is chosen has the focus
    answered(page, "test image 2, automobile")
    assert answers(page)[0][0] == "automobile" and len(answers(page)) == 5

    mean = seen(page, "mask")
    channel = page.get_by_role("slider", name="Channel")
    channel.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert channel.get_attribute("aria-valuetext") == "channel 2"
    assert seen(page, "mask") != mean
    pixels = np.asarray(Image.open(explorer.SAMPLES).convert("RGB").crop((32, 0, 64, 32)))
    mask = in_pytorch(trained, pixels)["stage1_module1.mask"].view(64, -1)[2]
    about = "mask, stage 1, module 1, channel 2, laid over test image 2, automobile"
    label = page.locator("canvas[data-part=mask]").get_attribute("aria-label")
    assert label == f"{about}: {mask.min():.2f} to {mask.max():.2f}"

    page.get_by_role("combobox", name="Module").select_option("stage 3, module 1")
    assert channel.get_attribute("aria-valuetext") == "mean of 256"
    page.get_by_role("slider", name="Map over picture").focus()
    page.keyboard.press("End")
    only_map = seen(page, "mask")
    page.keyboard.press("Home")
    assert seen(page, "mask") != only_map
    assert seen(page, "mask") == seen(page, "before") == seen(page, "after")  # the picture alone
    before = channel.input_value()
    page.get_by_role("group", name="channels whose masks vary most").get_by_role("button").last.press("Enter")
    assert channel.input_value() != before


def picture(kind):
    """A file of a kind: its name and its bytes."""
    name, image, options = f"{kind}.png", Image.open(STATIC / "cat.jpg").convert("RGB"), {}
    if kind == "transparent":
        image = Image.new("RGBA", (90, 131), (0, 0, 0, 0))
        ImageDraw.Draw(image).ellipse((20, 30, 70, 100), fill=(200, 30, 30, 255))
    elif kind == "small":
        image = image.resize((20, 17))
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6  # orientation: a quarter turn
        name, options = "turned.jpg", {"exif": exif, "quality": 95}
    content = io.BytesIO()
    image.save(content, "JPEG" if name.endswith("jpg") else "PNG", **options)
    return name, content.getvalue()


@pytest.mark.parametrize("kind", ["photograph", "transparent", "small", "turned"])
@pytest.mark.parametrize("way", ["dropped", "chosen"])
def test_a_picture_of_ones_own_gets_the_answers_of_ran_predict(ready, tmp_path, trained, kind, way):
    page, (name, content) = ready, picture(kind)
    if way == "dropped":
        page.evaluate(DROP, [name, base64.b64encode(content).decode()])
    else:
        page.get_by_label("one of your own").set_input_files({"name": name, "mimeType": "image/*", "buffer": content})
    answered(page, name)
    (tmp_path / name).write_bytes(content)
    expected = predict(trained, read_picture(tmp_path / name, trained.mean))
    found = answers(page)
    assert found[0][0] == expected[0][0]
    shares = dict(expected)
    for each, share in found[:3]:
        assert abs(float(share.removesuffix("%")) / 100 - shares[each]) < 0.02  # rounding of pixels
    assert page.get_by_role("radio", checked=True).count() == 0


def test_a_file_that_is_no_picture_is_named_and_the_page_lives_on(ready):
    page = ready
    before = answers(page)
    page.evaluate(DROP, ["notes.txt", base64.b64encode(b"no picture").decode()])
    page.get_by_role("status").filter(has_text="notes.txt cannot be read as a picture").wait_for()
    assert answers(page) == before
    page.get_by_role("radio", name="test image 9, truck").check(force=True)
    answered(page, "test image 9, truck")


def test_a_picture_chosen_before_the_network_is_there_is_looked_at_once_it_is(open_page):
    page = open_page("book/explorer")
    page.get_by_role("radio", name="test image 6, dog").check(force=True)
    page.get_by_role("button", name="Load the network").click()
    answered(page, "test image 6, dog")


def test_missing_weights_are_said(open_page):
    page = open_page("book/explorer")
    page.evaluate(
        "Object.defineProperty(HTMLScriptElement.prototype, 'src', { set(_) { this.setAttribute('src', 'none.js'); } })"
    )
    page.get_by_role("button", name="Load the network").click()
    page.get_by_role("status").filter(has_text="make book").wait_for()
    assert page.get_by_role("button", name="Load the network").is_enabled()


def test_without_scripts_there_is_a_still_picture(open_page):
    page = open_page("book/explorer", java_script_enabled=False)
    still = page.get_by_role("img", name="heat maps of the masks")
    still.scroll_into_view_if_needed()
    assert still.is_visible()
    assert not page.locator("#explorer").is_visible()


@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_is_wider_than_the_page(open_page, width):
    page = started(open_page("book/explorer", viewport={"width": width, "height": 800}))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for part in ("file", "channel", "blend", "module", "after"):
        box, frame = page.locator(f"[data-part={part}]").bounding_box(), page.locator("#explorer").bounding_box()
        assert box["x"] >= frame["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"], part
