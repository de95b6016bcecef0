// Digits on canvases: ink white on black, as MNIST has it and as the book's figures show it.
import { tag } from "./shell.js";

/** A canvas for a square picture of `side` pixels, shown `size` CSS pixels wide. */
export function picture(parent, { side = 28, size = 112, label = "" } = {}) {
  const canvas = tag("canvas", { width: side, height: side, class: "vw-digit", role: "img", "aria-label": label });
  canvas.style.width = typeof size === "number" ? `${size}px` : size;
  parent.append(canvas);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const image = context.createImageData(side, side);
  image.data.fill(255);
  return {
    canvas,
    /** Show probabilities in [0, 1] (or bytes, with `top` 255). */
    draw(values, top = 1) {
      for (let k = 0; k < side * side; k++) {
        const grey = Math.round((255 * values[k]) / top);
        image.data[4 * k] = image.data[4 * k + 1] = image.data[4 * k + 2] = grey;
      }
      context.putImageData(image, 0, 0);
    },
    name: (words) => canvas.setAttribute("aria-label", words),
  };
}
