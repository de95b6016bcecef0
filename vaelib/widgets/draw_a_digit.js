// The reader draws; the encoder answers with q(z | x), and the decoder with what it makes of that.
import { arrows, clamp, fixed, follow, shell, tag } from "./lib/shell.js";
import { bernoulliLog, decoderOf, encoderOf, named, unitRates } from "./lib/mlp.js";
import { picture } from "./lib/ink.js";
import { plane } from "./lib/plane.js";
import { sigmoid } from "./lib/maths.js";

const SIDE = 28;
const GRID = 64; // places across the sheet: six bits, one letter of a link
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const MOST = 1400; // points: what a link can carry

/** Strokes, lists of points on the 64 by 64 sheet, from the letters of a link. */
export function readStrokes(text) {
  return text.split(".").filter(Boolean).map((word) => {
    const points = [];
    for (let k = 0; k + 1 < word.length; k += 2) points.push([LETTERS.indexOf(word[k]), LETTERS.indexOf(word[k + 1])]);
    return points;
  });
}

export const writeStrokes = (strokes) =>
  strokes.map((points) => points.map(([x, y]) => LETTERS[x] + LETTERS[y]).join("")).join(".");

/**
 * Strokes as MNIST has its digits: scaled until the longer side of the ink is 20 pixels, on 28 by 28 pixels with
 * the middle of its mass in the middle. A pixel is dark up to `pen` from a stroke and fades over one pixel.
 */
export function render(strokes, { pen = 0.6, longest = 20 } = {}) {
  const points = strokes.flat();
  const image = new Float64Array(SIDE * SIDE);
  if (!points.length) return image;
  const low = [0, 1].map((i) => Math.min(...points.map((p) => p[i])));
  const high = [0, 1].map((i) => Math.max(...points.map((p) => p[i])));
  const size = Math.max(high[0] - low[0], high[1] - low[1]);
  // The pen is as wide as in MNIST whatever the size of the drawing; a mere dot is not blown up.
  const scale = (longest - 2 * pen - 1) / Math.max(size, GRID / 3);
  const place = (p, shift) => [0, 1].map((i) => (p[i] - (low[i] + high[i]) / 2) * scale + SIDE / 2 + shift[i]);
  const ink = (shift) => {
    image.fill(0);
    for (const stroke of strokes) {
      const path = stroke.map((p) => place(p, shift));
      for (let k = 0; k < Math.max(1, path.length - 1); k++) blacken(image, path[k], path[Math.min(k + 1, path.length - 1)], pen);
    }
    return image;
  };
  ink([0, 0]);
  let [mass, x, y] = [0, 0, 0];
  image.forEach((value, k) => {
    mass += value;
    x += value * ((k % SIDE) + 0.5);
    y += value * (Math.floor(k / SIDE) + 0.5);
  });
  const shift = [SIDE / 2 - x / mass, SIDE / 2 - y / mass];
  return ink(shift);
}

function blacken(image, [ax, ay], [bx, by], pen) {
  const [dx, dy] = [bx - ax, by - ay];
  const length2 = dx * dx + dy * dy;
  const reach = pen + 1;
  const [left, right] = [Math.min(ax, bx) - reach, Math.max(ax, bx) + reach].map(Math.floor);
  const [top, bottom] = [Math.min(ay, by) - reach, Math.max(ay, by) + reach].map(Math.floor);
  for (let row = clamp(top, 0, SIDE); row <= Math.min(bottom, SIDE - 1); row++) {
    for (let column = clamp(left, 0, SIDE); column <= Math.min(right, SIDE - 1); column++) {
      const [px, py] = [column + 0.5 - ax, row + 0.5 - ay];
      const t = length2 ? clamp((px * dx + py * dy) / length2, 0, 1) : 0;
      const distance = Math.hypot(px - t * dx, py - t * dy);
      const k = row * SIDE + column;
      image[k] = Math.max(image[k], clamp(pen + 1 - distance, 0, 1));
    }
  }
}

/**
 * What a VAE says of an image, in nats: distortion, a mean over the draws that the noise makes, rate, and ELBO.
 * `images` are the means of p(x | z) at those draws.
 */
export function judge(encoder, decoder, x, noise) {
  const { mean, logVar } = encoder.encode(x);
  const draws = noise.map((e) => mean.map((m, j) => m + Math.exp(0.5 * logVar[j]) * e[j]));
  const logits = decoder.logits(draws);
  const distortion = -logits.reduce((sum, l) => sum + bernoulliLog(l, x), 0) / noise.length;
  const rate = unitRates(mean, logVar).reduce((a, b) => a + b, 0);
  return { mean, logVar, draws, distortion, rate, elbo: -distortion - rate, images: logits.map((l) => l.map(sigmoid)) };
}

/**
 * The position of the image nearest to x in squared distance, and that distance; both in units of [0, 1].
 * Looked for from image `from` on: begun with a near one, such as the last frame's, the others end sooner.
 */
export function nearest(x, images, from = 0) {
  const scaled = Float64Array.from(x, (v) => 255 * v);
  const count = images.length / scaled.length;
  let best = [-1, Infinity];
  for (let turn = 0; turn < count; turn++) {
    const n = (from + turn) % count;
    const start = n * scaled.length;
    let sum = 0;
    // No image that is farther by now can come nearer.
    for (let row = 0; row < scaled.length && sum < best[1]; row += SIDE) {
      for (let k = row; k < row + SIDE; k++) sum += (scaled[k] - images[start + k]) ** 2;
    }
    if (sum < best[1]) best = [n, sum];
  }
  return { index: best[0], distance: best[1] / 255 ** 2 };
}

export { decoderOf, encoderOf, named };

export default {
  async render({ model, el }) {
    const [encoder, decoder] = await Promise.all([
      named(model, "encoder").then(encoderOf),
      named(model, "decoder").then(decoderOf),
    ]);
    const bytes = (name) => new Uint8Array(model.get(name).buffer, model.get(name).byteOffset, model.get(name).byteLength);
    const images = bytes("images");
    const classes = bytes("classes");
    const noise = model.get("noise");
    const usual = model.get("usual");
    const span = model.get("span");

    const s = shell(model, el, {
      title: "Draw a digit",
      hint: "Draw with mouse or finger, or take a test image. The encoder answers with an ellipse, the decoder with samples from it.",
      traits: ["strokes", "example"],
      draw,
    });

    const left = tag("div", { class: "vw-draw" });
    const right = tag("div", { class: "vw-grow", style: "max-width: 400px" });
    s.body.append(tag("div", { class: "vw-row" }, left, right));

    // --- the sheet ---
    const frame = tag("div", { class: "vw-sheet" });
    left.append(frame);
    const sheet = picture(frame, { size: "100%" });
    const sheetLabel = "Sheet to draw on. Arrow keys move the pen, the space bar lowers and lifts it.";
    frame.setAttribute("role", "application");
    frame.setAttribute("tabindex", 0);
    frame.setAttribute("aria-label", sheetLabel);
    sheet.canvas.setAttribute("aria-hidden", "true");
    sheet.canvas.removeAttribute("role");
    const pen = tag("span", { class: "vw-pen", hidden: true });
    const invitation = tag("span", { class: "vw-invite", "aria-hidden": "true" }, "draw here");
    frame.append(pen, invitation);
    const live = document.createElement("canvas"); // the strokes as they are drawn, before they are centred
    live.className = "vw-live";
    live.setAttribute("aria-hidden", "true");
    live.width = live.height = 4 * GRID;
    frame.append(live);

    let strokes = readStrokes(model.get("strokes"));
    let lowered = false;
    let place = [GRID / 2, GRID / 2];
    const tell = () => s.put({ strokes: writeStrokes(strokes), example: -1 });
    const total = () => strokes.reduce((sum, points) => sum + points.length, 0);
    function point(x, y, fresh) {
      const p = [clamp(Math.round(x), 0, GRID - 1), clamp(Math.round(y), 0, GRID - 1)];
      if (total() >= MOST) return s.announce("The sheet is full: clear it to go on");
      if (fresh) strokes.push([p]);
      else {
        const stroke = strokes[strokes.length - 1];
        const last = stroke[stroke.length - 1];
        if (Math.hypot(p[0] - last[0], p[1] - last[1]) < 1.5) return undefined;
        stroke.push(p);
      }
      return tell();
    }
    let drawing = false;
    const onSheet = (x, y) => [x, y].map((v) => (v / frame.clientWidth) * GRID);
    follow(frame, {
      down: (x, y) => {
        drawing = true;
        if (model.get("example") >= 0) strokes = [];
        point(...onSheet(x, y), true);
      },
      move: (x, y) => drawing && strokes.length && point(...onSheet(x, y), false),
      up: () => {
        drawing = false;
        s.redraw(); // now it is centred
      },
    });
    function showPen() {
      pen.hidden = !frame.matches(":focus-visible");
      pen.style.left = `${(100 * place[0]) / GRID}%`;
      pen.style.top = `${(100 * place[1]) / GRID}%`;
      pen.classList.toggle("vw-lowered", lowered);
    }
    arrows(frame, (dx, dy) => {
      place = [clamp(place[0] + 2 * dx, 0, GRID - 1), clamp(place[1] - 2 * dy, 0, GRID - 1)];
      if (lowered) point(...place, false);
      showPen();
    });
    frame.addEventListener("keydown", (event) => {
      if (event.key !== " ") return;
      event.preventDefault();
      lowered = !lowered;
      if (lowered) {
        if (model.get("example") >= 0) strokes = [];
        point(...place, true);
      }
      s.announce(lowered ? "Pen down" : "Pen up");
      showPen();
    });
    for (const name of ["focus", "blur"]) {
      frame.addEventListener(name, () => {
        lowered &&= name === "focus";
        showPen();
      });
    }

    const buttons = tag("div", { class: "vw-starts" });
    s.button(buttons, "Undo", () => {
      strokes = model.get("example") >= 0 ? [] : strokes.slice(0, -1);
      tell();
    });
    s.button(buttons, "Clear", () => {
      strokes = [];
      tell();
    });
    left.append(buttons);
    const examples = tag("div", { class: "vw-starts", role: "group", "aria-label": "A test image" });
    examples.append(tag("span", { class: "vw-quiet" }, "or a test image:"));
    for (let digit = 0; digit < 10; digit++) {
      s.button(examples, String(digit), () => {
        const all = [...classes.keys()].filter((n) => classes[n] === digit);
        // Another one of the class at each press.
        const now = all.indexOf(model.get("example"));
        if (all.length) s.put({ example: all[(now + 1) % all.length] });
      });
    }
    left.append(examples);

    // --- what the model answers ---
    const near = tag("figure", { class: "vw-near" });
    const nearPicture = picture(near, { size: 84, label: "The nearest test image" });
    const nearWords = tag("figcaption");
    near.append(nearWords);
    const cell = () => tag("td");
    const rows = [["distortion", "theta"], ["rate", "phi"], ["ELBO", "elbo"]].map(([name, colour]) => {
      const [value, compare] = [cell(), cell()];
      compare.className = "vw-quiet";
      return { value, compare, row: tag("tr", {}, tag("th", { scope: "row", class: `vw-${colour}` }, name), value, compare) };
    });
    const head = tag("tr", {}, tag("td"), tag("th", { scope: "col" }, "here"), tag("th", { scope: "col", class: "vw-quiet" }, "test set"));
    const table = tag("table", { class: "vw-terms" }, tag("caption", { class: "vw-quiet" }, "nats, mean of the draws"), tag("thead", {}, head), tag("tbody", {}, ...rows.map((r) => r.row)));
    const verdict = tag("div", { class: "vw-verdict" }, table, near);
    rows.forEach(({ compare }, k) => (compare.textContent = fixed(usual[k], 1)));

    const p = plane(s, right, { span, label: "The latent plane, with q(z | x) as an ellipse" });
    left.append(verdict);
    const caption = tag("p", { class: "vw-quiet" });
    const stripe = tag("div", { class: "vw-strip" });
    const samples = noise.map((_, k) => picture(stripe, { size: "100%", label: `Sample ${k + 1} from q, decoded` }));
    s.body.append(caption, stripe);

    const black = new Float64Array(SIDE * SIDE);
    let before = 0; // the image that was nearest to the last drawing
    function draw() {
      const example = model.get("example");
      const taken = example >= 0 && example < classes.length;
      // A link, a reset or Python may have changed the strokes.
      if (model.get("strokes") !== writeStrokes(strokes)) strokes = readStrokes(model.get("strokes"));
      const x = taken ? Float64Array.from(images.subarray(784 * example, 784 * (example + 1)), (v) => v / 255) : render(strokes);
      const empty = !taken && !strokes.length;
      sheet.draw(x);
      invitation.hidden = !empty;
      showLive(drawing && !taken);
      p.frame();
      if (empty) {
        p.done();
        rows.forEach(({ value }) => (value.textContent = "–"));
        samples.forEach((sample) => sample.draw(black));
        nearPicture.draw(black);
        nearWords.textContent = "nearest test image";
        caption.textContent = "Samples from q will stand here, decoded.";
        return;
      }
      const said = judge(encoder, decoder, x, noise);
      const deviation = said.logVar.map((v) => Math.exp(0.5 * v));
      for (const times of [1, 2]) {
        p.ellipse(`q-${times}`, ...said.mean, times * deviation[0], times * deviation[1], { colour: "phi", width: 2, fill: false });
      }
      said.draws.forEach((z, k) => p.dot(`draw-${k}`, ...z, { colour: "phi", radius: 3 }));
      p.done();
      const outside = said.mean.some((m) => Math.abs(m) > span);
      [said.distortion, said.rate, said.elbo].forEach((value, k) => (rows[k].value.textContent = fixed(value, 1)));
      said.images.forEach((image, k) => samples[k].draw(image));
      const found = nearest(x, images, before);
      before = found.index;
      nearPicture.draw(images.subarray(784 * found.index, 784 * (found.index + 1)), 255);
      nearWords.textContent = taken ? `itself: a ${classes[found.index]}` : `nearest: a ${classes[found.index]}`;
      nearPicture.name(`The nearest of ${classes.length} test images, a ${classes[found.index]}`);
      const where = `mean (${fixed(said.mean[0])}, ${fixed(said.mean[1])}), deviation (${fixed(deviation[0])}, ${fixed(deviation[1])})`;
      caption.textContent = `q(z | x): ${where}${outside ? ", beyond the plane" : ""}. ${noise.length} samples from it, decoded:`;
      s.announce(`ELBO ${fixed(said.elbo, 1)} nats, ${nearWords.textContent}`);
    }
    function showLive(shown) {
      live.hidden = !shown;
      sheet.canvas.style.visibility = shown ? "hidden" : "visible";
      if (!shown) return;
      const context = live.getContext("2d");
      context.fillRect(0, 0, live.width, live.height);
      context.strokeStyle = "#fff";
      context.lineWidth = 18;
      context.lineCap = context.lineJoin = "round";
      for (const points of strokes) {
        context.beginPath();
        context.moveTo(4 * points[0][0], 4 * points[0][1]);
        for (const [x, y] of points.length > 1 ? points.slice(1) : points) context.lineTo(4 * x, 4 * y);
        context.stroke();
      }
    }

    s.start();
    return s.dispose;
  },
};
