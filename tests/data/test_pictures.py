"""One picture from one file: upright, opaque, RGB with eight bits, whatever it holds; and files that hold none."""

import os
import threading
from errno import EACCES, EIO, EMFILE, ENOMEM

import numpy as np
import pytest
from PIL import Image

from ran.data import as_tensor, read_picture
from ran.data.pictures import NotAPicture

BACKGROUND = (0.2, 0.4, 0.6)  # 51, 102, 153
BEHIND = (51, 102, 153)
# two rows and three columns whose colours all differ, so that every turn and mirror shows
PIXELS = np.array(
    [[(250, 0, 0), (0, 250, 0), (0, 0, 250)], [(250, 250, 0), (0, 250, 250), (250, 0, 250)]], dtype=np.uint8
)
GREY = np.array([[0, 100, 128], [200, 250, 255]], dtype=np.uint8)


def read(image, path, **options):
    image.save(path, **options)
    picture = read_picture(path, BACKGROUND)
    assert picture.mode == "RGB"
    return np.asarray(picture)


# what must be done to the upright picture to store it so that each orientation turns it back
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_exif_orientation_is_followed(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](PIXELS)))
    options = {"lossless": True, "exif": exif} if suffix == "webp" else {"exif": exif}
    assert np.array_equal(read(stored, tmp_path / f"picture.{suffix}", **options), PIXELS)


def test_a_photograph_that_was_taken_upright_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.fromarray(np.full((20, 50, 3), 90, np.uint8))
    assert read(wide, tmp_path / "photograph.jpg", exif=exif).shape == (50, 20, 3)


def test_damaged_exif_costs_no_picture(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "picture.png", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xffrubbish")
    assert np.array_equal(np.asarray(read_picture(tmp_path / "picture.png", BACKGROUND)), PIXELS)


def test_colours_hidden_by_transparency_stay_hidden(tmp_path):
    alpha = np.array([[0, 255, 255], [0, 0, 128]], dtype=np.uint8)
    seen = read(Image.fromarray(np.dstack([PIXELS, alpha])), tmp_path / "picture.png")
    assert (seen[alpha == 0] == BEHIND).all()
    assert (seen[alpha == 255] == PIXELS[alpha == 255]).all()
    halfway = (PIXELS[1, 2].astype(float) + BEHIND) / 2
    assert np.abs(seen[1, 2] - halfway).max() <= 1


def test_grey_with_transparency(tmp_path):
    alpha = np.array([[255, 255, 0], [0, 255, 255]], dtype=np.uint8)
    seen = read(Image.fromarray(np.dstack([GREY, alpha]), mode=None), tmp_path / "picture.png")
    assert (seen[alpha == 0] == BEHIND).all() and (seen[alpha == 255] == GREY[alpha == 255][:, None]).all()


def test_a_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    for name, transparency in (("one.png", 0), ("one.gif", 0), ("many.png", bytes([0, 255]))):
        seen = read(image, tmp_path / name, transparency=transparency)
        assert (seen[0, 0] == BEHIND).all() and (seen[0, 1] == (0, 255, 0)).all(), name


def test_a_transparent_colour_of_rgb_and_of_grey(tmp_path):
    seen = read(Image.fromarray(PIXELS), tmp_path / "colour.png", transparency=(250, 0, 0))
    assert (seen[0, 0] == BEHIND).all() and np.array_equal(seen[1], PIXELS[1])
    seen = read(Image.fromarray(GREY), tmp_path / "grey.png", transparency=128)
    assert (seen[0, 2] == BEHIND).all() and (seen[1] == GREY[1][:, None]).all()


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bits_are_scaled_and_not_cut_off(tmp_path, suffix):
    values = GREY.astype(np.uint16) * 257
    seen = read(Image.fromarray(values), tmp_path / f"picture.{suffix}")
    assert np.array_equal(seen, np.repeat(GREY[..., None], 3, 2))
    assert read(Image.fromarray(values + np.uint16(0)), tmp_path / f"again.{suffix}").max() == 255


def test_16_bits_with_a_transparent_grey(tmp_path):
    seen = read(Image.fromarray(GREY.astype(np.uint16) * 257), tmp_path / "picture.png", transparency=100 * 257)
    assert (seen[0, 1] == BEHIND).all() and (seen[1, 1] == 250).all()


def test_16_bits_of_a_portable_graymap(tmp_path):
    (tmp_path / "picture.pgm").write_bytes(b"P5 3 2 65535\n" + (GREY.astype(">u2") * 257).tobytes())
    assert np.array_equal(np.asarray(read_picture(tmp_path / "picture.pgm", BACKGROUND))[..., 0], GREY)


def test_floats_in_0_to_1_are_scaled_and_others_refused(tmp_path):
    seen = read(Image.fromarray(GREY.astype(np.float32) / 255), tmp_path / "picture.tiff")
    assert np.array_equal(seen[..., 0], GREY)
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "larger.tiff")
    with pytest.raises(ValueError, match="larger.tiff.*values are not in 0 to 1: save it with 8 or 16 bits"):
        read_picture(tmp_path / "larger.tiff", BACKGROUND)


def test_one_bit_grey_and_cmyk(tmp_path):
    seen = read(Image.fromarray(GREY > 127), tmp_path / "bits.png")
    assert np.array_equal(seen[..., 0], np.where(GREY > 127, 255, 0))
    assert np.array_equal(read(Image.fromarray(GREY), tmp_path / "grey.png")[..., 2], GREY)
    colour = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # red
    for name in ("print.jpg", "print.tiff"):
        assert np.abs(read(colour, tmp_path / name)[0, 0].astype(int) - (255, 0, 0)).max() < 10, name


def test_of_an_animation_the_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    seen = read(frames[0], tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert (seen == (255, 0, 0)).all()


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "text.png", "empty.jpg", "folder.png", "page.svg"])
def test_what_is_no_whole_picture_is_named_in_one_line(tmp_path, name):
    path = tmp_path / name
    if name.startswith("cut"):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif name == "folder.png":
        path.mkdir()
    else:
        path.write_text({"text.png": "no picture\n", "page.svg": "<svg/>"}.get(name, ""))
    with pytest.raises(ValueError, match=name) as error:
        read_picture(path, BACKGROUND)
    assert "\n" not in str(error.value) and str(error.value).count(name) == 1


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.png' does not exist"):
        read_picture(tmp_path / "none.png", BACKGROUND)


@pytest.mark.parametrize("number", [EACCES, EMFILE, EIO, ENOMEM])
def test_what_the_machine_cannot_read_is_not_said_to_be_no_picture(tmp_path, monkeypatch, number):
    path = tmp_path / "picture.png"
    Image.fromarray(PIXELS).save(path)

    def fails(*_, **__):
        raise MemoryError if number == ENOMEM else OSError(number, os.strerror(number))

    early = number in (EACCES, EMFILE)
    monkeypatch.setattr("pathlib.Path.open" if early else "PIL.ImageFile.ImageFile.load", fails)
    with pytest.raises(OSError, match=f"picture.png' cannot be read .{os.strerror(number)}.*call again") as caught:
        read_picture(path, BACKGROUND)
    assert caught.value.errno == number and "\n" not in str(caught.value)


def test_a_damaged_file_that_points_to_before_its_beginning_is_no_picture(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    Image.fromarray(PIXELS).save(path)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: image.fp.seek(-9))
    with pytest.raises(NotAPicture, match="picture.png"):
        read_picture(path, BACKGROUND)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"


def in_iptc(content):
    """A file of IPTC that says that it holds an 8x8 JPEG, whatever `content` is."""
    fields = {(3, 60): b"\1\0", (3, 20): b"\0\0\0\x08", (3, 30): b"\0\0\0\x08", (3, 120): b"\0\0\0\5", (8, 10): content}
    return b"".join(bytes((0x1C, *tag)) + len(data).to_bytes(2, "big") + data for tag, data in fields.items())


@pytest.mark.parametrize("content", [POSTSCRIPT, in_iptc(POSTSCRIPT)], ids=["EPS", "EPS in IPTC"])
def test_reading_starts_no_other_program(tmp_path, monkeypatch, content):
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\n: > {tmp_path}/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # looked for anew
    (tmp_path / "picture.png").write_bytes(content)
    with pytest.raises(NotAPicture, match="picture.png.*its format is unknown"):
        read_picture(tmp_path / "picture.png", BACKGROUND)
    assert not (tmp_path / "started").exists()


def test_a_picture_comes_through_a_pipe(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "picture.png")
    os.mkfifo(tmp_path / "pipe")
    content = (tmp_path / "picture.png").read_bytes()
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,), daemon=True)
    writer.start()
    assert np.array_equal(np.asarray(read_picture(tmp_path / "pipe", BACKGROUND)), PIXELS)
    writer.join()


def test_a_device_is_no_picture():
    with pytest.raises(NotAPicture, match="/dev/null' cannot be read as a picture"):
        read_picture("/dev/null", BACKGROUND)


@pytest.mark.parametrize("picture", [Image.new("RGBA", (4, 4)), Image.new("L", (4, 4)), np.zeros((4, 4, 3)), "cat.jpg"])
def test_only_an_rgb_image_becomes_a_tensor(picture):
    with pytest.raises(
        ValueError, match="must be a PIL image of mode RGB, not (one of mode (RGBA|L)|a (ndarray|str)): .*read_picture"
    ):
        as_tensor(picture)
