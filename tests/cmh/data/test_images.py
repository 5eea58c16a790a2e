"""Images and texts, against pixels and counts that are known; hostile files against the limits."""

import io
import os
import random
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmh.data import images, svg
from cmh.data.images import decode_image


def encoded(image, kind="PNG", **options):
    """The image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_photo_is_cut_to_its_central_square():
    """Of a wide image with coloured ends only the middle remains."""
    pixels = np.full((20, 60, 3), 255, np.uint8)
    pixels[:, 20:40] = (200, 0, 0)
    image = decode_image(encoded(Image.fromarray(pixels)), "image", 20)
    assert image.shape == (20, 20, 3)
    assert image.dtype == np.uint8
    assert (image == (200, 0, 0)).all()


def test_a_whole_image_keeps_its_shape():
    """Upright, on white, no larger than asked, and never enlarged; refused by the same limits."""
    pixels = np.full((40, 80, 4), (0, 0, 200, 255), np.uint8)
    pixels[:, :40, 3] = 0
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side: its left is up
    data = encoded(Image.fromarray(pixels), exif=exif)
    whole = images.decode_whole(data, "image", 20)
    assert whole.shape == (20, 10, 3)
    assert (whole[:8] == 255).all()
    assert (whole[12:] == (0, 0, 200)).all()
    assert images.decode_whole(data, "image", 500).shape == (80, 40, 3)
    with pytest.raises(ValueError, match="not an image of a kind that is read"):
        images.decode_whole(b"nothing", "image", 20)


def test_transparency_becomes_white():
    """A transparent pixel is white, whatever colour lies under it."""
    image = decode_image(encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 0))), "image", 8)
    assert (image == 255).all()


def test_orientation_is_applied():
    """A photo that says it lies on its side is turned upright."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image = decode_image(encoded(Image.fromarray(pixels), exif=exif), "image", 16)
    assert (image[:8] == 0).all()
    assert (image[8:] == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_truncated_files_are_errors(kind):
    """Half a file is never half an image."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises((OSError, ValueError, SyntaxError)):
        decode_image(data[: len(data) // 2], "image", 32)


def test_too_many_pixels_are_not_decoded(monkeypatch):
    """The size in the header is enough to refuse."""
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(ValueError, match="11 × 10 pixels"):
        decode_image(encoded(Image.new("RGB", (11, 10))), "image", 8)


@pytest.mark.parametrize(
    "body",
    [
        '<image href="file:///etc/hostname"/>',
        '<svg:image xmlns:svg="http://www.w3.org/2000/svg" href="x.png"/>',
        "<script>1</script>",
        '<use href="http://example.org/x.svg#a"/>',
        '<use xlink:href="other.svg#a"/>',
        '<rect fill="url(http://example.org/#a)"/>',
        "<style>@import 'x.css';</style>",
        '<filter><feImage href="#a"/></filter>',
    ],
)
def test_svg_refers_to_nothing_outside_itself(body):
    """Files, addresses and scripts in a drawing are refused before it is parsed."""
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{body}</svg>'
    )
    with pytest.raises(ValueError, match="SVG"):
        decode_image(drawing.encode(), "image/svg+xml", 32)


def test_svg_entities_are_refused():
    """Entities that multiply could fill the memory."""
    drawing = b'<!DOCTYPE svg [<!ENTITY a "aaaa">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>'
    with pytest.raises(ValueError, match="DOCTYPE"):
        decode_image(drawing, "image/svg+xml", 32)


@pytest.mark.parametrize(
    "body",
    [
        "<g>" * 3000 + "</g>" * 3000,  # crashes the renderer
        '<filter id="f"><feTurbulence numOctaves="100000000"/></filter>'
        '<rect width="9" height="9" filter="url(#f)"/>',
        "<defs>"
        + "".join(f'<g id="g{n + 1}"><use href="#g{n}"/><use href="#g{n}"/></g>' for n in range(40))
        + '<rect id="g0" width="1" height="1"/></defs><use href="#g40"/>',
    ],
)
def test_a_drawing_without_end_is_an_error_of_its_own(body, monkeypatch):
    """Nested, filtered or repeated without limit; the next drawing is drawn."""
    monkeypatch.setattr(svg, "MAX_SECONDS", 3)
    hostile = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{body}</svg>'
    with pytest.raises(ValueError, match=r"SVG was not drawn within|SVG cannot be drawn"):
        decode_image(hostile.encode(), "image/svg+xml", 32)
    square = hostile.replace(body, '<rect width="9" height="9" fill="#00f"/>')
    assert (decode_image(square.encode(), "image/svg+xml", 8) == (0, 0, 255)).all()


def test_grey_of_sixteen_bits_keeps_its_scale():
    """A ramp from black to white, not white from 1/256 on."""
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    image = decode_image(encoded(Image.fromarray(ramp)), "image", 64)
    np.testing.assert_allclose(image[0, :, 0], np.linspace(0, 255, 64), atol=1)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_grey_of_unknown_scale_is_refused(kind):
    """Nothing says what is white in 32 bits: as bytes, a ramp up to 1 or to 4095 would be black."""
    ramp = np.tile(np.linspace(0, 4095, 64).astype(kind), (64, 1))
    with pytest.raises(ValueError, match="image of 32 bits a pixel"):
        decode_image(encoded(Image.fromarray(ramp), "TIFF"), "image", 64)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of what it passes over
def test_hostile_photos_are_errors_of_their_own():
    """A header of 400 megapixels, and Exif data of which no byte is safe."""
    bomb = bytearray(encoded(Image.new("L", (1, 1))))
    bomb[16:24] = (20_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_image(bytes(bomb), "image", 8)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a photo"
    whole = encoded(Image.new("RGB", (16, 16)), "JPEG", exif=exif.tobytes())
    rng = random.Random(0)
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[rng.randrange(20, 90)] = rng.randrange(256)
        with suppress(ValueError, OSError):
            decode_image(bytes(damaged), "image", 8)


def test_svg_may_refer_to_itself():
    """Gradients and reused shapes are drawn."""
    drawing = (
        b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><defs><linearGradient id="g">'
        b'<stop stop-color="#0f0"/></linearGradient></defs><rect width="8" height="8" fill="url(#g)"/></svg>'
    )
    assert (decode_image(drawing, "image/svg+xml", 16) == (0, 255, 0)).all()


def test_resize_is_the_identity_at_its_size():
    """No pixel changes where nothing is to be done."""
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert images.resize(image, 8) is image
    assert images.resize(image, 4).shape == (4, 4, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "side", "kind"),
    [
        ("RGB", 10_000, "PNG"),
        ("RGBA", 5400, "WEBP"),
        ("RGBA", 5400, "PNG"),
        ("CMYK", 5400, "JPEG"),
        ("P", 5400, "GIF"),
    ],
)
def test_the_largest_images_stay_within_the_memory(tmp_path, mode, side, kind):
    """Decoded in a process of its own; one with more pixels is refused by its header."""
    path = tmp_path / "large"
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 4), np.uint8)
    Image.fromarray(noise).convert("RGB" if mode == "CMYK" else mode).resize((side, side), 0).convert(
        mode
    ).save(path, kind)
    program = f"""
from pathlib import Path
from cmh.data import images
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
before = peak()
images.decode_image(Path({str(path)!r}).read_bytes(), "image", 96)
images.decode_whole(Path({str(path)!r}).read_bytes(), "image", 1600)
assert (peak() - before) * 1024 < images.MAX_MEMORY, (peak() - before) / 1024
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
    if mode == "RGBA":
        Image.new(mode, (side + 200, side)).save(path, kind)
        with pytest.raises(ValueError, match=r"5600 × 5400 pixels in mode RGBA; at most"):
            decode_image(path.read_bytes(), "image", 96)


def test_what_never_ends_or_is_no_file_is_not_read(tmp_path):
    """A device, a pipe, a folder, and a sparse file that claims 200 GB."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with open(tmp_path / "sparse.png", "wb") as file:
        file.truncate(200 << 30)
    for path, message in (
        (Path("/dev/zero"), "no regular file"),
        (tmp_path / "pipe.jpg", "no regular file"),
        (tmp_path / "folder.jpg", "no regular file|directory"),
        (tmp_path / "sparse.png", "at most 67108864 are read"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            images.read_image(path, 32)


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "HEIF"])
def test_formats_of_cameras_and_phones(tmp_path, kind):
    """Read by content, whatever the name; the colour is about right."""
    assert images.reads_heic()
    path = tmp_path / "photo"
    Image.new("RGB", (64, 48), (200, 30, 40)).save(path, kind)
    assert images.has_signature(path.read_bytes()[:32])
    assert abs(images.read_image(path, 16).reshape(-1, 3).mean(axis=0) - [200, 30, 40]).max() < 6
