// The latent plane: where the encoder put the test images, the prior's circles, and room for marks above them.
import { chart } from "./chart.js";
import { tag } from "./shell.js";
import { halves } from "./mlp.js";

// Within 1, 2 and 3 deviations of the prior's middle lie 1 - exp(-r^2 / 2) of its draws.
const RINGS = [1, 2, 3].map((radius) => ({ radius, share: `${Math.round(100 * (1 - Math.exp(-radius * radius / 2)))} %` }));

/**
 * A square chart on a canvas with a dot for each image, from -span to span on both axes, or within `limits` as
 * a chart has them.
 *
 * The dots come from the widget's traits: `points` (bytes, pairs in half precision), `labels` (bytes) and
 * `colours`, one for each class. They are drawn again only when size or theme change.
 *
 * If they are `moving`, each frame brings its own instead: `frame({ points, labels, only, trails, badges })`,
 * with the label that stays bright, or -1 for all, [[label, [x0, y0, x1, y1, ...]], ...] and [[label, [x, y]], ...].
 */
export function plane(s, parent, { span = Infinity, label, axes = ["z₁", "z₂"], limits = null, moving = false }) {
  const within = limits ?? { x: [-span, span], y: [-span, span] };
  const { x: across, y: up } = within;
  const box = tag("div", { class: "vw-plane" });
  const canvas = tag("canvas", { "aria-hidden": "true" });
  box.append(canvas);
  parent.append(box);
  const c = chart(box, { label, height: "square", xLabel: axes[0], yLabel: axes[1] });
  const still = moving ? null : told(s.model);
  const colours = s.model.get("colours");
  let drawn = "";

  function dots({ points, labels, only = -1, trails = [], badges }) {
    const width = box.clientWidth;
    const height = Number(c.svg.getAttribute("height"));
    const ratio = window.devicePixelRatio || 1;
    const paper = getComputedStyle(s.root).getPropertyValue("--vw-paper");
    const now = [width, height, ratio, paper].join();
    if (now === drawn && !moving) return;
    const context = canvas.getContext("2d");
    if (now === drawn) {
      context.clearRect(0, 0, width, height);
    } else {
      drawn = now;
      canvas.width = width * ratio;
      canvas.height = height * ratio;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
      context.scale(ratio, ratio);
    }
    // Fewer dots than in a still plane, and one looks for each as it goes.
    const [size, alpha] = moving ? [width < 360 ? 2.2 : 2.6, 0.6] : [width < 400 ? 1.6 : 2.2, 0.45];
    for (let k = 0; k < labels.length; k++) {
      const [x, y] = [points[2 * k], points[2 * k + 1]];
      if (x < across[0] || x > across[1] || y < up[0] || y > up[1]) continue;
      context.fillStyle = colours[labels[k] % colours.length];
      context.globalAlpha = only < 0 || labels[k] === only ? alpha : 0.08;
      context.fillRect(c.sx(x) - size / 2, c.sy(y) - size / 2, size, size);
    }
    context.globalAlpha = 0.85;
    context.lineWidth = 1.5;
    for (const [digit, way] of trails) {
      context.beginPath();
      for (let k = 0; k < way.length; k += 2) context.lineTo(c.sx(way[k]), c.sy(way[k + 1]));
      context.strokeStyle = colours[digit % colours.length];
      context.stroke();
    }
    context.globalAlpha = 1;
    context.lineWidth = 1;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = "700 12px system-ui, sans-serif";
    for (const [digit, [x, y]] of badges) {
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
    frame(scene = still) {
      c.frame(within);
      dots(scene);
      for (const { radius, share } of RINGS.filter((ring) => ring.radius < span)) {
        c.ellipse(`ring-${radius}`, 0, 0, radius, radius, { colour: "quiet", dash: "3 3", width: 1 });
        c.text(`share-${radius}`, -0.72 * radius, -0.72 * radius, share, { colour: "quiet", anchor: "end", dy: 10 });
      }
    },
  };
}

/** The dots that the widget's traits hold, with a badge in the middle of each class. */
function told(model) {
  const bytes = model.get("points");
  const points = bytes.byteLength ? halves(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2) : new Float32Array(0);
  const labels = Array.from({ length: points.length / 2 }, (_, k) => model.get("labels").getUint8(k));
  return { points, labels, badges: centres(points, labels) };
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
