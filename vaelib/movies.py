"""Films from frames, whatever they show: GIF, and MP4 where the extra ``video`` is installed."""

import importlib
import io
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vaelib.errors import VaelibError

if TYPE_CHECKING:
    Frame = np.ndarray[Any, np.dtype[np.uint8]]


def gif(frames: Iterable["Frame"], seconds: Sequence[float], *, palette_from: Sequence["Frame"]) -> bytes:
    """Write an endless GIF.

    Parameters
    ----------
    frames : iterable of array (height, width, 3), uint8
        Read one by one.
    seconds : sequence of float
        How long each is shown; a GIF counts in hundredths.
    palette_from : sequence of array
        Frames whose colours stand for all. One palette for the film and no dithering, so that what does not
        move does not flicker either and costs no bytes.

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If there are not as many durations as frames, or one is below 0.02 s, which browsers slow down.
    """
    if any(time < 0.02 for time in seconds):
        raise ValueError(f"a frame of {min(seconds)} s: a GIF shows one for 0.02 s at least")
    # Colours as far apart as may be rather than means of many: paper stays white, and brown is not olive.
    palette = Image.fromarray(np.concatenate(palette_from)).quantize(256, Image.Quantize.MAXCOVERAGE)
    # Pillow looks for the nearest of 256 colours in steps of some greys: what is nearly paper is paper.
    colours = np.array(palette.getpalette(), dtype=np.int64).reshape(-1, 3)
    colours[(colours >= 248).all(-1)] = 255
    palette.putpalette(colours.flatten().tolist())
    pages = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    if len(pages) != len(seconds):
        raise ValueError(f"{len(seconds)} durations for {len(pages)} frames")
    content = io.BytesIO()
    pages[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=pages[1:],
        duration=[10 * round(100 * time) for time in seconds],
        loop=0,
        optimize=True,
    )
    return content.getvalue()


def mp4(frames: Iterable["Frame"], repeats: Sequence[int], fps: float, *, size: tuple[int, int]) -> bytes:
    """Write an H.264 film that browsers, phones and slides play.

    Parameters
    ----------
    frames : iterable of array (height, width, 3), uint8
        Read one by one.
    repeats : sequence of int
        How many frames of the film each is.
    fps : float
        Frames in a second.
    size : tuple of int
        Width and height; both even, since two by two pixels share their colour.

    Returns
    -------
    bytes

    Raises
    ------
    VaelibError
        If the extra ``video`` is not installed, or has no ffmpeg for this machine.
    ValueError
        If the size is odd, or there are not as many repeats as frames.
    """
    if size[0] % 2 or size[1] % 2:
        raise ValueError(f"{size[0]} x {size[1]} pixels: both must be even")
    ffmpeg = encoder()
    # ffmpeg goes back to the beginning of its file when it closes it: a pipe will not do.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        writer = ffmpeg.write_frames(
            path, size, fps=fps, codec="libx264", pix_fmt_out="yuv420p", macro_block_size=2, quality=None,
            ffmpeg_log_level="error",
            output_params=["-crf", "20", "-preset", "slow", "-tune", "animation", "-movflags", "+faststart"],
        )  # fmt: skip
        writer.send(None)
        try:
            for frame, count in zip(frames, repeats, strict=True):
                for _ in range(count):
                    writer.send(np.ascontiguousarray(frame))
        finally:
            writer.close()
        return path.read_bytes()


def encoder() -> Any:
    """The module ``imageio_ffmpeg``, with an ffmpeg that it can start.

    Raises
    ------
    VaelibError
        If either is missing.
    """
    try:
        ffmpeg = importlib.import_module("imageio_ffmpeg")
        ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise VaelibError(
            'MP4 needs the extra "video": pip install "vaelib[video]", or write a .gif'
        ) from error
    return ffmpeg
