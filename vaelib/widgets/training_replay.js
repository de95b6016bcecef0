// A training run replayed: where the encoder put the images after each epoch, what came back, and the curves.
import { calm, clamp, fixed, shell, tag } from "./lib/shell.js";
import { chart, ticks } from "./lib/chart.js";
import { halves } from "./lib/mlp.js";
import { picture } from "./lib/ink.js";
import { curveKey } from "./lib/key.js";
import { plane } from "./lib/plane.js";

const PIXELS = 784;
// How many epochs a shown image's trail goes back, as in the film.
const TRAIL = 3;
const QUANTITIES = [
  { name: "elbo", title: "ELBO", colour: "elbo" },
  { name: "distortion", title: "Distortion", colour: "theta" },
  { name: "rate", title: "Rate", colour: "phi" },
];

/** The last epoch that has ended at a place between 0 and the run's last. */
export const ended = (epoch) => Math.floor(epoch + 1e-9);

/** Where `count` points are: at their means after an epoch, and between two epochs on straight lines. */
export function places(means, count, epoch, out = new Float32Array(2 * count)) {
  const from = 2 * count * ended(epoch);
  const part = Math.max(0, epoch - ended(epoch));
  const to = part > 1e-9 ? from + 2 * count : from;
  for (let k = 0; k < 2 * count; k++) out[k] = (1 - part) * means[from + k] + part * means[to + k];
  return out;
}

/** The way that point k has come to where it is now: its places after the last epochs. */
export function trail(means, count, k, epoch, now) {
  const way = [];
  for (let e = Math.max(0, ended(epoch) - TRAIL); e <= ended(epoch); e++) {
    way.push(means[2 * (e * count + k)], means[2 * (e * count + k) + 1]);
  }
  return [...way, now[2 * k], now[2 * k + 1]];
}

/** A place on a slider as the epoch that it means: near a whole one, that. */
export const detent = (epoch) => (Math.abs(epoch - Math.round(epoch)) < 0.15 ? Math.round(epoch) : epoch);

/** The next whole epoch in a direction, from wherever one is. */
export function stepped(epoch, by, epochs) {
  const from = by > 0 ? ended(epoch) : Math.ceil(epoch - 1e-9);
  return clamp(from + by, 0, epochs);
}

/** Which moment of the run is seen. */
export function moment(epoch, epochs) {
  if (epoch < 1e-9) return "before training";
  const last = ended(epoch);
  return epoch - last < 1e-9 ? `after epoch ${last} of ${epochs}` : `between epochs ${last} and ${last + 1} of ${epochs}`;
}

export default {
  async render({ model, el }) {
    const bytes = (name) => {
      const view = model.get(name);
      return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    };
    const stored = model.get("means");
    const means = halves(stored.buffer, stored.byteOffset, stored.byteLength / 2);
    const [labels, originals, reconstructions] = ["labels", "originals", "reconstructions"].map(bytes);
    const curves = model.get("curves");
    const steps = model.get("steps");
    const epochs = steps.length;
    const count = labels.length;
    const shown = originals.length / PIXELS;
    const heldOut = model.get("held_out_name");
    const kinds = [["train", "training"], ["held_out", heldOut]].filter(([kind]) => curves[`${kind}_elbo`]);

    const s = shell(model, el, {
      title: "Training replay",
      hint: "Play the run, or drag through its epochs: the dots, the reconstructions and the curves are those of the same moment. A digit's button singles out its images.",
      traits: ["epoch", "digit", "speed"],
      draw,
    });

    // --- the plane, and the curves beside it ---------------------------------------------------------------

    const left = tag("div", { class: "vw-replay-plane" });
    const right = tag("div", { class: "vw-replay-curves" });
    const bar = tag("div", { class: "vw-replay-bar" });
    const strip = tag("div", { class: "vw-replay-strip" });
    const below = tag("div", { class: "vw-replay-images" }, strip);
    s.body.append(tag("div", { class: "vw-replay" }, left, right, bar, below));

    const [x0, x1, y0, y1] = model.get("limits");
    const axes = model.get("dims").map((dim) => `z${[...String(dim)].map((d) => "₀₁₂₃₄₅₆₇₈₉"[d]).join("")}`);
    const whole = (low, high, about) => ticks(low, high, about).found.filter(Number.isInteger).map((v) => [v, fixed(v, 0)]);
    const limits = { x: [x0, x1], y: [y0, y1], xTicks: whole(x0, x1, 7), yTicks: whole(y0, y1, 7) };
    const p = plane(s, left, { limits, label: "", axes, moving: true });
    p.svg.setAttribute("role", "img");
    const place = new Float32Array(2 * count);

    // The numbers stand in columns, under the strokes of their curves.
    const heads = tag("div", { class: "vw-replay-numbers" }, tag("span", {}, "nats"));
    right.append(heads);
    curveKey(heads, kinds.map(([kind, name]) => ({ name, colour: "quiet", dash: kind === "train" })));
    const xTicks = whole(0, epochs, 4);
    const panels = QUANTITIES.map(({ name, title, colour }, index) => {
      const numbers = kinds.map(([kind, words]) => ({ kind, words, node: tag("span", { "data-number": `${kind}_${name}` }) }));
      const entries = numbers.map(({ words, node }) => tag("span", {}, tag("span", { class: "vw-unseen" }, `${words} `), node));
      right.append(tag("p", { class: "vw-replay-numbers" }, tag("strong", { class: `vw-${colour}` }, title), ...entries));
      const last = index === QUANTITIES.length - 1;
      const c = chart(right, {
        label: `${title} by epoch, in nats`, height: last ? 124 : 108, xLabel: last ? "epoch" : "", margin: { left: 44, top: 10 },
      });
      const values = kinds.flatMap(([kind]) => curves[`${kind}_${name}`]);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const air = 0.06 * (high - low) || 0.5;
      // Room for the handle above the ELBO's curves, which end near the top.
      return { name, colour, c, numbers, y: [low - air, high + (name === "elbo" ? 4 : 1) * air] };
    });

    right.append(tag("p", { class: "vw-quiet" }, "Training images are measured while the weights move."));

    // --- the player ----------------------------------------------------------------------------------------

    const button = s.button(bar, "Play", () => (playing ? stop() : play()), { class: "vw-button vw-replay-play" });
    const short = (epoch) => {
      const last = ended(epoch);
      return epoch - last < 1e-9 ? (last ? `${last} of ${epochs}` : "start") : `${last} to ${last + 1}`;
    };
    const slider = s.slider(bar, "epoch", {
      label: "epoch", min: 0, max: epochs, step: 0.01, colour: "elbo", text: short, full: (epoch) => moment(epoch, epochs),
    });
    s.choice(bar, "speed", { label: "Epochs a second", options: [[0.5, "½"], [1, "1"], [2, "2"], [4, "4"]] });
    const caption = tag("p", { class: "vw-quiet" });
    bar.append(caption);

    // Whole epochs hold a slider that is dragged past them, so that they are easy to hit.
    slider.addEventListener("input", ({ target }) => (target.value = detent(Number(target.value))), { capture: true });
    // Keys go from one whole epoch to the next, on the slider and on the curve's handle alike.
    const keys = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5, Home: -epochs, End: epochs };
    s.body.addEventListener(
      "keydown",
      (event) => {
        const slides = event.target.matches('input[type="range"], [role="slider"]');
        if (!slides || event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key === " ") (playing ? stop : play)();
        else if (event.key in keys) s.put({ epoch: stepped(model.get("epoch"), keys[event.key] * (event.shiftKey ? 5 : 1), epochs) });
        else return;
        event.preventDefault();
        event.stopPropagation();
      },
      { capture: true },
    );

    let playing = false;
    let coming = 0;
    let waiting = 0;
    let put = 0; // where playing has put the epoch: if it is elsewhere, somebody else has moved it
    function move(epoch) {
      put = Math.round(Math.min(epoch, epochs) * 1e4) / 1e4;
      s.put({ epoch: put });
      if (put >= epochs) stop();
    }
    function play() {
      playing = true;
      if (model.get("epoch") >= epochs) move(0);
      put = model.get("epoch");
      if (calm()) hop();
      else glide(null);
      label();
    }
    function glide(before) {
      coming = requestAnimationFrame((now) => {
        // A frame that comes late, in a window that was hidden, makes no leap.
        if (before !== null) move(put + (model.get("speed") * Math.min(now - before, 100)) / 1000);
        if (playing) glide(now);
      });
    }
    /** For readers who asked for less motion: whole epochs, at most one a second. */
    function hop() {
      waiting = setTimeout(() => {
        move(stepped(put, 1, epochs));
        if (playing) hop();
      }, 1000 / Math.min(1, model.get("speed")));
    }
    function stop() {
      playing = false;
      cancelAnimationFrame(coming);
      clearTimeout(waiting);
      label();
      s.redraw();
    }
    function label() {
      button.textContent = playing ? "Pause" : "Play";
    }
    s.on(["epoch"], () => playing && model.get("epoch") !== put && stop());
    s.onDispose(stop);

    // --- the images ----------------------------------------------------------------------------------------

    const columns = Array.from({ length: shown }, (_, k) => {
      const digit = labels[k];
      const column = tag("div");
      strip.append(column);
      const chosen = s.button(column, String(digit), () => s.put({ digit: model.get("digit") === digit ? -1 : digit }), {
        "aria-label": `Digit ${digit} alone`,
        style: `--c: ${model.get("colours")[digit % model.get("colours").length]}`,
      });
      picture(column, { size: "100%", label: `An image of the digit ${digit}` })
        .draw(originals.subarray(k * PIXELS, (k + 1) * PIXELS), 255);
      return { digit, chosen, made: picture(column, { size: "100%" }) };
    });
    below.append(tag("p", { class: "vw-quiet" }, "Above, the images that the badges on the plane mark; below, what the decoder makes of their means, E[x | z] at z = μ(x)."));

    let decoded = -1;
    function decode(last) {
      if (last === decoded) return;
      decoded = last;
      columns.forEach(({ digit, made }, k) => {
        const begin = (last * shown + k) * PIXELS;
        made.draw(reconstructions.subarray(begin, begin + PIXELS), 255);
        made.name(`What the decoder makes of the ${digit}, ${moment(last, epochs)}`);
      });
    }

    // --- a moment ------------------------------------------------------------------------------------------

    function describe(epoch, last) {
      if (epoch - last >= 1e-9) {
        return `Between two epochs the dots go on straight lines; images and numbers are those ${last ? `of epoch ${last}` : "before training"}.`;
      }
      if (last === 0) return `Before training the ${heldOut} ELBO is ${fixed(model.get("elbo_before"), 1)} nats, far below the chart.`;
      return `After epoch ${last}; by its end the step size η was ${Number(steps[last - 1].toPrecision(2))}.`;
    }

    function draw() {
      const epoch = clamp(model.get("epoch"), 0, epochs);
      const last = ended(epoch);
      const only = labels.includes(model.get("digit")) ? model.get("digit") : -1;
      p.measure();
      panels.forEach(({ c }) => c.measure());

      places(means, count, epoch, place);
      const seen = columns.map(({ digit }, k) => [digit, k]).filter(([digit]) => only < 0 || digit === only);
      p.frame({
        points: place, labels, only,
        trails: seen.map(([digit, k]) => [digit, trail(means, count, k, epoch, place)]),
        badges: seen.map(([digit, k]) => [digit, [place[2 * k], place[2 * k + 1]]]),
      });
      p.done();

      for (const { name, colour, c, numbers, y } of panels) {
        c.frame({ x: [0, epochs], y, xTicks });
        c.line("now", epoch, y[0], epoch, y[1], { colour: "quiet", width: 1 });
        for (const { kind, node } of numbers) {
          const values = curves[`${kind}_${name}`];
          const [xs, dash] = [values.map((_, k) => k + 1), kind === "train"];
          c.curve(`${kind}-whole`, xs, values, { colour, dash, width: 1.5, opacity: 0.35 });
          c.curve(kind, xs.slice(0, last), values.slice(0, last), { colour, dash });
          if (last) c.dot(`${kind}-now`, last, values[last - 1], { colour, radius: dash ? 3 : 4 });
          const before = kind === "held_out" && name === "elbo" ? model.get("elbo_before") : NaN;
          node.textContent = fixed(last ? values[last - 1] : before);
        }
        if (name === "elbo") {
          c.handle("playhead", epoch, y[1], {
            label: "Epoch", value: epoch, min: 0, max: epochs, step: 1, text: (v) => moment(v, epochs), read: detent,
            set: (v) => s.put({ epoch: v }), colour,
          });
        }
        c.done();
      }

      decode(last);
      caption.textContent = describe(epoch, last);
      columns.forEach(({ digit, chosen }) => chosen.setAttribute("aria-pressed", String(digit === only)));
      const name = `The latent plane ${moment(epoch, epochs)}: ${count} images at their means${only < 0 ? "" : `, those of the digit ${only} bright`}`;
      p.svg.setAttribute("aria-label", name);
      if (!playing) {
        const elbo = curves.held_out_elbo ?? curves.train_elbo;
        s.announce(`${moment(epoch, epochs)}${last ? `, ELBO ${fixed(elbo[last - 1])} nats` : ""}`);
      }
    }

    s.start();
    return s.dispose;
  },
};
