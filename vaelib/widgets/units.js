// A loss as people write it, read as a decoder's deviation, as a beta, and in nats.
import { clamp, fixed, shell, significant, tag, tenTo } from "./lib/shell.js";
import { LOG_2PI } from "./lib/maths.js";
import { chart } from "./lib/chart.js";

const LIMITS = {
  weight: [1e-6, 1e6], kl_weight: [1e-6, 1e6], data_dim: [1, 1e7], error: [1e-6, 1e8], rate: [0, 1e6],
};
const RANGES = [[1, "[0, 1]"], [2, "[−1, 1]"]];

/**
 * What a loss means: weight * squared error + kl_weight * KL, where the squares are added up or averaged over
 * the pixels of a range of length `span`. An `error` or a `rate` of 0 is one that was not measured.
 */
export function reckon({ weight, kl_weight: klWeight, reduction, span, data_dim: pixels, error, rate }) {
  const divisor = reduction === "mean" ? pixels : 1;
  const sigma = Math.sqrt((divisor * klWeight) / (2 * weight)) / span;
  const found = { sigma, summed: 1 / (2 * sigma * sigma) };
  if (!(error > 0)) return found;
  const squared = (error * divisor) / (span * span);
  const best = Math.sqrt(squared / pixels);
  const t = (best / sigma) ** 2;
  const nll = squared / (2 * sigma * sigma) + pixels * (Math.log(sigma) + LOG_2PI / 2);
  return {
    ...found, squared, best, beta: 1 / t, nll,
    lost: (pixels / 2) * (t - 1 - Math.log(t)), // to a calibrated decoder
    other: pixels * Math.LN2, // from [0, 1] to [-1, 1]
    ...(rate > 0 ? { total: nll + rate, printed: weight * error + klWeight * rate } : {}),
  };
}

/** The weight of the squared error that a deviation on [0, 1] stands for. */
export function weightOf(sigma, { kl_weight: klWeight, reduction, span, data_dim: pixels }) {
  return (klWeight * (reduction === "mean" ? pixels : 1)) / (2 * (sigma * span) ** 2);
}

/** The powers of ten from 10 ** low to 10 ** high, as many as there is room for. */
function powers(low, high, room) {
  const step = Math.max(1, Math.ceil((high - low) / Math.max(1, room)));
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9) * step; k <= high + 1e-9; k += step) found.push(k);
  return found;
}
const plain = (power) => (Math.abs(power) <= 3 ? String(Number(`1e${power}`)) : tenTo(power));

export default {
  async render({ model, el }) {
    const names = [...Object.keys(LIMITS), "reduction", "span"];
    const s = shell(model, el, {
      title: "Units calculator",
      hint: "Enter a loss as its code has it, and read which decoder it stands for; or drag the dial.",
      traits: names,
      draw,
    });
    const state = () => Object.fromEntries(names.map((name) => [name, model.get(name)]));
    const presets = Object.entries(model.get("presets"));
    if (presets.length) {
      const tries = tag("div", { class: "vw-tries", role: "group", "aria-label": "Losses to try" });
      s.body.append(tries);
      for (const [name, values] of presets) s.button(tries, name, () => s.put({ error: 0, rate: 0, ...values }));
    }

    const left = tag("div", { class: "vw-grow vw-fields", style: "flex-basis: 290px" });
    const right = tag("div", { class: "vw-grow", style: "flex-basis: 330px" });
    s.body.append(tag("div", { class: "vw-row" }, left, right));
    const field = (trait, label, more = {}) =>
      s.number(left, trait, { label, min: LIMITS[trait][0], max: LIMITS[trait][1], ...more });
    field("weight", "weight of error");
    s.choice(left, "reduction", { label: "over the pixels", options: [["mean", "mean"], ["sum", "sum"]] });
    s.choice(left, "span", { label: "pixels in", options: RANGES });
    field("data_dim", "pixels an image", { whole: true });
    field("kl_weight", "weight of KL");
    field("error", "its squared error", { empty: 0 });
    field("rate", "its KL, in nats", { empty: 0 });

    const loss = tag("p", { class: "vw-formula" });
    const sigmaLine = tag("p", { class: "vw-formula" });
    const cells = {};
    const row = (key, words, colour) => {
      cells[key] = RANGES.map(() => tag("td", { style: `color: var(--vw-${colour})` }));
      return tag("tr", {}, tag("th", { scope: "row" }, words), ...cells[key]);
    };
    const table = tag("table", { class: "vw-terms vw-numbers" });
    table.append(
      tag("thead", {}, tag("tr", {}, tag("td"), ...RANGES.map(([, words]) => tag("th", { scope: "col" }, `on ${words}`)))),
      tag("tbody", {},
        row("sigma", "the decoder's σ", "theta"),
        row("best", "calibrated σ⋆", "data"),
        row("squared", "squared error an image", "data"),
        row("nll", "−log p(x | z), nats", "theta"),
        row("rate", "KL, nats", "phi"),
        row("total", "minus the ELBO, nats", "elbo"),
      ),
    );
    const verdict = tag("p", { class: "vw-formula" });
    right.append(loss, sigmaLine, table);
    const box = tag("div");
    s.body.append(box, verdict);
    const dial = chart(box, {
      label: "One dial with three scales: sigma, the weight, and beta", height: 178, margin: { left: 8, right: 8, top: 8, bottom: 4 },
    });
    dial.svg.classList.add("vw-bare");
    // The axis stays while the dial is dragged: else it would grow under a hand near its end, without end.
    let shown = [-3, 3];
    let held = null;
    dial.svg.addEventListener("pointerdown", () => (held = shown));
    for (const name of ["pointerup", "pointercancel"]) {
      dial.svg.addEventListener(name, () => {
        held = null;
        s.redraw();
      });
    }

    function draw() {
      dial.measure();
      const now = state();
      const found = reckon(now);
      const measured = found.beta !== undefined;
      const { sigma } = found;
      const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 6 });
      const square = now.reduction === "mean" ? "mean (x − x̂)²" : "sum (x − x̂)²";
      const sum = found.printed ? ` = ${significant(found.printed)}` : "";
      loss.textContent = `loss = ${number(now.weight)} · ${square} + ${number(now.kl_weight)} · KL${sum}`;
      const factors = [...(now.reduction === "mean" ? [now.data_dim] : []), ...(now.kl_weight === 1 ? [] : [now.kl_weight])];
      const over = factors.length ? factors.map(number).join(" · ") : "1";
      sigmaLine.textContent = `σ = ${now.span === 2 ? "½ " : ""}√(${over} / (2 · ${number(now.weight)})) = ${significant(sigma)}`;

      const fill = (key, values) => values.forEach((value, k) => (cells[key][k].textContent = value));
      const twice = (value) => [significant(value), significant(2 * value)];
      const nats = (value) => (Math.abs(value) < 1e6 ? fixed(value) : significant(value));
      fill("sigma", twice(sigma));
      fill("best", measured ? twice(found.best) : ["–", "–"]);
      fill("squared", measured ? [significant(found.squared), significant(4 * found.squared)] : ["–", "–"]);
      fill("nll", measured ? [nats(found.nll), nats(found.nll + found.other)] : ["–", "–"]);
      fill("rate", now.rate > 0 ? [nats(now.rate), nats(now.rate)] : ["–", "–"]);
      fill("total", found.total !== undefined ? [nats(found.total), nats(found.total + found.other)] : ["–", "–"]);
      const words = judge(found, measured);
      verdict.textContent = words;
      drawDial(now, found);
      s.announce(`Sigma is ${significant(sigma)} on 0 to 1. ${words}`);
    }

    function judge({ sigma, beta, lost }, measured) {
      const wide = sigma > 1 ? `No pixel can be off by more than 1, and this decoder expects ${significant(sigma)}: beside it the latent is worth next to nothing. ` : "";
      if (!measured) return `${wide}Type the squared error that was measured, and β and the nats follow.`;
      const said = `β = ${significant(beta)}: `;
      const cost = `a calibrated decoder would spend ${significant(lost)} nats less on an image.`;
      if (Math.abs(beta - 1) < 0.05) return `${said}the decoder is calibrated, and this loss is its ELBO.`;
      const pressed = beta > 1 ? "harder than the ELBO of a calibrated decoder would" : "less than the ELBO of a calibrated decoder would";
      return `${wide}${said}the KL term presses ${pressed}; ${cost}`;
    }

    function drawDial(now, found) {
      const { sigma, best } = found;
      const at = Math.log10(sigma);
      const target = best ? Math.log10(best) : 0;
      const low = Math.min(-3, Math.floor(Math.min(at, target) - 0.5));
      const high = Math.max(3, Math.ceil(Math.max(at, target) + 0.5));
      shown = held ?? [low, high];
      drawScales(now, found, at, target, ...shown);
    }

    function drawScales(now, { best }, at, target, low, high) {
      dial.frame({ x: [low, high], y: [0, 1] });
      const room = Number(dial.svg.getAttribute("width")) / 62;
      const weightAtOne = Math.log10(weightOf(1, now));
      const scales = [
        { key: "sigma", level: 0.86, words: "the decoder's σ, on [0, 1]", colour: "theta", place: (k) => k, ends: [low, high] },
        { key: "weight", level: 0.52, words: "the weight, as this loss has it", colour: "ink", place: (k) => (weightAtOne - k) / 2,
          ends: [weightAtOne - 2 * high, weightAtOne - 2 * low] },
        { key: "beta", level: 0.18, words: best ? "β beside the calibrated decoder" : "β: needs a squared error", colour: "phi",
          place: (k) => target + k / 2, ends: best ? [2 * (low - target), 2 * (high - target)] : null },
      ];
      dial.bar("wide", 0, 0, high, 1, { colour: "theta", opacity: 0.08 });
      if (best) {
        dial.line("best", target, 0.02, target, 0.98, { colour: "data", width: 2, dash: true });
      }
      dial.line("here", at, 0.02, at, 0.86, { colour: "ink", width: 1.5 });
      for (const { key, level, words, colour, place, ends } of scales) {
        dial.line(key, low, level, high, level, { colour, width: 1.5 });
        dial.text(`${key}-name`, low, level, words, { colour, dy: -9 });
        if (!ends) continue;
        for (const k of powers(...ends, room)) {
          const x = place(k);
          dial.line(`${key}-${k}`, x, level - 0.025, x, level + 0.025, { colour, width: 1.5 });
          const anchor = x < low + 0.2 ? "start" : x > high - 0.2 ? "end" : "middle";
          dial.text(`${key}-${k}-name`, x, level, plain(k), { colour: "quiet", anchor, dy: 18 });
        }
      }
      if (best) dial.text("best-name", target, 0.68, "σ⋆", { colour: "data", dx: 4 });
      const far = dial.sx(high) - dial.sx(low) < 420 ? "more than a pixel" : "more than a pixel can be off";
      dial.text("wide-name", high, 0.98, far, { colour: "theta", anchor: "end", dx: -3, dy: 6 });
      const reach = LIMITS.weight.map((weight) => at + Math.log10(now.weight / weight) / 2);
      dial.handle("dial", at, 0.86, {
        label: "The decoder's σ", value: at, min: reach[1], max: reach[0], step: 0.02, colour: "theta",
        text: (v) => significant(10 ** v),
        set: (v) => s.put({ weight: clamp(Number(weightOf(10 ** v, now).toPrecision(4)), ...LIMITS.weight) }),
      });
      dial.done();
    }

    s.start();
    return s.dispose;
  },
};
