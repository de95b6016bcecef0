// The eigenvalues of data as a landscape, flooded up to the noise variance: what stays dry is what a linear VAE codes.
import { clamp, fixed, shell, tag } from "./lib/shell.js";
import { linspace } from "./lib/maths.js";
import { chart, ticks } from "./lib/chart.js";
import { curveKey } from "./lib/key.js";

/** Eigenvalues, the largest first, with running sums of them and of their logarithms: the first k in entry k. */
export function landscape(eigenvalues) {
  const [sums, logs] = [[0], [0]];
  for (const value of eigenvalues) {
    sums.push(sums[sums.length - 1] + value);
    logs.push(logs[logs.length - 1] + Math.log(value));
  }
  return { eigenvalues, sums, logs, size: eigenvalues.length, total: sums[eigenvalues.length] };
}

/** What the best linear VAE with J latents and this noise variance reaches: all in nats for an image, but `error`. */
export function solve({ eigenvalues, sums, logs, size, total }, variance, latents) {
  let above = 0;
  while (above < size && eigenvalues[above] > variance) above++;
  const active = Math.min(above, latents, size);
  const rate = active ? (logs[active] - active * Math.log(variance)) / 2 : 0;
  const error = active * variance + (total - sums[active]);
  const distortion = (size * Math.log(2 * Math.PI * variance) + error / variance) / 2;
  return { above, active, rate, error, distortion, evidence: -rate - distortion };
}

/** One direction: what a latent for it carries, what is left as error, its decoder's length, its encoder's variance. */
export function direction(eigenvalue, variance, alive) {
  if (!alive || eigenvalue <= variance) return { rate: 0, error: eigenvalue, length: 0, spread: 1 };
  const ratio = eigenvalue / variance;
  return { rate: Math.log(ratio) / 2, error: variance, length: eigenvalue - variance, spread: 1 / ratio };
}

/** The variance of maximum likelihood: the mean of the eigenvalues that no latent takes. Needs one of them. */
export const bestVariance = ({ sums, size, total }, latents) =>
  latents < size ? Math.max(0, total - sums[latents]) / (size - latents) : NaN;

const [LOWEST, HIGHEST] = [1e-3, 1e3];
const DECADES = [-3, -2, -1, 0, 1, 2, 3].map((power) => [power, (10 ** power).toFixed(Math.max(0, -power))]);

/** A variance to three digits, as the slider and the handles set it. */
export const neat = (variance) =>
  clamp(Math.round(Number(variance.toPrecision(3)) * 1e4) / 1e4, LOWEST, HIGHEST);

/** A variance to read. */
export const spelt = (variance) => fixed(variance, variance < 0.1 ? 4 : variance < 10 ? 3 : variance < 100 ? 2 : 1);

const STEPS = Array.from(linspace(-3, 3, 121), (power) => neat(10 ** power));

export default {
  async render({ model, el }) {
    const bytes = model.get("spectrum");
    // A copy, since numbers of eight bytes have to begin at a multiple of eight.
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    const land = landscape(new Float64Array(buffer));
    const write = (node, text) => node.textContent !== text && (node.textContent = text);
    const { eigenvalues, size } = land;
    const s = shell(model, el, {
      title: "Water level",
      hint:
        "Drag the water up and down: a latent lives only where its direction of the data rises above the decoder’s " +
        "noise σ², and on the logarithmic axis its rate is half of the height that stays dry.",
      traits: ["variance", "latent_dim", "unit", "bars", "axis"],
      draw,
    });

    const above = tag("div", { class: "vw-row", style: "row-gap: 0" });
    s.choice(above, "axis", { label: "Axis", options: [["log", "logarithmic"], ["linear", "linear"]] });
    const counts = [20, 40, 120].filter((count) => count < size).concat(size);
    const options = counts.map((count) => [count, count === size ? `all ${size}` : String(count)]);
    s.choice(above, "bars", { label: "Directions", options });
    s.body.append(above);
    const titled = { label: "The eigenvalues of the data, and the water", height: 300 };
    const top = chart(s.body, { ...titled, xLabel: "direction of the data", yLabel: "variance" });
    curveKey(s.body, [
      { name: "above the water: what the code carries", colour: "phi", width: 9 },
      { name: "what is left as error", colour: "theta", width: 9 },
    ]);
    const caption = tag("p", { class: "vw-quiet vw-caption" });
    s.body.append(caption);

    const sliders = tag("div", { class: "vw-row", style: "row-gap: 0" });
    const halves = [tag("div", { class: "vw-grow" }), tag("div", { class: "vw-grow" })];
    s.slider(halves[0], "variance", { label: "σ², water", stops: STEPS, text: spelt });
    const some = [...Array(20).keys(), 24, 29, 39, 49, 74, 99, 149, 199, 299, 399, 499, 699].map((k) => k + 1);
    const stops = some.filter((count) => count < size).concat(size);
    s.slider(halves[1], "latent_dim", { label: "J, latents", stops, text: String });
    sliders.append(...halves);
    s.body.append(sliders);

    const places = tag("div", { style: "display: flex; flex-wrap: wrap; gap: 0.4rem; margin: 0.5rem 0 0.9rem" });
    s.body.append(places);
    const go = (text, variance) => s.button(places, text, () => s.put({ variance: variance() }));
    go("half the summed squared error: σ² = 1", () => 1);
    const average = clamp(size / 2, LOWEST, HIGHEST);
    go(`mean over pixels: σ² = ${Number(average.toPrecision(4))}`, () => average);
    const best = go("", () => bestVariance(land, model.get("latent_dim")));

    const lower = tag("div", { class: "vw-row" });
    const left = tag("div", { class: "vw-grow", style: "flex: 1 1 300px" });
    const right = tag("div", { class: "vw-grow", style: "flex: 1 1 300px" });
    lower.append(left, right);
    s.body.append(lower);
    const table = tag("table", { class: "vw-terms", style: "width: 100%" });
    const body = tag("tbody");
    table.append(body);
    const rows = {};
    for (const [key, name, small, colour] of [
      ["active", "active units", "directions that a latent carries", null],
      ["rate", "rate", "½ Σ log λ/σ² over the active ones", "phi"],
      ["distortion", "distortion", "D/2 log 2πσ² + error / 2σ²", "theta"],
      ["evidence", "log evidence", "= ELBO = −(rate + distortion)", "elbo"],
      ["error", "squared error", "of the data’s whole variance", null],
    ]) {
      const strong = tag("span", { class: colour && `vw-${colour}`, style: "font-weight: 600" }, name);
      const quiet = tag("span", { style: "color: var(--vw-quiet); display: block; font-size: 0.78rem" }, small);
      rows[key] = tag("td", { "data-row": key, style: "white-space: nowrap" });
      body.append(tag("tr", {}, tag("th", { scope: "row", style: "line-height: 1.2" }, strong, quiet), rows[key]));
    }
    left.append(table);
    const one = tag("p", { class: "vw-quiet", "data-row": "unit", style: "margin: 0.4rem 0 0" });
    left.append(one);
    const heading = tag("p", { class: "vw-elbo", style: "font-size: 0.88rem; font-weight: 600; margin: 0 0 0.2rem" });
    right.append(heading);
    write(heading, "log evidence, nats for an image");
    const named = { label: "The log evidence against the water level", xLabel: "σ², the water level" };
    const below = chart(right, { ...named, height: 250, margin: { left: 50 } });

    // On the linear axis the water may rise above every bar; the axis stays while the water itself is dragged.
    let held = null;
    top.svg.addEventListener("pointerdown", () => (held = ceiling()));
    for (const name of ["pointerup", "pointercancel"]) {
      top.svg.addEventListener(name, () => {
        held = null;
        s.redraw();
      });
    }
    const ceiling = () => held ?? 1.15 * Math.max(eigenvalues[0], model.get("variance"));

    function drawLandscape(log, variance, active, unit, count) {
      const bottom = log ? -3 : 0;
      const at = (value) => (log ? Math.log10(clamp(value, LOWEST, HIGHEST)) : value);
      const y = log ? [-3, 3] : [0, ceiling()];
      const { step, found } = ticks(0.5, count + 0.5, 8);
      const whole = step < 1 ? Array.from({ length: count }, (_, k) => k + 1) : found;
      const xTicks = whole.map((v) => [v, String(v)]);
      top.frame({ x: [0.5, count + 0.5], y, xTicks, yTicks: log ? DECADES : undefined });
      const surface = at(variance);
      const end = count + 0.5;
      top.bar("water", 0.5, bottom, end, Math.min(surface, y[1]), { colour: "quiet", opacity: 0.14 });
      const half = count > 150 ? 0.5 : 0.4;
      const boxes = { carried: [], noise: [], lost: [] };
      for (let k = 0; k < count; k++) {
        const [from, to, height] = [k + 1 - half, k + 1 + half, at(eigenvalues[k])];
        if (k < active) {
          boxes.carried.push([from, surface, to, height]);
          boxes.noise.push([from, bottom, to, surface]);
        } else boxes.lost.push([from, bottom, to, height]);
      }
      top.bars("noise", boxes.noise, { colour: "theta", opacity: 0.8 });
      top.bars("lost", boxes.lost, { colour: "theta", opacity: 0.5 });
      top.bars("carried", boxes.carried, { colour: "phi" });
      top.line("surface", 0.5, Math.min(surface, y[1]), end, Math.min(surface, y[1]), { colour: "ink", width: 2 });
      const shore = active + 0.5;
      if (active < count) top.line("shore", shore, bottom, shore, y[1], { colour: "quiet", dash: "3 3", width: 1 });
      // Each side of the shore says what it is, as far as there is room for the words.
      const share = active / count;
      const [anchor, dx] = share > 0.25 ? ["end", -6] : ["start", 6];
      const units = `${share > 0.25 ? "" : "← "}${active} active`;
      top.text("active", Math.min(shore, end), y[1], units, { colour: "phi", anchor, dx, dy: 13 });
      if (share > 0.25 && share < 0.7) {
        const why = eigenvalues[active] > variance ? "no latent left" : "under water";
        top.text("inactive", shore, y[1], why, { colour: "theta", dx: 6, dy: 13 });
      }
      const edge = top.x(top.sx(end) - 16);
      top.text("level", edge, Math.min(surface, y[1]), `σ² = ${spelt(variance)}`, { anchor: "end", dx: -16, dy: -7 });

      const place = clamp(unit, 1, count);
      top.handle("unit", place, at(eigenvalues[place - 1]), {
        label: "Direction", value: place, min: 1, max: count, step: 1, colour: "data",
        text: (k) => `${k}, eigenvalue ${spelt(eigenvalues[k - 1])}`,
        set: (k) => s.put({ unit: clamp(Math.round(k), 1, count) }),
      });
      const range = log ? { min: -3, max: 3 } : { min: LOWEST, max: Math.min(HIGHEST, y[1]) };
      top.handle("level-handle", edge, Math.min(surface, y[1]), {
        label: "Water level", value: log ? Math.log10(variance) : variance, ...range, step: 0.05, along: "y",
        text: () => `σ² = ${spelt(variance)}`,
        set: (v) => s.put({ variance: neat(log ? 10 ** v : v) }),
      });
      top.done();
    }

    const levels = linspace(-3, 3, 241);
    const cached = { latents: 0 };
    /** The log evidence over all levels, from where it comes up into the chart. */
    function curve(latents) {
      if (cached.latents === latents) return cached;
      const values = Array.from(levels, (v) => solve(land, 10 ** v, latents).evidence);
      const low = values[values.length - 1];
      const high = Math.max(...values);
      const first = values.findIndex((value) => value >= low);
      const [xs, ys] = [[...levels.slice(first)], values.slice(first)];
      if (first > 0) {
        const share = (low - values[first - 1]) / (values[first] - values[first - 1]);
        xs.unshift(levels[first - 1] + share * (levels[first] - levels[first - 1]));
        ys.unshift(low);
      }
      return Object.assign(cached, { latents, xs, ys, low, high: high + 0.1 * (high - low) });
    }

    function drawEvidence(variance, latents, evidence, top) {
      const { xs, ys, low, high } = curve(latents);
      below.frame({ x: [-3, 3], y: [low, high], xTicks: DECADES });
      if (Number.isFinite(top)) {
        below.line("best", Math.log10(top), low, Math.log10(top), high, { colour: "quiet", dash: "3 3", width: 1 });
        below.text("best-name", Math.log10(top), high, "best", { colour: "quiet", dx: 5, dy: 10 });
      }
      below.curve("evidence", xs, ys, { colour: "elbo" });
      below.handle("here", Math.log10(variance), Math.max(evidence, low), {
        label: "Water level, under the evidence", colour: "elbo",
        value: Math.log10(variance), min: -3, max: 3, step: 0.05,
        text: () => `σ² = ${spelt(variance)}, log evidence ${fixed(evidence)} nats`,
        set: (v) => s.put({ variance: neat(10 ** v) }),
      });
      below.done();
    }

    function state(active, over, latents) {
      if (over === 0) {
        return "All land is under water: no latent carries anything, and every reconstruction is the mean.";
      }
      const many = (count, one, more) => (count === 1 ? `1 ${one}` : `${count} ${more}`);
      if (over > active) {
        const out = many(over - active, "more direction rises", "more directions rise");
        const all = latents === 1 ? "The only latent is" : `All ${latents} latents are`;
        return `${all} at work, and ${out} above the water, with no latent to carry what is dry: it is all error.`;
      }
      const dead = latents - active;
      const dry = many(active, "direction rises", "directions rise");
      if (!dead) return `${dry} above the water: just as many as there are latents.`;
      return `${dry} above the water; ${many(dead, "latent is", "latents are")} dead: the exact evidence has no use for more.`;
    }

    function draw() {
      const [variance, latents] = [model.get("variance"), Math.min(model.get("latent_dim"), size)];
      const [log, count] = [model.get("axis") === "log", Math.min(model.get("bars"), size)];
      const found = solve(land, variance, latents);
      const { above: over, active, rate, distortion, evidence, error } = found;
      const optimum = bestVariance(land, latents);
      const reachable = optimum >= LOWEST && optimum <= HIGHEST;
      top.measure();
      below.measure();
      drawLandscape(log, variance, active, model.get("unit"), count);
      drawEvidence(variance, latents, evidence, reachable ? optimum : NaN);

      write(caption, state(active, over, latents));
      write(rows.active, `${active} of ${latents}`);
      write(rows.rate, `${fixed(rate, 3)} nats`);
      write(rows.distortion, `${fixed(distortion, 3)} nats`);
      write(rows.evidence, `${fixed(evidence, 3)} nats`);
      write(rows.error, `${fixed(error, 3)} of ${fixed(land.total, 3)}`);
      const place = clamp(model.get("unit"), 1, count);
      const eigenvalue = eigenvalues[place - 1];
      const of = direction(eigenvalue, variance, place <= latents);
      const start = `Direction ${place}: λ = ${spelt(eigenvalue)}. `;
      if (of.rate > 0) {
        const rest = `‖w‖² = λ − σ² = ${spelt(of.length)}, and q’s variance is σ²/λ = ${fixed(of.spread, 3)}.`;
        write(one, `${start}Rate ½ log λ/σ² = ${fixed(of.rate, 3)} nats, error σ² = ${spelt(of.error)}; ${rest}`);
      } else if (eigenvalue > variance) {
        write(one, `${start}It is above the water, but no latent is left for it: all of λ is error.`);
      } else {
        const rest = "the decoder ignores this latent, q is the prior, and all of λ is error.";
        write(one, `${start}Under water: rate 0, ‖w‖² = 0, ${place > latents ? "and all of λ is error." : rest}`);
      }
      write(best, reachable ? `best for J = ${latents}: σ² = ${spelt(optimum)}` : `no best σ² for J = ${latents} within reach`);
      best.disabled = !reachable;
      const told = `rate ${fixed(rate)}, distortion ${fixed(distortion)}, log evidence ${fixed(evidence)} nats`;
      s.announce(`σ² ${spelt(variance)}: ${active} active, ${told}`);
    }

    s.start();
    return s.dispose;
  },
};
