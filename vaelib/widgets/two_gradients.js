// One gradient of an expectation, estimated in two ways from the same draws: how far each estimate scatters.
import { calm, clamp, fixed, shell, significant, tag } from "./lib/shell.js";
import { chart } from "./lib/chart.js";
import { linspace, normal, normals } from "./lib/maths.js";

export const MOST = 20000; // draws
const BINS = 81; // an odd number: the true gradient stands in the middle of a bin
const STEPS = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
const DRAWS = [1, 10, 100, 1000, 10000].flatMap((power) => STEPS.map((step) => step * power)).filter((n) => n % 1 === 0 && n <= MOST);
const EACH = [1, 2, 5, 10, 20, 50, 100];
const SPAN = 4; // of the picture of f

const FUNCTIONS = {
  square: { name: "z²", slopeName: "2z", value: (z) => z * z, slope: (z) => 2 * z, limits: [-4.5, 11] },
  sine: {
    name: "z² + sin z", slopeName: "2z + cos z", limits: [-4.5, 11],
    value: (z) => z * z + Math.sin(z), slope: (z) => 2 * z + Math.cos(z),
  },
  wave: {
    name: "cos ωz", slopeName: "−ω sin ωz", limits: [-2.1, 1.3],
    value: (z, w) => Math.cos(w * z), slope: (z, w) => -w * Math.sin(w * z),
  },
};

// Means over standard normal noise by the trapezoid rule: for functions as smooth as these, times a bell that
// has died out at both ends, its error is rounding.
const NODES = linspace(-12, 12, 385);
const WEIGHTS = NODES.map((e) => normal(e) / 16);
function mean(values) {
  let sum = 0;
  for (let k = 0; k < NODES.length; k++) sum += WEIGHTS[k] * values[k];
  return sum;
}
function spread(values) {
  const middle = mean(values);
  return mean(values.map((v) => (v - middle) ** 2));
}

/**
 * What is known of one draw of each estimator of d/dmu E[f(mu + sigma epsilon)]:
 * (f(z) - c) epsilon / sigma for the score function, f'(z) for the path.
 */
export function exact({ f, frequency, mean: mu, deviation, baseline }) {
  const { value, slope } = FUNCTIONS[f];
  const heights = NODES.map((e) => value(mu + deviation * e, frequency));
  const slopes = NODES.map((e) => slope(mu + deviation * e, frequency));
  // The best constant weighs f with the squared score: c = E[f s^2] / E[s^2].
  const c = baseline === "none" ? 0 : mean(baseline === "mean" ? heights : heights.map((v, k) => v * NODES[k] ** 2));
  const score = (constant) => spread(heights.map((v, k) => ((v - constant) * NODES[k]) / deviation));
  return { gradient: mean(slopes), baseline: c, score: score(c), scoreAlone: score(0), pathwise: spread(slopes) };
}

/** The page's formulas for these variances, where it has some. */
export function formulas({ f, mean: mu, baseline }) {
  if (f === "square") {
    const score = { none: "μ⁴/σ² + 14μ² + 15σ²", mean: "8μ² + 10σ²", best: "8μ² + 6σ²" }[baseline];
    return { score, pathwise: "4σ²" };
  }
  const waves = f === "wave" && mu === 0;
  return {
    score: waves && baseline === "none" ? "(1 + (1 − 4ω²σ²) exp(−2ω²σ²)) / (2σ²)" : "an integral over ε",
    pathwise: waves ? "ω² (1 − exp(−2ω²σ²)) / 2" : "an integral over ε",
  };
}

const room = (length) => ({ score: new Float64Array(length), pathwise: new Float64Array(length) });

/** One draw of each estimator from each number of the noise, written into `out`. */
export function draws({ f, frequency, mean: mu, deviation }, c, noise, out = room(noise.length)) {
  const { value, slope } = FUNCTIONS[f];
  const { score, pathwise } = out;
  for (let k = 0; k < noise.length; k++) {
    const z = mu + deviation * noise[k];
    score[k] = ((value(z, frequency) - c) * noise[k]) / deviation;
    pathwise[k] = slope(z, frequency);
  }
  return out;
}

/** The first 20,000 numbers of the noise that a seed names. */
export function noiseOf(seed) {
  const next = normals(seed);
  return Float64Array.from({ length: MOST }, next);
}

/** Means of `size` draws at a time. */
export function estimates(values, size) {
  if (size === 1) return values;
  const out = new Float64Array(Math.floor(values.length / size));
  for (let k = 0; k < out.length; k++) {
    let sum = 0;
    for (let j = k * size; j < (k + 1) * size; j++) sum += values[j];
    out[k] = sum / size;
  }
  return out;
}

/** Mean and variance of the first `n` values, each with its standard error. */
export function measured(values, n) {
  let sum = 0;
  for (let k = 0; k < n; k++) sum += values[k];
  const middle = sum / n;
  let second = 0;
  let fourth = 0;
  for (let k = 0; k < n; k++) {
    const square = (values[k] - middle) ** 2;
    second += square;
    fourth += square * square;
  }
  const variance = second / (n - 1);
  return {
    mean: middle, error: Math.sqrt(variance / n),
    variance, varianceError: Math.sqrt(Math.max(0, fourth / n - variance ** 2) / n),
  };
}

/** Counts of values in equal bins; it keeps them while the number of values moves up and down. */
function histogram(values, low, high) {
  // Entry 0 is for what lies below, the last one for what lies above.
  const places = new Uint8Array(values.length);
  const scale = BINS / (high - low);
  for (let k = 0; k < values.length; k++) {
    const place = (values[k] - low) * scale;
    places[k] = place < 0 ? 0 : place >= BINS ? BINS + 1 : 1 + Math.floor(place);
  }
  const counts = new Uint32Array(BINS + 2);
  let n = 0;
  return (wanted) => {
    while (n < wanted) counts[places[n++]]++;
    while (n > wanted) counts[places[--n]]--;
    return counts;
  };
}

/** A measured number with its standard error: both to the error's second digit. */
function withError(value, error) {
  if (!Number.isFinite(error)) return significant(value);
  const places = error > 0 ? clamp(1 - Math.floor(Math.log10(error)), 0, 8) : 6;
  return `${fixed(value, places)} ± ${fixed(error, places)}`;
}
const whole = (value) => Math.round(value).toLocaleString("en");

/** The round number to end an axis of counts with: 1, 2 or 5 times a power of ten. */
export function top(count) {
  const power = 10 ** Math.floor(Math.log10(Math.max(4, count * 1.05)));
  return [1, 2, 5, 10].map((step) => step * power).find((end) => end >= Math.max(4, count * 1.05));
}

export default {
  async render({ model, el }) {
    const names = ["f", "frequency", "mean", "deviation", "baseline", "draws", "per_estimate", "seed"];
    const s = shell(model, el, {
      title: "Two gradients",
      hint: "Both histograms estimate the slope of one mean from the same draws: move q, draw more, and see which one scatters.",
      traits: names,
      draw,
    });
    const state = () => Object.fromEntries(names.map((name) => [name, model.get(name)]));

    // --- what is estimated: f, and q, which is moved over it
    const left = tag("div", { class: "vw-grow", style: "flex-basis: 300px" });
    const right = tag("div", { class: "vw-grow vw-even", style: "flex-basis: 280px" });
    s.body.append(tag("div", { class: "vw-row" }, left, right));
    const scene = chart(left, { label: "f, and the distribution q that is moved over it", height: 210, xLabel: "z", yLabel: "f(z)" });
    const latest = tag("div", { class: "vw-quiet", style: "margin: 0.2rem 0 0.5rem" });
    const lines = ["ink", "quiet", "phi"].map((colour) => tag("div", { style: `color: var(--vw-${colour})` }));
    latest.append(...lines);
    left.append(latest);

    const tries = tag("div", { class: "vw-tries", role: "group", "aria-label": "Settings to try" });
    right.append(tries);
    for (const [words, values] of [
      ["z², σ = 1", { f: "square", mean: 1, deviation: 1 }],
      ["z², a narrow q", { f: "square", mean: 1, deviation: 0.1 }],
      ["cos 5z: the path loses", { f: "wave", frequency: 5, mean: 0, deviation: 1 }],
    ]) {
      s.button(tries, words, () => s.put({ baseline: "none", ...values }));
    }
    s.choice(right, "f", { label: "f(z)", options: Object.entries(FUNCTIONS).map(([value, { name }]) => [value, name]) });
    const speed = s.slider(right, "frequency", { label: "frequency ω", min: 0.2, max: 6, step: 0.05, colour: "theta" });
    s.slider(right, "mean", { label: "mean μ", min: -3, max: 3, step: 0.05, colour: "phi" });
    s.slider(right, "deviation", { label: "deviation σ", min: 0.05, max: 2, step: 0.05, colour: "phi" });
    s.choice(right, "baseline", { label: "Baseline", options: [["none", "none"], ["mean", "mean of f"], ["best", "best"]] });

    // --- the draws
    const taking = tag("div", { class: "vw-row", style: "margin-top: 0.4rem" });
    const sliders = tag("div", { class: "vw-grow vw-even", style: "--label: 8rem" });
    const buttons = tag("div", { class: "vw-tools" });
    taking.append(sliders, buttons);
    s.body.append(taking);
    const drawsOf = (n) => `${whole(n)} ${n === 1 ? "draw" : "draws"}`;
    s.slider(sliders, "draws", { label: "draws taken", stops: DRAWS, colour: "latent", text: whole, full: drawsOf });
    s.slider(sliders, "per_estimate", { label: "per estimate, L", stops: EACH, colour: "latent", text: whole, full: drawsOf });

    // Nothing moves by itself: the histograms grow while the button says so, and at once for who wants it calm.
    let playing = 0;
    const stop = () => {
      clearInterval(playing);
      playing = 0;
      play.textContent = "Play";
    };
    const advance = () => {
      const next = DRAWS.find((n) => n > model.get("draws"));
      if (next) s.put({ draws: next });
      if (!next || next === MOST) stop();
    };
    const play = s.button(buttons, "Play", () => {
      if (playing) return stop();
      if (calm()) return s.put({ draws: MOST });
      if (model.get("draws") >= MOST) s.put({ draws: 1 });
      play.textContent = "Pause";
      playing = setInterval(advance, 120);
    });
    s.onDispose(() => clearInterval(playing));
    s.button(buttons, "New draws", () => s.put({ seed: (model.get("seed") + 1) % 10000 }));

    const kinds = [
      { key: "score", name: "Score function", colour: "quiet" },
      { key: "pathwise", name: "Pathwise", colour: "phi" },
    ];
    for (const kind of kinds) {
      kind.what = tag("span");
      kind.outside = tag("span", { class: "vw-quiet" });
      const head = tag("div", { class: "vw-head", style: "margin-top: 0.5rem" });
      head.append(tag("span", {}, tag("strong", { style: `color: var(--vw-${kind.colour})` }, kind.name), " ", kind.what), kind.outside);
      const box = tag("div");
      s.body.append(head, box);
      const last = kind.key === "pathwise";
      kind.chart = chart(box, {
        label: `Histogram of the estimates: ${kind.name}`, height: last ? 168 : 146,
        xLabel: last ? "estimate of the gradient" : "", yLabel: "estimates", margin: { top: 20, left: 62 },
      });
    }
    const legend = tag("p", { class: "vw-quiet", style: "margin: 0.2rem 0" });
    legend.append(
      tag("span", { class: "vw-elbo" }, "Line"), ": the true gradient. Shaded: within √(V / L) of it, by the formula. ",
      "Dot: the mean of the estimates, with a bar of one standard error.",
    );
    s.body.append(legend);

    // --- the numbers
    const cells = {};
    const row = (key, words) => {
      cells[key] = kinds.map(() => tag("td"));
      return tag("tr", {}, tag("th", { scope: "row" }, ...words), ...cells[key]);
    };
    const table = tag("table", { class: "vw-terms vw-numbers" });
    table.append(
      tag("thead", {}, tag("tr", {}, tag("td"), ...kinds.map(({ name, colour }) => tag("th", { scope: "col", style: `color: var(--vw-${colour})` }, name)))),
      tag("tbody", {},
        row("true", ["true gradient"]),
        row("mean", ["mean, measured"]),
        row("variance", ["variance, measured"]),
        row("divided", ["exact: V / L"]),
        row("exact", ["V, of one draw"]),
      ),
    );
    const verdict = tag("p", { style: "margin: 0.4rem 0 0" });
    s.body.append(table, verdict);

    // --- what is kept from drawing to drawing, for as long as its settings stay
    const kept = {};
    const everyDraw = room(MOST);
    function keep(name, key, make) {
      if (kept[name]?.key !== key) kept[name] = { key, value: make() };
      return kept[name].value;
    }

    function draw() {
      const now = state();
      const key = [now.f, now.frequency, now.mean, now.deviation, now.baseline].join();
      const known = keep("exact", key, () => exact(now));
      const noise = keep("noise", now.seed, () => noiseOf(now.seed));
      const drawn = keep("draws", `${key},${now.seed}`, () => draws(now, known.baseline, noise, everyDraw));
      // The baseline may narrow a histogram, and more draws for each estimate both: the axis shows it, and stays.
      const half = 4 * Math.sqrt(Math.max(known.score, known.scoreAlone, known.pathwise));
      const limits = [known.gradient - half, known.gradient + half];
      const n = Math.floor(now.draws / now.per_estimate);

      speed.hidden = now.f !== "wave";
      for (const c of [scene, ...kinds.map((kind) => kind.chart)]) c.measure();
      drawScene(now, known, noise[now.draws - 1]);
      const formula = formulas(now);
      for (const [index, kind] of kinds.entries()) {
        const all = `${key},${now.seed},${now.per_estimate}`;
        const found = keep(`${kind.key} estimates`, all, () => estimates(drawn[kind.key], now.per_estimate));
        const count = keep(`${kind.key} counts`, all, () => histogram(found, ...limits));
        const sample = measured(found, n);
        const variance = known[kind.key];
        drawHistogram(kind, count(n), { limits, sample, n, gradient: known.gradient, error: Math.sqrt(variance / now.per_estimate) });

        cells.true[index].textContent = fixed(known.gradient, 4);
        cells.mean[index].textContent = n ? withError(sample.mean, sample.error) : "–";
        cells.variance[index].textContent = n > 1 ? withError(sample.variance, sample.varianceError) : "–";
        cells.divided[index].textContent = significant(variance / now.per_estimate);
        cells.exact[index].textContent = `${formula[kind.key]} = ${significant(variance)}`;
      }
      kinds[0].what.textContent = now.baseline === "none" ? "f(z) ε/σ" : `(f(z) − c) ε/σ, c = ${fixed(known.baseline)}`;
      kinds[1].what.textContent = `f′(z) = ${FUNCTIONS[now.f].slopeName}`;
      const ratio = known.score / known.pathwise;
      const [loser, winner] = ratio > 1 ? ["score function", "path"] : ["path", "score function"];
      const times = Math.max(ratio, 1 / ratio);
      const words = `For the same error the ${loser} needs ${times >= 100 ? whole(times) : fixed(times, 1)} times as many draws as the ${winner}.`;
      verdict.textContent = words;
      s.announce(n ? words : "No estimate yet: it takes more draws.");
    }

    function drawScene(now, known, noise) {
      const { value, slope, limits } = FUNCTIONS[now.f];
      const { mean: mu, deviation, frequency } = now;
      const f = (z) => value(z, frequency);
      const floor = limits[0];
      const high = 0.24 * (limits[1] - limits[0]); // q's height: its own scale
      scene.frame({ x: [-SPAN, SPAN], y: limits });
      const around = linspace(Math.max(-SPAN, mu - 4 * deviation), Math.min(SPAN, mu + 4 * deviation), 81);
      const bell = (z) => floor + high * Math.exp(-0.5 * ((z - mu) / deviation) ** 2);
      scene.area("q", around, around.map(bell), { colour: "phi", level: floor });
      scene.curve("q-line", around, around.map(bell), { colour: "phi", width: 1.5 });
      const zs = Array.from(linspace(-SPAN, SPAN, 241)).filter((z) => f(z) <= limits[1]);
      scene.curve("f", zs, zs.map(f), { colour: "theta" });
      const name = FUNCTIONS[now.f].name.replace("ω", Math.round(frequency * 100) / 100);
      scene.text("f-name", 0, limits[1], `f(z) = ${name}`, { colour: "theta", anchor: "middle", dy: 2 });
      const inside = (v) => v >= floor && v <= limits[1];
      if (now.baseline !== "none" && inside(known.baseline)) {
        scene.line("c", -SPAN, known.baseline, SPAN, known.baseline, { colour: "quiet", dash: true, width: 1.5 });
        scene.text("c-name", SPAN, known.baseline, `c = ${fixed(known.baseline)}`, { colour: "quiet", anchor: "end", dx: -4, dy: -5 });
      }
      // The latest draw: the score function sees how high f is there, the path how steep.
      const z = mu + deviation * noise;
      const [height, rise] = [f(z), slope(z, frequency)];
      if (Math.abs(z) <= SPAN && inside(height)) {
        scene.line("height", z, clamp(known.baseline, ...limits), z, height, { colour: "quiet", width: 2 });
        const unit = (limits[1] - limits[0]) / (2 * SPAN) / 0.5; // of f for one of z, as it is seen
        const reach = 0.7 / Math.hypot(1, rise / unit);
        scene.line("slope", z - reach, height - reach * rise, z + reach, height + reach * rise, { colour: "phi", width: 2.5 });
        scene.dot("draw", z, height, { colour: "latent", radius: 4.5 });
      }
      scene.text("q-name", mu - 1.2 * deviation, bell(mu - 1.2 * deviation), "q(z)", { colour: "phi", anchor: "end", dx: -5 });
      const raised = floor + (limits[1] - limits[0]) / 20; // clear of the axis' numbers
      scene.handle("mean", mu, raised, {
        label: "Mean μ of q", value: mu, min: -3, max: 3, step: 0.05, colour: "phi",
        set: (v) => s.put({ mean: Math.round(v * 100) / 100 }),
      });
      scene.handle("deviation", mu + deviation, bell(mu + deviation), {
        label: "Deviation σ of q", value: deviation, min: 0.05, max: 2, step: 0.05, colour: "phi",
        read: (v) => v - mu, set: (v) => s.put({ deviation: Math.round(v * 100) / 100 }),
      });
      scene.done();
      const signed = (v) => (fixed(v).startsWith("−") ? `(${fixed(v)})` : fixed(v));
      const factor = now.baseline === "none" ? signed(height) : `(${fixed(height)} − ${signed(known.baseline)})`;
      lines[0].textContent = `Draw ${whole(now.draws)}: ε = ${fixed(noise)}, z = ${fixed(z)}`;
      const score = ((height - known.baseline) * noise) / deviation;
      lines[1].textContent = `Score: ${factor} · ${signed(noise)} / ${fixed(deviation)} = ${fixed(score)}`;
      lines[2].textContent = `Path: f′(z) = ${fixed(rise)}`;
    }

    function drawHistogram({ chart: c, colour, outside }, counts, { limits, sample, n, gradient, error }) {
      let highest = 0;
      for (let k = 1; k <= BINS; k++) highest = Math.max(highest, counts[k]);
      const end = top(highest);
      c.frame({ x: limits, y: [0, end] });
      const edge = (v) => clamp(v, ...limits);
      c.bar("band", edge(gradient - error), 0, edge(gradient + error), end, { colour, opacity: 0.13 });
      const width = (limits[1] - limits[0]) / BINS;
      for (let k = 1; k <= BINS; k++) {
        const start = limits[0] + (k - 1) * width;
        c.bar(`bin-${k}`, start, 0, start + width, counts[k], { colour, opacity: 0.75 });
      }
      c.line("true", gradient, 0, gradient, end, { colour: "elbo", width: 2 });
      c.text("true-name", gradient, end, `true gradient ${fixed(gradient)}`, { colour: "elbo", anchor: "middle", dy: -6 });
      if (n && Math.abs(sample.mean - gradient) < limits[1] - gradient) {
        const level = 0.88 * end;
        if (n > 1) c.line("error", edge(sample.mean - sample.error), level, edge(sample.mean + sample.error), level, { colour: "ink", width: 2 });
        c.dot("mean", sample.mean, level, { colour: "ink", radius: 4 });
      }
      c.done();
      const [below, above] = [counts[0], counts[BINS + 1]];
      const sides = [below && `${whole(below)} left`, above && `${whole(above)} right`].filter(Boolean);
      const words = `${whole(n)} ${n === 1 ? "estimate" : "estimates"}${sides.length ? `; outside: ${sides.join(", ")}` : ""}`;
      if (outside.textContent !== words) outside.textContent = words;
    }

    s.start();
    return s.dispose;
  },
};
