"""Any image becomes a uint8 face by the stated rules, or one sentence that names the file; nothing else escapes."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_lab.data import images
from fer_lab.data.images import fit, is_image, read_image
from fer_lab.errors import FerLabError

RAMP = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (40, 1))  # 40×48


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(image: Image.Image, kind: str = "PNG", **options) -> np.ndarray:
    return read_image(encoded(image, kind, **options), "x")


def test_grey_stays_grey_and_colour_stays_colour() -> None:
    np.testing.assert_array_equal(read(Image.fromarray(RAMP))[..., 0], RAMP)
    colour = np.dstack([RAMP, RAMP // 2, 255 - RAMP])
    np.testing.assert_array_equal(read(Image.fromarray(colour)), colour)


def test_sixteen_bits_count_by_their_full_range() -> None:
    deep = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    assert read(Image.fromarray(deep)).ravel().tolist() == [0, 1, 128, 255]
    assert read(Image.fromarray(deep), "TIFF").ravel().tolist() == [0, 1, 128, 255]


def test_floats_are_refused_since_their_white_is_unknown() -> None:
    with pytest.raises(FerLabError, match=r"x: its greys are float32 from 0 to 1, .* 8 or 16 bits"):
        read(Image.fromarray(np.array([[0, 1]], np.float32)), "TIFF")


def test_transparent_parts_are_mid_grey() -> None:
    half = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    half.putpixel((1, 0), (255, 0, 0, 0))
    assert read(half)[0].tolist() == [[255, 0, 0], [128, 128, 128]]
    grey = Image.new("LA", (1, 1), (200, 128))
    assert read(grey).ravel().tolist() == pytest.approx([164], abs=1)
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([10, 20, 30])
    assert read(palette).ravel().tolist() == [10, 20, 30]
    assert read(palette, transparency=0).ravel().tolist() == [128, 128, 128]


def test_cmyk_and_one_bit() -> None:
    red = read(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)
    assert red.shape == (8, 8, 3)
    np.testing.assert_allclose(red[0, 0], (255, 0, 0), atol=6)
    assert read(Image.new("1", (2, 2), 1)).tolist() == [[[255], [255]], [[255], [255]]]


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("L", (4, 4), grey) for grey in (10, 200)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        assert np.unique(read(frames[0], kind, save_all=True, append_images=frames[1:], **options)).tolist() == [10]


def test_turned_upright_by_exif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90° clockwise
    assert read(Image.fromarray(RAMP), exif=exif).shape == (48, 40, 1)


def test_content_counts_not_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "face.jpg").write_bytes(encoded(Image.fromarray(RAMP), "PNG"))
    (tmp_path / "face").write_bytes(encoded(Image.fromarray(RAMP), "BMP"))
    (tmp_path / "note").write_text("happy")
    assert read_image(tmp_path / "face.jpg", "x").shape == (40, 48, 1)
    assert [is_image(tmp_path / name) for name in ("face.jpg", "face", "note", "gone")] == [True, True, False, True]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"a/b\.jpg: the file is empty; replace or remove it, or use data\.on_corrupt=skip"),
        (b"only text", r"a/b\.jpg: not an image that can be read, whatever its name says"),
        (encoded(Image.effect_noise((64, 64), 50), "JPEG")[:900], r"a/b\.jpg: the image is damaged \(.*truncated"),
        (encoded(Image.effect_noise((64, 64), 50), "PNG")[:900], r"a/b\.jpg: the image is damaged"),
    ],
)
def test_what_is_wrong_with_a_file(content: bytes, sentence: str) -> None:
    with pytest.raises(FerLabError, match=sentence):
        read_image(content, "a/b.jpg")


def test_missing_and_forbidden_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FerLabError, match=r"f: the file cannot be read \(No such file"):
        read_image(tmp_path / "gone.png", "f")

    def forbidden(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", forbidden)  # a test that runs as root may read everything
    with pytest.raises(FerLabError, match="f: no permission to read the file"):
        read_image(tmp_path / "x.png", "f")


def test_huge_files_are_refused_but_jpegs_are_decoded_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 64)
    with pytest.raises(FerLabError, match="x: 0 megapixels, 0 are decoded at most; make it smaller"):
        read(Image.new("L", (65, 64)))
    assert read(Image.new("L", (65, 64)), "JPEG").shape == (32, 33, 1)
    assert read(Image.new("L", (300, 260)), "JPEG").shape == (33, 38, 1)
    assert read(Image.new("L", (64, 64)), "JPEG").shape == (64, 64, 1)


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    flat = encoded(Image.new("1", (20_000, 10_000)))
    assert len(flat) < 100_000
    with pytest.raises(FerLabError, match="x: over 178 megapixels, 64 are decoded at most"):
        read_image(flat, "x")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"]), st.data())
def test_damaged_bytes_give_a_face_or_one_sentence(kind: str, data: st.DataObject) -> None:
    content = bytearray(encoded(Image.fromarray(RAMP), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        face = read_image(bytes(content[: cut or None]), "x")
    except FerLabError as error:
        assert str(error).startswith("x: ")  # noqa: PT017, an image may also come through
    else:
        assert face.dtype == np.uint8
        assert face.ndim == 3
        assert face.shape[-1] in (1, 3)


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 3]), st.integers(1, 70), st.sampled_from([1, 3]))
def test_fit_gives_a_square_and_keeps_a_flat_picture_flat(h: int, w: int, c: int, size: int, channels: int) -> None:
    for how in ("crop", "pad"):
        square = fit(np.full((h, w, c), images.MID_GREY, np.uint8), size, channels, how)  # type: ignore[arg-type]
        assert (square.shape, square.dtype, square.flags.c_contiguous) == ((size, size, channels), np.uint8, True)
        assert np.unique(square).tolist() == [images.MID_GREY]


def test_the_longer_side_is_cut_on_both_ends_or_the_shorter_one_padded() -> None:
    wide = np.repeat(np.arange(6, dtype=np.uint8)[None, :, None], 4, axis=0)  # 4×6, its grey is the column
    assert fit(wide, 4, 1)[0, :, 0].tolist() == [1, 2, 3, 4]
    tall = wide.transpose(1, 0, 2)
    assert fit(tall, 4, 1)[:, 0, 0].tolist() == [1, 2, 3, 4]
    padded = fit(wide, 6, 1, "pad")
    assert padded[:, 2, 0].tolist() == [128, 2, 2, 2, 2, 128]


def test_downwards_by_area_upwards_bilinearly_and_luma() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    by_area = noise.reshape(8, 4, 8, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(fit(noise, 8, 3), by_area, atol=0.51)
    np.testing.assert_array_equal(fit(noise, 48, 3), cv2.resize(noise, (48, 48), interpolation=cv2.INTER_LINEAR))
    luma = noise @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(fit(noise, 32, 1)[..., 0], luma, atol=1)
