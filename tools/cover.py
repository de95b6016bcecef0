"""Draw the landing page's picture: digits that a trained model decodes over a band of its latent plane.

``make cover`` trains the model and calls this. Ink is the picture's opacity, so it stands on light and dark
pages alike; the hue follows the place on the plane.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from vaelib.checkpoints import load
from vaelib.evaluation import decode
from vaelib.figures import tile
from vaelib.latent import latent_grid

COLUMNS, ROWS = 28, 11
TARGET = Path(__file__).resolve().parent.parent / "book" / "_static" / "cover.webp"


def colours(z: np.ndarray) -> np.ndarray:
    """Return a colour for each latent: the hue is its direction from the origin.

    Hues go round in OKLCH, at one lightness that reads on white and on near-black.
    """
    lightness, chroma = 0.66, 0.15
    turn = np.arctan2(z[:, 1], z[:, 0])
    a, b = chroma * np.cos(turn), chroma * np.sin(turn)
    # Ottosson's matrices (2020) from OKLab to linear sRGB, then the sRGB curve.
    cone = lightness + np.stack([a, b], -1) @ np.array(
        [[0.3963377774, -0.1055613458, -0.0894841775], [0.2158037573, -0.0638541728, -1.2914855480]]
    )
    linear = cone**3 @ np.array(
        [
            [4.0767416621, -1.2684380046, -0.0041960863],
            [-3.3077115913, 2.6097574011, -0.7034186147],
            [0.2309699292, -0.3413193965, 1.7076147010],
        ]
    )
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run folder with two latents")
    z = latent_grid(COLUMNS, rows=ROWS)
    ink = tile(decode(load(parser.parse_args().run).model, z), COLUMNS, gap=0).numpy() ** 0.75
    hue = np.kron(colours(z.numpy()).reshape(ROWS, COLUMNS, 3), np.ones((28, 28, 1)))
    picture = np.concatenate([hue, ink[..., None]], axis=-1)
    image = Image.fromarray((picture * 255).round().astype(np.uint8), "RGBA")
    image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC).save(
        TARGET, quality=70, alpha_quality=40
    )
    print(f"{TARGET} ({TARGET.stat().st_size // 1024} KiB)")


if __name__ == "__main__":
    main()
