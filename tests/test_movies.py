"""Films, read back with the libraries that others play them with."""

import importlib
import io
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from vaelib import movies
from vaelib.errors import VaelibError

COLOURS = ((255, 0, 0), (0, 160, 0), (0, 0, 255), (255, 255, 255))


def flat(colour: tuple[int, int, int], width: int = 64, height: int = 48) -> np.ndarray:
    """A frame of one colour with a white edge."""
    frame = np.full((height, width, 3), 255, dtype=np.uint8)
    frame[8:-8, 8:-8] = colour
    return frame


FRAMES = [flat(colour) for colour in COLOURS]


def decoded(content: bytes, folder: Path) -> tuple[str, bytes]:
    """What ffmpeg says of a film, and all its pixels."""
    ffmpeg = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    (folder / "film.mp4").write_bytes(content)
    command = [ffmpeg, "-i", folder / "film.mp4", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    (about,) = re.findall(r"Video: (h264.*)", done.stderr.decode())
    return about, done.stdout


def test_a_gif_has_each_frame_for_its_time_and_in_its_colours() -> None:
    film = Image.open(io.BytesIO(movies.gif(iter(FRAMES), [1.5, 0.25, 0.29, 0.02], palette_from=FRAMES)))
    assert film.info["loop"] == 0  # for ever
    pages = [
        (page.info["duration"], np.asarray(page.convert("RGB"))) for page in ImageSequence.Iterator(film)
    ]
    assert [duration for duration, _ in pages] == [1500, 250, 290, 20]
    for (_, page), frame in zip(pages, FRAMES, strict=True):
        np.testing.assert_array_equal(page, frame)


def test_a_gif_of_many_colours_keeps_white_white_and_all_within_sight() -> None:
    frame = np.full((64, 256, 3), 255, dtype=np.uint8)
    frame[16:, :, 0] = np.arange(256)
    frame[16:, :, 1] = np.linspace(0, 255, 48)[:, None]
    frame[16:, :, 2] = 90
    film = Image.open(io.BytesIO(movies.gif([frame], [1.0], palette_from=[frame])))
    page = np.asarray(film.convert("RGB")).astype(int)
    assert (page[:16] == 255).all()
    # 256 colours over a square of 256 by 256: cells of 16, so none is far off.
    assert np.abs(page - frame).max() <= 40


def test_a_gif_of_noise_keeps_its_paper_white() -> None:
    frame = np.full((64, 64, 3), 255, dtype=np.uint8)
    frame[16:] = np.random.default_rng(0).integers(235, 256, (48, 64, 3))
    film = Image.open(io.BytesIO(movies.gif([frame], [1.0], palette_from=[frame])))
    assert (np.asarray(film.convert("RGB"))[:16] == 255).all()


@pytest.mark.parametrize(
    ("seconds", "said"), [([1.0] * 3, "3 durations for 4 frames"), ([1.0, 1.0, 1.0, 0.01], "0.02 s at least")]
)
def test_a_gif_that_makes_no_sense_is_refused(seconds: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        movies.gif(FRAMES, seconds, palette_from=FRAMES)


def test_an_mp4_has_each_frame_as_often_as_asked_in_its_size(tmp_path: Path) -> None:
    content = movies.mp4(iter(FRAMES), [3, 1, 2, 1], 4, size=(64, 48))
    about, pixels = decoded(content, tmp_path)
    assert re.search(r"yuv420p\b.* 64x48\b.* 4 fps", about)  # 4:2:0 is what every player takes
    frames = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, 48, 64, 3)
    assert len(frames) == 7
    for frame, index in zip(frames, (0, 0, 0, 1, 2, 2, 3), strict=True):
        # H.264 is lossy, and its colours are rounded in another space.
        np.testing.assert_allclose(frame[20:28, 24:40].mean((0, 1)), COLOURS[index], atol=12)


@pytest.mark.parametrize(("size", "repeats"), [((63, 48), [1] * 4), ((64, 47), [1] * 4), ((64, 48), [1] * 3)])
def test_an_mp4_that_makes_no_sense_is_refused(size: tuple[int, int], repeats: list[int]) -> None:
    with pytest.raises(ValueError, match=r"must be even|zip\(\)"):
        movies.mp4(FRAMES, repeats, 4, size=size)


def test_an_interrupted_mp4_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    begun = []

    def interrupted() -> Iterator[np.ndarray]:
        yield FRAMES[0]
        begun.extend(tmp_path.iterdir())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        movies.mp4(interrupted(), [1, 1], 4, size=(64, 48))
    assert begun
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ImportError("no module"), RuntimeError("No ffmpeg exe could be found")])
def test_without_the_extra_an_mp4_says_what_to_install(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(VaelibError, match=r'pip install "vaelib\[video\]"'):
        movies.mp4(FRAMES, [1] * 4, 4, size=(64, 48))
