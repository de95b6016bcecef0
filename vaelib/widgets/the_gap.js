// Evidence, bound and what lies between them, for one latent: q is dragged over the true posterior.
import { fixed, shell, tag } from "./lib/shell.js";
import { linspace, LOG_2PI, normal, normalLog } from "./lib/maths.js";
import { chart } from "./lib/chart.js";
import { curveKey } from "./lib/key.js";

// The page's decoders, each with the x that is observed and with places to look for a best q from.
const VARIANCE = 1 / 20;
const MODELS = {
  straight: { decode: (z) => 2 * z, x: 0.5, starts: [[0, 1]] },
  bent: { decode: (z) => Math.tanh(2 * z), x: 0.5, starts: [[0, 1]] },
  "two-humped": { decode: (z) => z * z, x: 1, starts: [[-1, 0.3], [1, 0.3]] },
};
const SPAN = 3; // what is shown of the latent's line
const LIMITS = { mean: [-2, 2], deviation: [0.02, 1.25] };
const DRAWS = linspace(0, 10, 11).map((power) => 2 ** power);
const EULER = 0.5772156649015329;

/** log p(x | z), in nats. */
export function logLikelihood(decoder, z) {
  const { decode, x } = MODELS[decoder];
  return -0.5 * ((x - decode(z)) ** 2 / VARIANCE + LOG_2PI + Math.log(VARIANCE));
}

const logJoint = (decoder, z) => normalLog(z) + logLikelihood(decoder, z);

// Standard normal noise and its weights. The sums below are trapezoid rules over it, exact to rounding for
// smooth functions. It is this fine because the largest of several weights is hardly smooth where q is poor:
// then a bound of -100 nats is right to 0.001, and all that are worth looking at to far more.
const FINE = 0.01;
const NOISE = linspace(-8, 8, 16 / FINE + 1);
const WEIGHTS = NOISE.map((noise) => FINE * normal(noise));
// A coarser one, as vaelib.symbolic.one_latent has it, for the search.
const COARSE = 1 / 8;
const FEW = linspace(-9, 9, 18 / COARSE + 1);
const FEW_WEIGHTS = FEW.map((noise) => COARSE * normal(noise));

/** log p(x), and mean and deviation of p(z | x): the trapezoid rule over the line. */
export function posteriorOf(decoder) {
  const step = 1 / 128;
  const places = linspace(-12, 12, 24 / step + 1);
  const masses = places.map((z) => step * Math.exp(logJoint(decoder, z)));
  const total = (power, centre) => masses.reduce((sum, mass, i) => sum + mass * (places[i] - centre) ** power, 0);
  const evidence = total(0, 0);
  const mean = total(1, 0) / evidence;
  return { logEvidence: Math.log(evidence), mean, deviation: Math.sqrt(total(2, mean) / evidence) };
}

/** The ELBO: E_q log p(x | z) less the rate, which has a closed form. */
export function elbo(decoder, mean, deviation) {
  let reconstruction = 0;
  for (let i = 0; i < NOISE.length; i++) reconstruction += WEIGHTS[i] * logLikelihood(decoder, mean + deviation * NOISE[i]);
  return reconstruction - 0.5 * (mean * mean + deviation * deviation - 1) + Math.log(deviation);
}

/** log p(z | x) / q(z) at the nodes of the noise. */
export function logRatios(decoder, logEvidence, mean, deviation) {
  return NOISE.map((noise) => {
    const z = mean + deviation * noise;
    return logJoint(decoder, z) - logEvidence - normalLog(z, mean, deviation);
  });
}

/** KL(q || p(z | x)) from its definition: nothing of the ELBO enters, so that the two adding up is a finding. */
export const gapOf = (ratios) => -ratios.reduce((sum, ratio, i) => sum + WEIGHTS[i] * ratio, 0);

/**
 * E log (1/k) sum_i e^(l_i) for k independent draws of l: what k importance weights bound, on average.
 *
 * No draws are needed. For any S > 0, log S is the integral of (e^-t - e^(-t S)) dt / t, and the expectation of
 * e^(-t S) is a k-th power, phi(t)^k with phi(t) = E exp(-t e^l): one sum over the nodes. With t = e^u,
 *
 *   E log S = integral of exp(-e^u) - phi(e^u)^k du = -gamma - a - (integral of phi^k from a),
 *
 * for an a below which phi is 1. The integrand is smooth in u, so equal steps of 1/2 are enough (the rule's
 * error is about e^(-pi^2 / step)). At a step u a node counts as one that is 0 (u far below -l) or 1 (far above);
 * only the window between is computed, and a stretch of u without any window is added at once.
 */
export function boundOf(ratios, k, weights = WEIGHTS) {
  const [step, low, high] = [0.5, 25, 3.75];
  const width = Math.ceil((low + high) / step);
  const grow = Math.exp(step);
  // By -l, upwards: sorted as numbers that carry their index behind 12 binary digits of the place.
  const count = ratios.length;
  const keys = ratios.map((ratio, i) => Math.round(-ratio * 4096) * 8192 + i);
  keys.sort();
  const { part, full } = roomFor(count * (width + 1) + 1);
  const jumps = []; // [cell, steps skipped before it]
  let [begin, end] = [0, 0]; // the window's first step as a whole number, and the cells in use
  let offset = 0; // step less cell
  let first = 0;
  for (let n = 0; n < count; n++) {
    const i = ((keys[n] % 8192) + 8192) % 8192;
    const from = Math.ceil((-ratios[i] - low) / step);
    if (n === 0) first = offset = from - 1; // one to spare: the order is that of rounded numbers
    if (from - offset > end) {
      jumps.push([end, from - offset - end]);
      offset = from - end;
    }
    begin = from - offset;
    while (end <= begin + width) part[end] = full[end++] = 0;
    let size = Math.exp(from * step + ratios[i]);
    const weight = weights[i];
    for (let cell = begin; cell < begin + width; cell++) {
      // 1 - exp(-size), without loss where it is small.
      const passed = size < 0.02 ? size * (1 - (size / 2) * (1 - (size / 3) * (1 - size / 4))) : 1 - Math.exp(-size);
      part[cell] += weight * passed;
      size *= grow;
    }
    full[begin + width] += weight;
  }
  let sum = 0;
  let whole = 0;
  let jump = 0;
  const power = (gone) => (gone < 1 ? Math.exp(k * Math.log1p(-gone)) : 0);
  for (let cell = 0; cell < end; cell++) {
    if (jump < jumps.length && jumps[jump][0] === cell) {
      sum += jumps[jump++][1] * power(whole);
    }
    whole += full[cell];
    sum += power(whole + part[cell]);
  }
  return -EULER - (first - 0.5) * step - step * sum - Math.log(k);
}

// Kept from frame to frame.
let room = { part: [], full: [] };
function roomFor(cells) {
  if (room.part.length < cells) room = { part: new Float64Array(cells), full: new Float64Array(cells) };
  return room;
}

/** Slopes of the ELBO in the mean and in the deviation's logarithm, by those of q's density. */
function slopes(decoder, mean, deviation) {
  let [a, b] = [0, 1];
  for (let i = 0; i < FEW.length; i++) {
    const term = FEW_WEIGHTS[i] * logJoint(decoder, mean + deviation * FEW[i]);
    a += FEW[i] * term;
    b += (FEW[i] ** 2 - 1) * term;
  }
  return [a / deviation, b];
}

/** The best normal q near a start: climbs along the natural gradient, and halves a step that would lose. */
export function bestNear(decoder, [mean, deviation]) {
  const height = (m, s) => {
    let sum = 0;
    for (let i = 0; i < FEW.length; i++) sum += FEW_WEIGHTS[i] * logJoint(decoder, m + s * FEW[i]);
    return sum + Math.log(s);
  };
  let [value, size] = [height(mean, deviation), 1];
  for (let turn = 0; turn < 500; turn++) {
    const [a, b] = slopes(decoder, mean, deviation);
    if (Math.max(Math.abs(a) * deviation, Math.abs(b)) < 1e-8) break;
    const there = [mean + size * deviation ** 2 * a, deviation * Math.exp(Math.max(-1, Math.min(1, (size * b) / 2)))];
    const next = height(...there);
    if (next > value - 1e-13 * (1 + Math.abs(value))) {
      [mean, deviation] = there;
      [value, size] = [next, Math.min(1, 1.5 * size)];
    } else {
      size /= 2;
    }
  }
  return { mean, deviation };
}

/** All that depends on the decoder alone. */
const solved = {};
function solve(decoder) {
  if (!solved[decoder]) {
    const posterior = posteriorOf(decoder);
    const zs = linspace(-SPAN, SPAN, 401);
    const curve = zs.map((z) => Math.exp(logJoint(decoder, z) - posterior.logEvidence));
    const best = MODELS[decoder].starts.map((start) => bestNear(decoder, start));
    const top = 1.15 * Math.max(...curve, normal(0) / best[0].deviation); // of the axis upwards
    solved[decoder] = { ...posterior, zs, curve, best, top, known: new Map() };
  }
  return solved[decoder];
}

/** The numbers of one q: log p(x), ELBO, KL and the bound of k draws, in nats. */
export function numbers(decoder, mean, deviation, k) {
  const { logEvidence } = solve(decoder);
  const ratios = logRatios(decoder, logEvidence, mean, deviation);
  const bound = elbo(decoder, mean, deviation);
  return { logEvidence, elbo: bound, kl: gapOf(ratios), bound: k === 1 ? bound : logEvidence + boundOf(ratios, k) };
}

/** The same, kept: for the few q that stay while others are dragged. */
function remembered(decoder, { mean, deviation }, k) {
  const { known } = solve(decoder);
  const name = [mean, deviation, k].join();
  if (!known.has(name)) known.set(name, numbers(decoder, mean, deviation, k));
  return known.get(name);
}

/** How many nats the bars show: a round number of which the gap fills three quarters at most. */
const spanFor = (gap) => [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].find((span) => gap <= 0.75 * span) ?? gap / 0.75;

const subscript = (k) => String(k).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);

export default {
  async render({ model, el }) {
    const s = shell(model, el, {
      title: "The gap",
      hint: "Drag the two handles of q: however you place it, ELBO and KL together make log p(x). Then raise k.",
      traits: ["decoder", "mean", "deviation", "k", "compare"],
      draw,
    });
    const tidy = (value, [low, high]) => Math.min(high, Math.max(low, Math.round(value * 1e4) / 1e4));
    const place = (q) => s.put({ mean: tidy(q.mean, LIMITS.mean), deviation: tidy(q.deviation, LIMITS.deviation) });

    s.choice(s.body, "decoder", {
      label: "Decoder",
      options: [["straight", "straight, 2z"], ["bent", "bent, tanh 2z"], ["two-humped", "two-humped, z²"]],
    });
    const c = chart(s.body, { label: "Densities over the latent z", height: 250, xLabel: "latent z", yLabel: "density" });
    const named = curveKey(s.body, [
      { name: "true posterior p(z | x)", colour: "theta" },
      { name: "your q(z)", colour: "phi", fill: true },
      { name: "prior p(z)", colour: "latent", dash: "2 3", width: 1.5 },
      { name: "best q", colour: "phi", dash: true },
      { name: "moment match", colour: "ink", dash: "9 3 2 3" },
    ]);

    const bars = chart(s.body, {
      label: "Evidence and bounds", height: 166, yNumbers: false, margin: { left: 10, right: 14, top: 2 },
      xLabel: "nats (the bars begin at the left edge, not at 0)",
    });
    const controls = tag("div", { class: "vw-grow" });
    const actions = tag("div", { class: "vw-grow" });
    s.body.append(tag("div", { class: "vw-row" }, controls, actions));
    s.slider(controls, "mean", { label: "mean", min: LIMITS.mean[0], max: LIMITS.mean[1], step: 0.01, colour: "phi", text: (v) => fixed(v, 3) });
    s.slider(controls, "deviation", { label: "deviation", min: LIMITS.deviation[0], max: LIMITS.deviation[1], step: 0.01, colour: "phi", text: (v) => fixed(v, 3) });
    s.slider(controls, "k", { label: "draws k", stops: Array.from(DRAWS), colour: "elbo", text: String });
    const buttons = tag("div", { class: "vw-tools", style: "flex-wrap: wrap; margin: 0.3rem 0" });
    actions.append(tag("div", { class: "vw-quiet" }, "Put q at"), buttons);
    const best = (index) => place(solve(model.get("decoder")).best[index]);
    const one = s.button(buttons, "the best q", () => best(0));
    const two = ["left", "right"].map((side, index) => s.button(buttons, `the ${side} best q`, () => best(index)));
    s.button(buttons, "the moment match", () => place(solve(model.get("decoder"))));
    const both = s.button(actions, "Show both beside yours", () => s.put({ compare: !model.get("compare") }));

    const table = tag("table", { class: "vw-terms" });
    const rows = ["", "mean", "deviation", "ELBO", "KL", "L"].map((name) => {
      const head = tag(name ? "th" : "td", name ? { scope: "row" } : {}, name);
      const cells = ["your q", "best q", "moment match"].map((whose) => (name ? tag("td") : tag("th", { scope: "col", style: "padding: 0 0 0 1rem; text-align: right" }, whose)));
      table.append(tag("tr", {}, head, ...cells));
      return { head, cells };
    });
    s.body.append(table);

    function draw() {
      const [decoder, k, compare] = [model.get("decoder"), model.get("k"), model.get("compare")];
      const q = { mean: model.get("mean"), deviation: model.get("deviation") };
      const at = solve(decoder);
      const found = numbers(decoder, q.mean, q.deviation, k);

      c.measure();
      bars.measure();
      // --- densities
      const shape = ({ mean, deviation }) => {
        const zs = linspace(Math.max(-SPAN, mean - 5 * deviation), Math.min(SPAN, mean + 5 * deviation), 161);
        return [zs, zs.map((z) => normal(z, mean, deviation))];
      };
      const peak = normal(q.mean, q.mean, q.deviation);
      c.frame({ x: [-SPAN, SPAN], y: [0, Math.max(at.top, 1.08 * peak)] });
      c.curve("prior", at.zs, at.zs.map((z) => normal(z)), { colour: "latent", dash: "2 3", width: 1.5 });
      if (compare) {
        at.best.forEach((one, index) => c.curve(`best-${index}`, ...shape(one), { colour: "phi", dash: true }));
        c.curve("moments", ...shape(at), { colour: "ink", dash: "9 3 2 3" });
      }
      c.area("q-area", ...shape(q), { colour: "phi" });
      c.curve("posterior", at.zs, at.curve, { colour: "theta" });
      c.curve("q", ...shape(q), { colour: "phi" });
      // The width's handle keeps to the side where there is room for it.
      const side = q.mean + q.deviation > SPAN - 0.05 ? -1 : 1;
      c.handle("width", q.mean + side * q.deviation, normal(1) / q.deviation, {
        label: "Deviation of q", value: q.deviation, min: LIMITS.deviation[0], max: LIMITS.deviation[1], step: 0.01, colour: "phi",
        read: (z) => Math.abs(z - model.get("mean")), text: (v) => `deviation ${fixed(v, 3)}`,
        set: (v) => s.put({ deviation: tidy(v, LIMITS.deviation) }),
      });
      c.handle("mean", q.mean, peak, {
        label: "Mean of q", value: q.mean, min: LIMITS.mean[0], max: LIMITS.mean[1], step: 0.01, colour: "phi",
        text: (v) => `mean ${fixed(v, 3)}`, set: (v) => s.put({ mean: tidy(v, LIMITS.mean) }),
      });
      c.done();
      named[3].hidden = named[4].hidden = !compare;

      // --- bars
      const span = spanFor(found.kl);
      const [low, top] = [found.logEvidence - span, found.logEvidence];
      const nats = (value) => fixed(value, 3);
      bars.frame({ x: [low, top + 0.02 * span], y: [0, 5.8] });
      const row = (key, level, left, cut, right, colour) => {
        bars.bar(`${key}-bar`, low, level, cut, level + 0.9, { colour });
        bars.text(`${key}-text`, low, level + 1.05, left, { colour, dx: 0 });
        if (!right) return;
        bars.bar(`${key}-rest`, cut, level, top, level + 0.9, { colour: "phi", opacity: key === "elbo" ? 1 : 0.5 });
        bars.text(`${key}-rest-text`, top, level + 1.05, right, { colour: "phi", anchor: "end" });
      };
      row("evidence", 4, `log p(x) = ${nats(top)}`, top, "", "theta");
      row("elbo", 2, `ELBO = ${nats(found.elbo)}`, found.elbo, `+ KL(q ‖ p(z | x)) = ${nats(found.kl)}`, "elbo");
      row("bound", 0, `L${subscript(k)} = ${k === 1 ? "ELBO = " : ""}${nats(found.bound)}`, found.bound, `still missing ${nats(top - found.bound)}`, "elbo");
      bars.line("level", top, 0, top, 5, { colour: "theta", dash: true, width: 1.5 });
      bars.done();
      const words = `log p(x) is ${nats(top)} nats, the ELBO ${nats(found.elbo)}, the KL ${nats(found.kl)}; with k = ${k} draws the bound is ${nats(found.bound)}`;
      bars.svg.setAttribute("aria-label", `Evidence and bounds: ${words}`);

      // --- the three guesses side by side
      table.hidden = !compare;
      if (compare) {
        // Of two best q, the one that is nearer.
        const near = at.best.reduce((a, b) => (Math.abs(b.mean - q.mean) < Math.abs(a.mean - q.mean) ? b : a));
        const columns = [[q, found], ...[near, at].map((one) => [one, remembered(decoder, one, k)])];
        rows[5].head.textContent = `L${subscript(k)}`;
        columns.forEach(([guess, worth], index) => {
          [guess.mean, guess.deviation, worth.elbo, worth.kl, worth.bound].forEach((value, line) => {
            rows[line + 1].cells[index].textContent = nats(value);
          });
        });
      }
      one.hidden = at.best.length > 1;
      for (const node of two) node.hidden = at.best.length === 1;
      both.setAttribute("aria-pressed", compare);
      s.announce(words);
    }

    s.start();
    return s.dispose;
  },
};
