"""Figures in fewer bytes."""

from io import BytesIO

from PIL import Image

STEP = 5  # of 255, the steps of colours


def smaller(picture: bytes) -> bytes:
    """A PNG in fewer bytes: as many pixels, their colours in steps that no eye sees; black and white stay."""
    content = BytesIO()
    with Image.open(BytesIO(picture)) as image:
        opaque = image.mode == "RGBA" and image.getchannel("A").getextrema()[0] == 255
        density = {"dpi": image.info["dpi"]} if "dpi" in image.info else {}
        whole: Image.Image = image.convert("RGB") if opaque else image
        if whole.mode in ("L", "RGB", "RGBA"):
            whole = whole.point(lambda value: round(value / STEP) * STEP)
        whole.save(content, "PNG", optimize=True, **density)
    return min(content.getvalue(), picture, key=len)
