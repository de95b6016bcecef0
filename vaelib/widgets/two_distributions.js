// Two distributions on a line, what six distances say of them, and how hard each pulls them together.
import { clamp, fixed, fresh, shell, tag } from "./lib/shell.js";
import { erf, linspace, normal, normalBelow, normalLog, softplus } from "./lib/maths.js";
import { chart } from "./lib/chart.js";

// Everything but the picture depends on the distance of the means and on the two widths alone, so p stays at 0
// and q at `apart` >= 0. A width is a normal distribution's deviation, or the length of a uniform one's interval.
// A slope is that of moving further apart: to the right, where a kink has two.

/** Where two normal densities cross, in order: once if they are equally wide, twice if not, nowhere if equal. */
export function crossings(apart, q, p) {
  const [narrow, wide] = q <= p ? [q, p] : [p, q];
  const r = narrow / wide;
  const gap = (1 - r) * (1 + r);
  const middle = q <= p ? apart : 0; // of the narrow one
  const b = (q <= p ? apart : -apart) / wide;
  const log = -Math.log(r);
  const root = Math.hypot(b, Math.sqrt(2 * gap * log));
  if (root === 0) return [];
  // t^2 gap - 2 r b t - (b^2 + 2 log) = 0: the solution that adds first, then the other from their product.
  const sum = r * b + (b < 0 ? -root : root);
  const found = [-(b * b + 2 * log) / sum];
  if (gap > 1e-12) found.push(sum / gap);
  return found.map((t) => middle + narrow * t).sort((x, y) => x - y);
}

function normalVariation(apart, q, p) {
  if (apart === 0 && q === p) return { value: 0, slope: normal(0, 0, q) };
  const cuts = [-Infinity, ...crossings(apart, q, p), Infinity];
  let [value, slope] = [0, 0];
  for (let k = 0; k + 1 < cuts.length; k++) {
    const more = (mean, width) => normalBelow(cuts[k + 1], mean, width) - normalBelow(cuts[k], mean, width);
    const excess = more(apart, q) - more(0, p);
    value += Math.abs(excess) / 2;
    // The crossings stand still to first order, since q = p there; what moves is q's mass between them.
    slope -= (Math.sign(excess) * (normal(cuts[k + 1], apart, q) - normal(cuts[k], apart, q))) / 2;
  }
  return { value, slope };
}

/**
 * JS = log 2 - 1/2 int q log(1 + p/q) + p log(1 + q/p), by the trapezoid rule. The integrand is no larger than
 * the smaller of the two densities allows, so it is enough to look where both have mass.
 */
function normalShannon(apart, q, p, fineness = 8) {
  const [low, high] = [Math.max(apart - 9 * q, -9 * p), Math.min(apart + 9 * q, 9 * p)];
  if (low >= high) return { value: Math.LN2, slope: 0 };
  const count = Math.ceil((fineness * (high - low)) / Math.min(q, p)) + 1;
  const step = (high - low) / (count - 1);
  let [shared, pull] = [0, 0];
  for (let k = 0; k < count; k++) {
    const z = low + k * step;
    const [logQ, logP] = [normalLog(z, apart, q), normalLog(z, 0, p)];
    const [atQ, atP] = [Math.exp(logQ), Math.exp(logP)];
    const surprise = softplus(logP - logQ);
    shared += atQ * surprise + atP * softplus(logQ - logP);
    pull += ((atQ * (z - apart)) / (q * q)) * surprise;
  }
  return { value: Math.max(0, Math.LN2 - (step * shared) / 2), slope: Math.max(0, (-step * pull) / 2) };
}

const NORMAL = {
  kl: (d, q, p) => ({ value: ((q / p) ** 2 - 1 - 2 * Math.log(q / p) + (d / p) ** 2) / 2, slope: d / (p * p) }),
  reverse: (d, q, p) => NORMAL.kl(d, p, q),
  js: normalShannon,
  tv: normalVariation,
  w1(d, q, p) {
    // The ways of the mass are normal themselves, N(d, (q - p)^2), and this is the mean of their lengths.
    const s = Math.abs(q - p);
    if (s === 0) return { value: d, slope: 1 };
    const inside = erf(d / (s * Math.SQRT2));
    return { value: d * inside + 2 * s * s * normal(d, 0, s), slope: inside };
  },
  w2(d, q, p) {
    const value = Math.hypot(d, q - p);
    return { value, slope: value === 0 ? 1 : d / value };
  },
};

// Numbers that a slider or a link gave are decimals: 0.3 and 1.6 / 2 - 0.5 are the same place.
const SAME = 1e-9;

/** The length that two intervals share, and how it changes as they are moved apart. */
function overlap(d, q, p) {
  const [inner, outer] = [Math.abs(q - p) / 2, (q + p) / 2];
  return { value: clamp(outer - d, 0, Math.min(q, p)), slope: d >= inner - SAME && d < outer - SAME ? -1 : 0 };
}

const UNIFORM = {
  kl(d, q, p) {
    const inner = (p - q) / 2;
    if (d > inner + SAME) return { value: Infinity, slope: NaN };
    // At the edge a hair more makes it infinite.
    return { value: Math.log(p / q), slope: d > inner - SAME ? Infinity : 0 };
  },
  reverse: (d, q, p) => UNIFORM.kl(d, p, q),
  js(d, q, p) {
    const shared = overlap(d, q, p);
    const nats = (Math.log1p(q / p) / q + Math.log1p(p / q) / p) / 2; // lost for each unit that is shared
    return { value: Math.max(0, Math.LN2 - shared.value * nats), slope: -shared.slope * nats };
  },
  tv(d, q, p) {
    const shared = overlap(d, q, p);
    return { value: 1 - shared.value / Math.max(q, p), slope: -shared.slope / Math.max(q, p) };
  },
  w1(d, q, p) {
    const half = Math.abs(q - p) / 2; // the ways are uniform on [d - half, d + half]
    return d >= half ? { value: d, slope: 1 } : { value: (d * d + half * half) / (2 * half), slope: d / half };
  },
  w2(d, q, p) {
    const value = Math.hypot(d, (q - p) / Math.sqrt(12));
    return { value, slope: value === 0 ? 1 : d / value };
  },
};

const FAMILIES = { normal: NORMAL, uniform: UNIFORM };

/** One distance and its slope: { value, slope }. */
export const measure = (name, family, apart, q, p, fineness) => FAMILIES[family][name](apart, q, p, fineness);

/** Where a share u of the mass lies below, of a distribution with mean 0 and width 1. */
export const LEVELS = Array.from({ length: 9 }, (_, k) => (k + 1) / 10);
const DECILES = LEVELS.map((share) => {
  let [low, high] = [-9, 9];
  for (let k = 0; k < 60; k++) {
    const middle = (low + high) / 2;
    if (normalBelow(middle) < share) low = middle;
    else high = middle;
  }
  return low;
});

const NAMES = {
  kl: { name: "KL(q ‖ p)", full: "forward", unit: "nats", colour: "phi" },
  reverse: { name: "KL(p ‖ q)", full: "reverse", unit: "nats", colour: "phi" },
  js: { name: "JS", full: "Jensen-Shannon", unit: "nats", colour: "theta" },
  tv: { name: "TV", full: "total variation", unit: "a share", colour: "data" },
  w1: { name: "W₁", full: "Wasserstein", unit: "units of z", colour: "latent" },
  w2: { name: "W₂", full: "Wasserstein", unit: "units of z", colour: "latent" },
};

/** What is to be seen of a distance in the upper chart, in a sentence or two. */
function about(name, family, { value, slope }) {
  const inside = (first, second) => {
    if (!Number.isFinite(value)) {
      const why = "the logarithm is infinite there, and no slope leads back.";
      return `A part of ${first} lies where ${second} has no density: ${why}`;
    }
    const touching = "It is at the edge: a hair further, and KL is infinite.";
    const edge = slope === Infinity ? touching : "Nothing pulls until it reaches the edge.";
    return `${first} lies within ${second}: KL is the logarithm of the lengths’ ratio, wherever that is. ${edge}`;
  };
  const mean = (first, second, end) =>
    `The mean of log ${first} − log ${second} where ${first} has its mass. ` +
    `Its slope is the distance of the means over ${second}’s variance: ${end}, the harder it pulls.`;
  const ways =
    "that the mass has to go. Nine of them are drawn, from the lowest tenth to the highest; they grow with the " +
    "distance, however far.";
  const words = {
    kl: () => (family === "uniform" ? inside("q", "p") : mean("q", "p", "the further apart")),
    reverse: () => (family === "uniform" ? inside("p", "q") : mean("p", "q", "the narrower q")),
    js: () =>
      "How many nats a draw tells about the coin that chose q or p; m is their mixture. Never more than log 2, " +
      "and flat once the two have parted.",
    tv: () => "1 minus the shaded overlap. Where nothing overlaps any more, nothing changes either.",
    w1: () => `The mean length of the ways ${ways}`,
    w2: () => `The root of the mean square of the ways ${ways}`,
  };
  return words[name]();
}

/** A number to read: three decimals, fewer of a large one, or a power of ten where all would be 0. */
export function say(value) {
  if (value !== 0 && Math.abs(value) < 0.0005) {
    const power = Math.floor(Math.log10(Math.abs(value)));
    const digits = String(-power).replace(/./g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
    return power < -99 ? "0.000" : `${fixed(value / 10 ** power, 1)}·10⁻${digits}`;
  }
  return fixed(value, Math.abs(value) < 100 ? 3 : Math.abs(value) < 1000 ? 2 : 1);
}

/** Where a distance is infinite all around, nothing pulls. */
const sayslope = (slope) => (Number.isNaN(slope) ? "none" : say(slope));

const LIMIT = 4; // of the means
const EDGE = 7; // of the chart
const WIDTHS = [0.1, 3];
const ARROW = 58; // how long one would be that pulls infinitely hard, in pixels

// Every pull on one finite scale: 0 at the left, 1 in the middle, infinity at the right.
const pullOf = (slope) => (slope === Infinity ? 1 : slope > 0 ? slope / (1 + slope) : 0);

export default {
  async render({ model, el }) {
    const s = shell(model, el, {
      title: "Two distributions",
      hint:
        "Drag q and p apart, by their tops, and change their widths at their sides: each distance says how far " +
        "apart they are, and its slope how hard it pulls them back.",
      traits: ["family", "mean_q", "width_q", "mean_p", "width_p", "shown"],
      draw,
    });

    const families = [["normal", "normal"], ["uniform", "uniform"]];
    s.choice(s.body, "family", { label: "Both are", options: families });
    const top = chart(s.body, { label: "The two densities", height: 230, xLabel: "z", yLabel: "density" });
    const caption = tag("p", { class: "vw-quiet vw-caption" });
    s.body.append(caption);

    const sliders = tag("div", { class: "vw-row", style: "row-gap: 0" });
    const labels = {};
    for (const [which, colour] of [["q", "phi"], ["p", "theta"]]) {
      const column = tag("div", { class: "vw-grow" });
      const row = { min: -LIMIT, max: LIMIT, step: 0.01, colour };
      const mean = s.slider(column, `mean_${which}`, { ...row, label: `mean of ${which}` });
      const width = s.slider(column, `width_${which}`, { ...row, label: "", min: WIDTHS[0], max: WIDTHS[1] });
      for (const line of [mean, width]) line.style.gridTemplateColumns = "5.6rem 1fr 3.2rem";
      labels[which] = width.querySelector("label");
      sliders.append(column);
    }
    s.body.append(sliders);

    const buttons = tag("div", { style: "display: flex; flex-wrap: wrap; gap: 0.4rem; margin: 0.5rem 0 0.9rem" });
    s.body.append(buttons);
    const go = (text, values) => s.button(buttons, text, () => s.put(typeof values === "function" ? values() : values));
    const unit = { mean_p: 0, width_p: 1 };
    go("the same", () => ({ mean_q: model.get("mean_p"), width_q: model.get("width_p") }));
    go("a hair apart", { ...unit, mean_q: 0.1, width_q: 1 });
    go("far apart", { mean_p: -3, width_p: 1, mean_q: 3, width_q: 1 });
    go("q inside p", { mean_q: 0.5, width_q: 0.5, mean_p: 0, width_p: 2 });
    go("a VAE’s q and prior", { ...unit, family: "normal", mean_q: 1.5, width_q: 0.3 });

    const lower = tag("div", { class: "vw-row" });
    const asked = { role: "radiogroup", "aria-label": "The distance that the charts show" };
    const left = tag("div", { class: "vw-grow", ...asked });
    left.style.flexBasis = "330px";
    const right = tag("div", { class: "vw-grow", style: "flex: 1 1 300px" });
    lower.append(left, right);
    s.body.append(lower);
    const rows = table(left);
    const heading = tag("p", { style: "font-size: 0.88rem; font-weight: 600; margin: 0 0 0.2rem" });
    right.append(heading);
    const axis = "distance of the means";
    const below = chart(right, { label: `The chosen distance against the ${axis}`, height: 270, xLabel: axis });

    function table(parent) {
      const group = fresh("shown");
      const small = "color: var(--vw-quiet); font-size: 0.78rem; font-weight: 400";
      const cell = "white-space: nowrap; padding-left: 0.5rem; padding-right: 0";
      const arrows = { width: ARROW + 6, height: 14, class: "vw-chart", "aria-hidden": "true" };
      const ends = [[1, "0", "start"], [ARROW / 2 + 2, "1", "middle"], [ARROW + 4, "∞", "end"]];
      const scale = tag("svg", arrows);
      for (const [x, text, anchor] of ends) scale.append(tag("text", { x, y: 11, "text-anchor": anchor }, text));
      const head = (text, style) => tag("th", { scope: "col", style: `${small}; ${style}` }, text);
      const right = `${cell}; text-align: right`;
      const names = [head("distance", "padding: 0; text-align: left"), head("value", right), head("slope", right), head(scale, cell)];
      names[3].append(tag("span", { class: "vw-said" }, "pull, from 0 to infinity"));
      const body = tag("tbody");
      const looks = "line-height: 1.15; width: 100%";
      const top = tag("thead", {}, tag("tr", {}, ...names));
      parent.append(tag("table", { class: "vw-terms", style: looks }, top, body));
      const found = {};
      for (const [key, { name, full, colour }] of Object.entries(NAMES)) {
        const id = fresh(key);
        const choose = () => s.put({ shown: key });
        const input = tag("input", { type: "radio", name: group, id, value: key, onchange: choose });
        const how = tag("span", { style: `${small}; display: block` });
        const strong = tag("span", { class: `vw-${colour}`, style: "font-weight: 600" }, name);
        const label = tag("label", { for: id, style: "cursor: pointer; white-space: nowrap" }, strong, " ");
        label.append(tag("span", { style: small }, full), how);
        const [value, slope] = [tag("td", { style: cell }), tag("td", { style: cell })];
        const line = tag("path", { class: "vw-line", style: `--c: var(--vw-${colour}); stroke-width: 2.5` });
        const middle = tag("path", { d: `M${ARROW / 2 + 2} 0V14`, class: "vw-grid" });
        const both = tag("span", { style: "display: flex; gap: 0.4rem; align-items: flex-start" }, input, label);
        const header = tag("th", { scope: "row", style: "padding: 0.18rem 0" }, both);
        const pull = tag("td", { style: cell }, tag("svg", arrows, middle, line));
        body.append(tag("tr", { "data-distance": key }, header, value, slope, pull));
        found[key] = { input, how, value, slope, line };
      }
      return found;
    }

    const round = (v) => Math.round(v * 100) / 100;
    const write = (node, text) => node.textContent !== text && (node.textContent = text);
    // Where a curve bends, in its own deviations: a needle is drawn as finely as a broad bell.
    const ts = linspace(-5, 5, 101);
    const places = (...its) => {
      const found = [-EDGE, EDGE];
      for (const { mean, width } of its) for (const t of ts) found.push(clamp(mean + t * width, -EDGE, EDGE));
      return Float64Array.from(found).sort();
    };
    const ends = (mean, width) => [mean - width / 2, mean + width / 2];
    const flat = (mean, width) => {
      const [a, b] = ends(mean, width);
      return [[-EDGE, a, a, b, b, EDGE], [0, 0, 1 / width, 1 / width, 0, 0]];
    };
    const bell = (mean, width) => {
      const zs = places({ mean, width });
      return [zs, zs.map((z) => normal(z, mean, width))];
    };
    const density = (family, z, mean, width) =>
      family === "normal" ? normal(z, mean, width) : Math.abs(z - mean) < width / 2 ? 1 / width : 0;

    function drawDensities(family, q, p, shown, pull) {
      const peak = (width) => (family === "normal" ? normal(0, 0, width) : 1 / width);
      const highest = Math.max(peak(q.width), peak(p.width));
      top.frame({ x: [-EDGE, EDGE], y: [0, 1.22 * highest] });
      const shape = family === "normal" ? bell : flat;
      // Points of both, and of whatever is made of both, so that no edge is drawn aslant.
      const marks = [...ends(q.mean, q.width), ...ends(p.mean, p.width)].sort((a, b) => a - b);
      const both = (f) => {
        const at = family === "normal" ? places(q, p) : [-EDGE, ...marks.flatMap((z) => [z - 1e-9, z + 1e-9]), EDGE];
        const of = (it, z) => density(family, z, it.mean, it.width);
        return [at, Array.from(at, (z) => f(of(q, z), of(p, z)))];
      };
      if (shown === "tv") top.area("overlap", ...both(Math.min), { colour: "ink", opacity: 0.25 });
      if (shown === "js") {
        const [at, mixture] = both((a, b) => (a + b) / 2);
        top.curve("mixture", at, mixture, { colour: "ink", dash: "2 4" });
        const spot = (q.mean + p.mean) / 2;
        const level = (density(family, spot, q.mean, q.width) + density(family, spot, p.mean, p.width)) / 2;
        top.text("m", spot, level, "m", { anchor: "middle", dy: -6 });
      }
      if (shown === "kl" || shown === "reverse") {
        // Where the one has mass and the other none: KL is infinite as soon as there is such a place.
        const [alone, colour] = shown === "kl" ? [(a, b) => (b ? 0 : a), "phi"] : [(a, b) => (a ? 0 : b), "theta"];
        if (family === "uniform") top.area("alone", ...both(alone), { colour, opacity: 0.3 });
      }
      if (shown === "w1" || shown === "w2") {
        LEVELS.forEach((share, k) => {
          const t = family === "normal" ? DECILES[k] : share - 0.5;
          const y = (0.15 + 0.8 * share) * Math.min(peak(q.width), peak(p.width)); // one above the other, no more
          top.line(`way-${k}`, q.mean + t * q.width, y, p.mean + t * p.width, y, { colour: "latent", width: 1.5 });
        });
      }
      top.curve("p", ...shape(p.mean, p.width), { colour: "theta", dash: "7 4" });
      top.curve("q", ...shape(q.mean, q.width), { colour: "phi" });

      // What pulls q: an arrow at its foot, as long as the table's, and no longer than the way to p.
      const way = Math.abs(top.sx(p.mean) - top.sx(q.mean));
      const long = Math.min(way, 1.6 * ARROW * pull);
      if (long > 1) {
        const from = top.sx(q.mean);
        const sign = p.mean < q.mean ? -1 : 1;
        const y = 0.055 * 1.22 * highest;
        const to = from + sign * long;
        const tip = Math.min(7, long);
        const style = { colour: NAMES[shown].colour, width: 3 };
        top.line("pull", q.mean, y, top.x(to), y, style);
        const up = top.y(top.sy(y) - 5);
        const down = top.y(top.sy(y) + 5);
        top.curve("tip", [top.x(to - sign * tip), top.x(to), top.x(to - sign * tip)], [up, y, down], style);
      }

      for (const [which, it, colour, side] of [["p", p, "theta", -1], ["q", q, "phi", 1]]) {
        const half = family === "normal" ? it.width : it.width / 2;
        const height = family === "normal" ? normal(half, 0, it.width) : peak(it.width) / 2;
        const set = (name, low, high) => (v) => s.put({ [name]: clamp(round(v), low, high) });
        top.handle(`width-${which}`, it.mean + side * half, height, {
          label: `${family === "normal" ? "Deviation" : "Length"} of ${which}`,
          value: it.width, min: WIDTHS[0], max: WIDTHS[1], step: 0.05, colour,
          read: (z) => side * (z - it.mean) * (family === "normal" ? 1 : 2),
          set: set(`width_${which}`, ...WIDTHS),
        });
        top.handle(`mean-${which}`, it.mean, peak(it.width), {
          label: `Mean of ${which}`, value: it.mean, min: -LIMIT, max: LIMIT, step: 0.1, colour,
          set: set(`mean_${which}`, -LIMIT, LIMIT),
        });
        const anchor = side < 0 ? "end" : "start"; // so that both can be read where the two are the same
        top.text(`name-${which}`, it.mean, peak(it.width), which, { colour, anchor, dx: 3 * side, dy: -13 });
      }
      top.done();
    }

    // Where KL becomes infinite between uniform distributions, and where other distances bend.
    const bends = (q, p) => [Math.abs(q - p) / 2, (q + p) / 2];
    const cached = { key: "" };
    /** The chosen distance over the separation: computed again only when it, or a width, has changed. */
    function curve(family, shown, q, p, far) {
      const key = [family, shown, q, p, far].join();
      if (cached.key === key) return cached;
      const [inner, outer] = bends(q, p);
      const infinite = family === "uniform" && (shown === "kl" || shown === "reverse");
      const holds = infinite && (shown === "kl" ? q <= p : p <= q);
      const end = infinite ? (holds ? inner : -1) : far;
      const at = end < 0 ? [] : [...linspace(0, Math.min(far, end), 121)];
      if (family === "uniform" && !infinite) at.push(...[inner, outer].filter((d) => d < far));
      at.sort((a, b) => a - b);
      const values = at.map((d) => measure(shown, family, d, q, p, 4).value);
      const last = values[values.length - 1] ?? 0;
      const bound = { js: Math.LN2, tv: 1 }[shown] ?? Infinity;
      const highest = infinite ? Math.max(1, 1.6 * last) : bound < Infinity ? bound : Math.max(last, 0.5);
      return Object.assign(cached, { key, at, values, end, bound, y: [0, 1.12 * highest] });
    }

    let held = null; // the axis stays while its own handle is dragged
    below.svg.addEventListener("pointerdown", () => (held = below.x(below.svg.clientWidth - 12)));
    for (const name of ["pointerup", "pointercancel"]) {
      below.svg.addEventListener(name, () => {
        held = null;
        s.redraw();
      });
    }

    function drawSeparation(family, q, p, shown, { value, slope }) {
      const apart = Math.abs(q.mean - p.mean);
      const wide = family === "normal" ? 4 * (q.width + p.width) : q.width + p.width;
      const far = held ?? [1, 2, 4, 8, 12].find((v) => v >= Math.max(apart, wide)) ?? 12;
      const { at, values, end, bound, y } = curve(family, shown, q.width, p.width, far);
      const { colour, name, unit } = NAMES[shown];
      below.frame({ x: [0, far], y });
      if (bound < Infinity) {
        below.line("bound", 0, bound, far, bound, { colour: "quiet", dash: "3 3", width: 1 });
        const words = shown === "js" ? "log 2" : "all of the mass";
        below.text("bound-name", far, bound, words, { colour: "quiet", anchor: "end", dy: -5 });
      }
      if (at.length > 1) below.curve("curve", at, values, { colour });
      const roof = y[1] * 0.9;
      if (end < far) {
        const from = Math.max(0, end);
        below.line("wall", from, values[values.length - 1] ?? 0, from, roof, { colour, dash: "3 3", width: 1.5 });
        below.line("roof", from, roof, far, roof, { colour, width: 3 });
        const [inside, outside] = shown === "kl" ? ["q", "p"] : ["p", "q"];
        const when = end < 0 ? `∞: ${inside} is the longer one` : `∞ as soon as ${inside} leaves ${outside}`;
        below.text("infinite", far, roof, when, { colour, anchor: "end", dy: 18 });
      }
      const height = Math.min(value, roof);
      if (Number.isFinite(slope)) {
        // As much of the tangent as the frame has room for, a fifth of its width to each side at most.
        const reach = (sign) => {
          const room = slope > 0 ? (sign > 0 ? y[1] - value : value) / slope : Infinity;
          return clamp(Math.min(0.2 * far, room, sign > 0 ? far - apart : apart), 0, far);
        };
        const [back, forth] = [reach(-1), reach(1)];
        const [low, high] = [value - slope * back, value + slope * forth];
        below.line("tangent", apart - back, low, apart + forth, high, { colour: "ink", width: 2.5 });
      } else if (slope === Infinity) {
        below.line("tangent", apart, value, apart, roof, { colour: "ink", width: 2.5 });
      }
      const sign = q.mean < p.mean ? -1 : 1;
      const most = Math.min(far, sign > 0 ? LIMIT - p.mean : LIMIT + p.mean);
      below.handle("here", apart, height, {
        label: "Distance of the means", value: apart, min: 0, max: Math.max(apart, most), step: 0.1, colour,
        set: (d) => s.put({ mean_q: clamp(round(p.mean + sign * d), -LIMIT, LIMIT) }),
      });
      if (!Number.isNaN(slope)) {
        // Beside the tangent if it is steep; else above it, or below where there is no room above.
        const [px, py] = [below.sx(apart), below.sy(height)];
        const steep = slope * Math.abs((below.sy(1) - below.sy(0)) / (below.sx(1) - below.sx(0))) > 0.5;
        const early = apart < 0.6 * far;
        const beside = early ? ["start", 18, Math.min(20, below.sy(0) - 6 - py)] : ["end", -14, -10];
        const side = px - below.sx(0) < 45 ? "start" : below.sx(far) - px < 45 ? "end" : "middle";
        const over = [side, 0, py < 70 || (end < far && py < below.sy(0) - 40) ? 26 : -15];
        const [anchor, dx, dy] = steep ? beside : over;
        below.text("slope", apart, height, `slope ${say(slope)}`, { anchor, dx, dy });
      }
      write(heading, `${name}, ${unit}`);
      heading.className = `vw-${colour}`;
      below.done();
    }

    function draw() {
      const [family, shown] = [model.get("family"), model.get("shown")];
      const it = (which) => ({ mean: model.get(`mean_${which}`), width: model.get(`width_${which}`) });
      const [q, p] = [it("q"), it("p")];
      const apart = Math.abs(q.mean - p.mean);
      const words = [];
      let chosen;
      for (const [key, row] of Object.entries(rows)) {
        const found = measure(key, family, apart, q.width, p.width);
        const { name, unit } = NAMES[key];
        if (key === shown) chosen = found;
        row.input.checked = key === shown;
        const way = key === "js" && family === "normal" ? "by quadrature" : "by formula";
        write(row.how, `${unit}, ${way}`);
        write(row.value, say(found.value));
        write(row.slope, sayslope(found.slope));
        const x = 2 + ARROW * pullOf(found.slope);
        const [tip, back] = [x.toFixed(2), Math.max(2, x - 5).toFixed(2)];
        const none = Number.isNaN(found.slope) ? "" : "M2 3V11";
        row.line.setAttribute("d", x > 2.5 ? `M2 7H${tip}M${back} 3L${tip} 7L${back} 11` : none);
        words.push(`${name} ${say(found.value)}, slope ${sayslope(found.slope)}`);
      }
      const width = family === "normal" ? "σ" : "length";
      for (const which of ["q", "p"]) write(labels[which], `${width} of ${which}`);
      top.measure();
      below.measure();
      drawDensities(family, q, p, shown, pullOf(chosen.slope));
      drawSeparation(family, q, p, shown, chosen);
      write(caption, about(shown, family, chosen));
      s.announce(`Distance of the means ${fixed(apart)}. ${words.join("; ")}`);
    }

    s.start();
    return s.dispose;
  },
};
