// The latent plane: where the encoder put the test images, the prior's circles, and room for marks above them.
import { chart } from "./chart.js";
import { tag } from "./shell.js";
import { halves } from "./mlp.js";

// Within 1, 2 and 3 deviations of the prior's middle lie 1 - exp(-r^2 / 2) of its draws.
const RINGS = [1, 2, 3].map((radius) => ({ radius, share: `${Math.round(100 * (1 - Math.exp(-radius * radius / 2)))} %` }));

/**
 * A square chart from -span to span on both axes, on a canvas with a dot for each image.
 *
 * The dots come from the widget's traits: `points` (bytes, pairs in half precision), `labels` (bytes) and
 * `colours`, one for each class. They are drawn again only when size or theme change.
 */
export function plane(s, parent, { span, label }) {
  const box = tag("div", { class: "vw-plane" });
  const canvas = tag("canvas", { "aria-hidden": "true" });
  box.append(canvas);
  parent.append(box);
  const c = chart(box, { label, height: "square", xLabel: "z₁", yLabel: "z₂" });
  const bytes = (name) => s.model.get(name);
  const points = bytes("points").byteLength
    ? halves(bytes("points").buffer, bytes("points").byteOffset, bytes("points").byteLength / 2)
    : new Float32Array(0);
  const labels = Array.from({ length: points.length / 2 }, (_, k) => bytes("labels").getUint8(k));
  const middles = centres(points, labels);
  const colours = s.model.get("colours");
  let drawn = "";

  function dots() {
    const width = box.clientWidth;
    const height = Number(c.svg.getAttribute("height"));
    const ratio = window.devicePixelRatio || 1;
    const paper = getComputedStyle(s.root).getPropertyValue("--vw-paper");
    const now = [width, height, ratio, paper].join();
    if (now === drawn) return;
    drawn = now;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.globalAlpha = 0.45;
    const size = width < 400 ? 1.6 : 2.2;
    for (let k = 0; k < labels.length; k++) {
      const [x, y] = [points[2 * k], points[2 * k + 1]];
      if (Math.abs(x) > span || Math.abs(y) > span) continue;
      context.fillStyle = colours[labels[k] % colours.length];
      context.fillRect(c.sx(x) - size / 2, c.sy(y) - size / 2, size, size);
    }
    context.globalAlpha = 1;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = "700 12px system-ui, sans-serif";
    for (const [digit, [x, y]] of middles) {
      context.beginPath();
      context.arc(c.sx(x), c.sy(y), 9, 0, 2 * Math.PI);
      context.fillStyle = colours[digit % colours.length];
      context.fill();
      context.strokeStyle = paper;
      context.stroke();
      // Dark letters: the palest hues do not carry white ones.
      context.fillStyle = "#111";
      context.fillText(String(digit), c.sx(x), c.sy(y) + 0.5);
    }
  }

  return {
    ...c,
    /** Begin a frame: the dots if they must, and the prior's circles. */
    frame() {
      c.frame({ x: [-span, span], y: [-span, span] });
      dots();
      for (const { radius, share } of RINGS.filter((ring) => ring.radius < span)) {
        c.ellipse(`ring-${radius}`, 0, 0, radius, radius, { colour: "quiet", dash: "3 3", width: 1 });
        c.text(`share-${radius}`, -0.72 * radius, -0.72 * radius, share, { colour: "quiet", anchor: "end", dy: 10 });
      }
    },
  };
}

/** The median place of each class. */
function centres(points, labels) {
  const found = new Map();
  labels.forEach((label, k) => {
    if (!found.has(label)) found.set(label, [[], []]);
    found.get(label)[0].push(points[2 * k]);
    found.get(label)[1].push(points[2 * k + 1]);
  });
  const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  return [...found].map(([label, [xs, ys]]) => [label, [median(xs), median(ys)]]);
}
