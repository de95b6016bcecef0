// Prior times likelihood over evidence, and the evidence as an area that somebody has to compute.
import { clamp, fixed, shell, tag } from "./lib/shell.js";
import { linspace, logSumExp, normal, normalLog } from "./lib/maths.js";
import { chart } from "./lib/chart.js";

// What the decoder makes of z, and which z (not below 0, if there are two) it makes a value from.
const DECODERS = {
  straight: { decode: (z) => z, back: (value) => value },
  squares: { decode: (z) => z * z, back: (value) => (value >= 0 ? Math.sqrt(value) : null) },
};
const LIMITS = { x: [-3, 3], mean: [-1.5, 1.5], deviation: [0.3, 3], noise: [0.1, 1.5] };
const SPAN = 5; // what is shown of the latent's line
const REACH = 6; // how many of its deviations the rectangles cover of the prior, to either side
const STEP = 1 / 80; // of sums over z: less than half the deviation of the narrowest hump that can be asked for
const COUNTS = [...linspace(2, 20, 19), 25, 30, 40, 50, 60, 80, 100, 150, 200, 300];

/** log p(x | z), in nats. */
export const logLikelihood = (decoder, z, { x, noise }) => normalLog(x, DECODERS[decoder].decode(z), noise);

/** log p(x | z) + log p(z). */
export const logJoint = (decoder, z, at) => logLikelihood(decoder, z, at) + normalLog(z, at.mean, at.deviation);

/**
 * log p(x), and mean and deviation of the posterior.
 *
 * The straight decoder has closed forms. The other one has none, but with one latent a fine grid is exact to
 * rounding; it reaches over the prior and over every z that could explain an x, the latter for the case that
 * the prior holds such z for all but impossible.
 */
export function solve(decoder, at) {
  const { x, mean, deviation, noise } = at;
  if (decoder === "straight") {
    const [s, n] = [deviation ** 2, noise ** 2];
    return {
      logEvidence: normalLog(x, mean, Math.sqrt(s + n)),
      mean: (n * mean + s * x) / (s + n),
      deviation: Math.sqrt((s * n) / (s + n)),
    };
  }
  const [low, high] = [Math.min(mean - 9 * deviation, -4), Math.max(mean + 9 * deviation, 4)];
  const count = Math.ceil((high - low) / STEP);
  const zs = linspace(low, high, count + 1);
  const logs = zs.map((z) => logJoint(decoder, z, at));
  const total = logSumExp(logs);
  const shares = logs.map((log) => Math.exp(log - total));
  const centre = shares.reduce((sum, share, i) => sum + share * zs[i], 0);
  const variance = shares.reduce((sum, share, i) => sum + share * (zs[i] - centre) ** 2, 0);
  return { logEvidence: total + Math.log((high - low) / count), mean: centre, deviation: Math.sqrt(variance) };
}

/** The rectangles: `points` of one width over the prior, each as high as the product above its middle. */
export function rectangles(decoder, at, points) {
  const width = (2 * REACH * at.deviation) / points;
  const middles = Float64Array.from({ length: points }, (_, i) => at.mean - REACH * at.deviation + (i + 0.5) * width);
  const logs = middles.map((z) => logJoint(decoder, z, at));
  return { width, middles, heights: logs.map(Math.exp), logSum: logSumExp(logs) + Math.log(width) };
}

/** The area under the likelihood as a function of z: 1 for the straight decoder, any number for another. */
export function likelihoodArea(decoder, at) {
  let sum = 0;
  for (let k = -8 / STEP; k <= 8 / STEP; k++) sum += Math.exp(logLikelihood(decoder, k * STEP, at));
  return STEP * sum;
}

const raised = (power) => String(power).replace("-", "⁻").replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);

/** A positive number from its logarithm, however small: 0.2392, or 4.5 × 10⁻¹². */
export function spelled(log) {
  if (log > Math.log(0.001)) return fixed(Math.exp(log), 4);
  const power = Math.floor((log + Math.log(1 / 0.995)) / Math.LN10); // 9.95 and more are 10
  const digits = fixed(Math.exp(log - power * Math.LN10), 1);
  return Number.isFinite(power) ? `${digits} × 10${raised(power)}` : "0";
}

export default {
  async render({ model, el }) {
    const s = shell(model, el, {
      title: "Bayes",
      hint: "Drag the prior, the x that is seen, and the noise. To divide by the evidence one has to know an area: try with more rectangles.",
      traits: ["decoder", "x", "mean", "deviation", "noise", "points"],
      draw,
    });
    s.choice(s.body, "decoder", {
      label: "Decoder",
      options: [["straight", "straight, z"], ["squares", "squares, z²"]],
    });

    // Four charts with one axis; the names above them read as the formula does.
    const rows = [
      ["latent", "", "prior p(z)", 100],
      ["theta", "×", "likelihood p(x | z)", 100],
      ["ink", "=", "product p(x | z) p(z)", 150],
      ["ink", "÷ area =", "posterior p(z | x)", 128],
    ].map(([colour, sign, name, height], index, all) => {
      const words = tag("span", { class: "vw-quiet" });
      s.body.append(tag("div", { style: "margin-top: 0.3rem" }, sign ? `${sign} ` : "", tag("strong", { class: `vw-${colour}` }, name), " ", words));
      const last = index === all.length - 1;
      const drawn = chart(s.body, {
        label: `The ${name}, over z`, height, xLabel: last ? "latent z" : "", margin: { left: 44, top: 8, bottom: last ? 40 : 20 },
      });
      return { ...drawn, words };
    });
    const [prior, likelihood, product, posterior] = rows;

    const [left, right] = [tag("div", { class: "vw-grow" }), tag("div", { class: "vw-grow" })];
    s.body.append(tag("div", { class: "vw-row" }, left, right));
    const slide = (trait, label, colour) =>
      s.slider(left, trait, { label, min: LIMITS[trait][0], max: LIMITS[trait][1], step: 0.01, colour });
    slide("x", "seen x", "data");
    slide("mean", "mean m", "latent");
    slide("deviation", "deviation s", "latent");
    slide("noise", "noise σ", "theta");
    s.slider(left, "points", { label: "rectangles", stops: COUNTS, text: String });
    const table = tag("table", { class: "vw-terms" });
    const head = ["", "p(x)", "log p(x)"].map((name) => tag(name ? "th" : "td", name ? { scope: "col", style: "padding: 0 0 0 1rem; text-align: right" } : {}, name));
    table.append(tag("tr", {}, ...head));
    const lines = Array.from({ length: 3 }, () => {
      const cells = [tag("th", { scope: "row" }), tag("td"), tag("td")];
      table.append(tag("tr", {}, ...cells));
      return cells;
    });
    const summary = tag("div", { class: "vw-quiet" });
    right.append(table, summary);

    const zs = linspace(-SPAN, SPAN, 601);
    const few = linspace(-SPAN, SPAN, 201); // enough for the prior, which is never narrow
    const tidy = (value, [low, high]) => clamp(Math.round(value * 1e3) / 1e3, low, high);
    const write = (node, text) => {
      if (node.textContent !== text) node.textContent = text;
    };
    const handle = (row, trait, z, height, options) => {
      const [min, max] = LIMITS[trait];
      row.handle(trait, z, height, { value: model.get(trait), min, max, step: 0.01, set: (v) => s.put({ [trait]: tidy(v, LIMITS[trait]) }), ...options });
    };

    function draw() {
      const [decoder, points] = [model.get("decoder"), model.get("points")];
      const at = Object.fromEntries(["x", "mean", "deviation", "noise"].map((name) => [name, model.get(name)]));
      const { decode, back } = DECODERS[decoder];
      const found = solve(decoder, at);
      const boxes = rectangles(decoder, at, points);
      for (const row of rows) row.measure();

      const frame = (row, top) => row.frame({ x: [-SPAN, SPAN], y: [0, top] });
      const before = few.map((z) => normal(z, at.mean, at.deviation));
      const peak = normal(0, 0, at.deviation);
      frame(prior, Math.max(0.6, 1.15 * peak));
      prior.area("area", few, before, { colour: "latent" });
      prior.curve("prior", few, before, { colour: "latent", dash: "2 3" });
      // The width's handle keeps to the side where there is room for it.
      const side = at.mean + at.deviation > SPAN - 0.5 ? -1 : 1;
      handle(prior, "deviation", at.mean + side * at.deviation, normal(1) / at.deviation, {
        label: "Deviation of the prior", colour: "latent", read: (z) => Math.abs(z - model.get("mean")),
      });
      handle(prior, "mean", at.mean, peak, { label: "Mean of the prior", colour: "latent" });
      prior.done();

      const explains = zs.map((z) => Math.exp(logLikelihood(decoder, z, at)));
      frame(likelihood, Math.max(0.6, 1.15 * Math.max(...explains)));
      likelihood.curve("likelihood", zs, explains, { colour: "theta", dash: true });
      const summit = back(Math.max(at.x, decoder === "squares" ? 0 : -Infinity));
      const shoulder = back(at.x + at.noise);
      const height = (z) => Math.exp(logLikelihood(decoder, z, at));
      if (shoulder !== null) {
        handle(likelihood, "noise", shoulder, height(shoulder), {
          label: "Noise", colour: "theta", read: (z) => Math.abs(decode(z) - model.get("x")),
        });
      }
      handle(likelihood, "x", summit, height(summit), { label: "Seen x", colour: "data", read: decode });
      likelihood.text("x-name", summit, height(summit), `x = ${fixed(at.x)}`, { colour: "data", dx: 12, dy: -4 });
      likelihood.done();

      // A product that would be flat is drawn some power of ten as high.
      const logs = zs.map((z) => logJoint(decoder, z, at));
      const top = logs.reduce((a, b) => Math.max(a, b), -Infinity);
      const power = top > Math.log(0.01) ? 0 : Math.ceil(-top / Math.LN10);
      const scaled = logs.map((log) => Math.exp(log + power * Math.LN10));
      const tall = boxes.heights.map((value) => value * 10 ** power);
      frame(product, 1.12 * Math.max(...scaled));
      product.area("area", zs, scaled, { colour: "ink" });
      product.curve("product", zs, scaled, { colour: "ink" });
      const [xs, ys] = [[], []];
      boxes.middles.forEach((z, i) => {
        const edges = [z - boxes.width / 2, z + boxes.width / 2].map((edge) => clamp(edge, -SPAN, SPAN));
        if (edges[0] === edges[1]) return;
        xs.push(edges[0], edges[0], edges[1], edges[1]);
        ys.push(0, tall[i], tall[i], 0);
      });
      product.curve("rectangles", xs, ys, { colour: "ink", width: points > 80 ? 0.6 : 1.2 });
      product.done();

      const after = logs.map((log) => Math.exp(log - found.logEvidence));
      frame(posterior, Math.max(1, 1.12 * Math.max(...after)));
      posterior.area("area", zs, after, { colour: "ink" });
      posterior.curve("prior", few, before, { colour: "latent", dash: "2 3" });
      posterior.curve("posterior", zs, after, { colour: "ink" });
      posterior.done();

      write(prior.words, "what you hold before looking");
      const area = decoder === "straight" ? "1" : fixed(likelihoodArea(decoder, at));
      write(likelihood.words, `how well each z explains x; no density of z (its area: ${area})`);
      const drawn = power ? `, drawn 10${raised(power)} times as high` : "";
      write(product.words, `with the area p(x) = ${spelled(found.logEvidence)}, the evidence${drawn}`);
      write(posterior.words, "what you hold after looking (dotted: before)");

      const off = boxes.logSum - found.logEvidence;
      const percent = 100 * Math.expm1(off);
      const signed = (value, digits) => `${Number(value.toFixed(digits)) > 0 ? "+" : ""}${fixed(value, digits)}`;
      const table = [
        ["the area itself", spelled(found.logEvidence), `${fixed(found.logEvidence, 3)} nats`],
        [`${points} rectangles`, spelled(boxes.logSum), `${fixed(boxes.logSum, 3)} nats`],
        ["off by", `${percent > 9999 ? "> +9999" : signed(percent, 2)} %`, `${signed(off, 3)} nats`],
      ];
      table.forEach((texts, line) => texts.forEach((text, column) => write(lines[line][column], text)));
      write(summary, `posterior: mean ${fixed(found.mean, 3)}, deviation ${fixed(found.deviation, 3)}`);
      s.announce(`The evidence is ${table[0][1]}, ${table[0][2]}; ${points} rectangles give ${table[1][1]}, off by ${table[2][1]}`);
    }

    s.start();
    return s.dispose;
  },
};
