// Models trained at several weights of the KL term: distortion against rate, and what each makes of digits.
import { fixed, shell, tag } from "./lib/shell.js";
import { normals, sigmoid } from "./lib/maths.js";
import { bernoulliLog, decoderOf, halves, unitRates } from "./lib/mlp.js";
import { chart, ticks } from "./lib/chart.js";
import { curveKey } from "./lib/key.js";
import { picture } from "./lib/ink.js";

const SAMPLES = 10;
const REACH = 28; // pixels from a point within which a click means it

/** `count` latents of standard normal noise: the same for every model, and for every reader. */
export function noise(seed, count, latents) {
  const next = normals(seed);
  return Array.from({ length: count }, () => Array.from({ length: latents }, next));
}

/** What training at a price of beta for each nat of rate makes small. */
export const cost = (distortion, rate, beta) => distortion + beta * rate;

/** The part of the line of a slope through (x, y) that lies within a frame, or null: [x0, y0, x1, y1]. */
export function within(x, y, slope, frame) {
  const [[left, right], [bottom, top]] = [frame.x, frame.y];
  const ends = [x + (top - y) / slope, x + (bottom - y) / slope].sort((a, b) => a - b);
  const [x0, x1] = [Math.max(left, ends[0]), Math.min(right, ends[1])];
  return x0 < x1 ? [x0, y + slope * (x0 - x), x1, y + slope * (x1 - x)] : null;
}

/** The limits of the plane: from 0 and from a little below the floor to a little beyond the family. */
export function limits(distortions, rates, floor) {
  const furthest = Math.max(...rates, 0.01); // models that say nothing, too, have a plane
  const [most, span] = [Math.max(...distortions), Math.max(...distortions.map((value) => value - floor), 1)];
  return { x: [0, 1.28 * furthest], y: [Math.max(0, floor - 0.08 * span), most + 0.12 * span] };
}

export default {
  async render({ model, el }) {
    const [betas, distortions, rates] = ["betas", "distortions", "rates"].map((name) => model.get(name));
    const [unitsOf, activeOf, floor] = ["unit_rates", "active", "floor"].map((name) => model.get(name));
    const labels = model.get("labels");
    const latents = unitsOf[0].length;
    const bytes = model.get("pictures");
    const size = bytes.byteLength / labels.length;
    const images = labels.map((_, n) =>
      Float64Array.from(new Uint8Array(bytes.buffer, bytes.byteOffset + n * size, size), (grey) => grey / 255),
    );
    const packed = model.get("codes");
    const numbers = halves(packed.buffer, packed.byteOffset, packed.byteLength / 2);
    /** The encoder's mean (part 0) or deviation (part 1) of model k for image n. */
    const code = (k, part, n) => {
      const begin = ((2 * k + part) * labels.length + n) * latents;
      return Array.from(numbers.subarray(begin, begin + latents));
    };
    const ofUnits = unitsOf.map((values, k) => {
      const order = values.map((_, j) => j).sort((a, b) => values[b] - values[a]);
      return { rates: order.map((j) => values[j]), active: activeOf[k].filter(Boolean).length };
    });
    const frame = limits(distortions, rates, floor);
    const elbos = betas.map((_, k) => -cost(distortions[k], rates[k], 1));
    const best = elbos.indexOf(Math.max(...elbos));

    const s = shell(model, el, {
      title: "A price for the rate",
      hint:
        "Choose a model by its point or with the slider: through it goes the line of slope −β, on which its own " +
        "objective is constant, and beside it stands what its decoder draws.",
      traits: ["beta", "latent", "draws"],
      draw,
    });
    const write = (node, text) => node.textContent !== text && (node.textContent = text);
    const title = (parent, words) => {
      const node = tag("p", { class: "vw-part" }, words);
      parent.append(node);
      return node;
    };

    const left = tag("div", { class: "vw-grow", style: "flex: 1.15 1 300px" });
    const right = tag("div", { class: "vw-grow", style: "flex: 1 1 280px; max-width: 400px" });
    s.body.append(tag("div", { class: "vw-row" }, left, right));

    // --- the plane of rate and distortion ----------------------------------------------------------------
    const named = { label: "Distortion against rate, a point for each model", xLabel: "rate, nats", yLabel: "distortion, nats" };
    const plot = chart(left, { ...named, height: 300 });
    plot.svg.classList.add("vw-halo"); // names stay legible where lines cross them
    curveKey(left, [
      { name: "the objective’s level, slope −β", colour: "ink", width: 2.5 },
      { name: "equal ELBO, slope −1", colour: "elbo", dash: true },
      { name: "entropy of the pixels", colour: "data", dash: "2 3" },
    ]);
    s.slider(left, "beta", { label: "weight β", stops: betas, text: String });

    const unitsTitle = title(left, "");
    const units = chart(left, {
      label: "Rate of each latent", height: 104, xLabel: "", yLabel: "nats", margin: { left: 50, top: 6, bottom: 20 },
    });

    /** The model whose point is nearest to a place in the window, if one is near. */
    function near(event) {
      const box = plot.svg.getBoundingClientRect();
      const away = betas.map((_, k) =>
        Math.hypot(plot.sx(rates[k]) - event.clientX + box.left, plot.sy(distortions[k]) - event.clientY + box.top),
      );
      const k = away.indexOf(Math.min(...away));
      return away[k] <= REACH ? k : null;
    }
    // A click, not a press: on a phone the page still scrolls when a finger moves over the chart.
    plot.svg.addEventListener("click", (event) => {
      const k = near(event);
      if (k !== null) s.put({ beta: betas[k] });
    });
    plot.svg.addEventListener("pointermove", (event) => {
      plot.svg.style.cursor = near(event) === null ? "" : "pointer";
    });

    // --- what the chosen model says and draws --------------------------------------------------------------
    title(right, "Test images above, decodings below");
    const ways = [["draw", "a draw"], ["mean", "the mean"]];
    s.choice(right, "latent", { label: "Decode", options: ways });
    // One place for what the images cost and for what keeps them away, so that nothing below it jumps.
    const line = tag("div", { class: "vw-quiet vw-line-of-words" });
    const ten = tag("p", { "data-said": "ten" });
    const trouble = tag("p", { "data-said": "trouble", hidden: true });
    const words = tag("span");
    trouble.append(words);
    const retry = s.button(trouble, "Try again", () => {
      fetchPart(chosen());
      s.redraw();
    });
    line.append(ten, trouble);
    right.append(line);
    const pairs = tag("div", { class: "vw-five" });
    right.append(pairs);
    const made = labels.map((label, n) => {
      const cell = tag("div", { class: "vw-pair" });
      picture(cell, { size: "100%", label: `Test image, a ${label}` }).draw(images[n]);
      pairs.append(cell);
      return picture(cell, { size: "100%" });
    });
    const drawnTitle = title(right, "Draws from the prior ");
    const again = () => s.put({ draws: (model.get("draws") % 99) + 1 });
    s.button(drawnTitle, "Draw again", again, { style: "margin-left: 0.4rem" });
    const sheet = tag("div", { class: "vw-five" });
    right.append(sheet);
    const drawn = Array.from({ length: SAMPLES }, () => picture(sheet, { size: "100%" }));

    // --- all models, side by side ---------------------------------------------------------------------------
    const table = tag("table", { class: "vw-terms vw-family" });
    const heads = ["β", "distortion", "rate", "ELBO", "", "active"].map((name, i) =>
      tag("th", { scope: "col", class: [null, "vw-theta", "vw-phi", "vw-elbo"][i] }, name),
    );
    const body = tag("tbody");
    const rows = betas.map((beta, k) => {
      const cells = [distortions[k], rates[k], elbos[k], NaN].map((value, i) =>
        tag("td", { "data-cell": ["distortion", "rate", "elbo", "cost"][i] }, fixed(value)),
      );
      cells.push(tag("td", { "data-cell": "active" }, String(ofUnits[k].active)));
      if (k === best) cells[2].classList.add("vw-best");
      const row = tag("tr", { "data-beta": beta }, tag("th", { scope: "row" }, String(beta)), ...cells);
      body.append(row);
      return { row, price: cells[3] };
    });
    table.append(
      tag("caption", {}, "Means over the test set, in nats. Bold: the best ELBO, and the least weighted sum."),
      tag("thead", {}, tag("tr", {}, ...heads)),
      body,
    );
    s.body.append(table);

    // A decoder is asked for when its model is first chosen, and again only after a failure.
    const parts = betas.map(() => ({ decoder: null, failed: false, pending: null }));
    let gone = false;
    s.onDispose(() => (gone = true));
    function fetchPart(k) {
      const part = parts[k];
      part.failed = false;
      const reference = model.get("decoders")[k].replace("IPY_MODEL_", "");
      part.pending = model.widget_manager
        .get_model(reference)
        .then((weights) => (part.decoder = decoderOf(weights)))
        .catch(() => (part.failed = true))
        .finally(() => {
          part.pending = null;
          if (!gone) s.redraw();
        });
      return part.pending;
    }
    const chosen = () => Math.max(0, betas.indexOf(model.get("beta")));

    const { step, found } = ticks(...frame.y, 7);
    const yTicks = found.map((level) => [level, fixed(level, step < 1 ? 1 : 0)]);
    // A few lines, however far the rates reach.
    const stride = step * Math.ceil((frame.y[1] - frame.y[0] + frame.x[1]) / step / 15);
    function drawPlane(k) {
      plot.frame({ ...frame, yTicks });
      const [rate, distortion, beta] = [rates[k], distortions[k], betas[k]];
      // Each begins at a number of the axis: without rate, the distortion is all that there is.
      for (let level = found[0]; level < cost(frame.y[1], frame.x[1], 1); level += stride) {
        const ends = within(0, level, -1, frame);
        if (!ends) continue;
        plot.line(`elbo ${level}`, ...ends, { colour: "elbo", width: 1, opacity: 0.3 });
        // Named at the right, where no model is.
        const height = (ends[3] - frame.y[0]) / (frame.y[1] - frame.y[0]);
        if (ends[2] === frame.x[1] && height > 0.4 && height < 0.92) {
          plot.text(`elbo ${level} name`, ends[2], ends[3], `ELBO ${fixed(-level, 0)}`, { anchor: "end", dx: -2, dy: -6, colour: "elbo" });
        }
      }
      plot.line("floor", 0, floor, frame.x[1], floor, { colour: "data", dash: "2 3" });
      plot.curve("family", rates, distortions, { colour: "quiet", width: 1.5 });
      plot.line("level", ...within(rate, distortion, -beta, frame), { colour: "ink", width: 2.5 });
      plot.line("elbo", ...within(rate, distortion, -1, frame), { colour: "elbo", dash: true });
      betas.forEach((value, m) => {
        if (m !== k) plot.dot(`model ${value}`, rates[m], distortions[m], { colour: "ink", radius: 5 });
        plot.text(`name ${value}`, rates[m], distortions[m], `β = ${value}`, { dx: 10, dy: -8, colour: "ink" });
      });
      // From left to right: a handle's value grows as it moves to the right.
      const order = betas.map((_, m) => m).sort((a, b) => rates[a] - rates[b]);
      const nearest = (r) => order.reduce((found, m, i) => (Math.abs(rates[m] - r) < Math.abs(rates[order[found]] - r) ? i : found), 0);
      plot.handle("chosen", rate, distortion, {
        label: "The chosen model, by its rate", value: order.indexOf(k), min: 0, max: betas.length - 1, step: 1,
        text: (i) => `beta ${betas[order[i]]}: rate ${fixed(rates[order[i]])}, distortion ${fixed(distortions[order[i]])} nats`,
        read: nearest, set: (i) => s.put({ beta: betas[order[i]] }), colour: "ink",
      });
      plot.done();
    }

    const highest = Math.max(...unitsOf.flat());
    function drawUnits(k) {
      const { rates: heights, active } = ofUnits[k];
      write(unitsTitle, `Rate of each latent: ${active} of ${latents} active`);
      const xTicks = [1, latents].map((number) => [number - 0.5, String(number)]);
      units.frame({ x: [0, latents], y: [0, Math.max(1.1 * highest, 1e-6)], xTicks });
      units.bars("units", heights.map((height, j) => [j + 0.15, 0, j + 0.85, Math.max(0, height)]), { colour: "phi" });
      if (active < latents) {
        const idle = latents - active;
        units.text("idle", latents - 0.2, 0.12 * highest, `${idle} inactive`, { anchor: "end", colour: "quiet" });
      }
      units.done();
    }

    let priced = -1;
    function drawTable(k) {
      if (priced === k) return;
      priced = k;
      const prices = betas.map((_, m) => cost(distortions[m], rates[m], betas[k]));
      const least = prices.indexOf(Math.min(...prices));
      write(heads[4], `distortion + ${betas[k]} rate`);
      rows.forEach(({ row, price }, m) => {
        write(price, fixed(prices[m]));
        price.classList.toggle("vw-best", m === least);
        if (m === k) row.setAttribute("aria-current", "true");
        else row.removeAttribute("aria-current");
      });
    }

    let shown = "";
    let previous = -1;
    function drawDigits(k) {
      const part = parts[k];
      // Asked for at first, and once more when the reader comes back to a model that could not be had.
      if (!part.decoder && !part.pending && (!part.failed || previous !== k)) fetchPart(k);
      previous = k;
      const state = part.decoder ? "ready" : part.pending ? "waiting" : "failed";
      const [latent, seed] = [model.get("latent"), model.get("draws")];
      const now = `${k} ${state} ${latent} ${seed}`;
      if (now === shown) return;
      shown = now;
      const name = `the model at β = ${betas[k]}`;
      made.forEach((image, n) => image.name(`What ${name} makes of the ${labels[n]}`));
      drawn.forEach((image, n) => image.name(`Draw ${n + 1} from the prior, decoded by ${name}`));
      trouble.hidden = state === "ready";
      ten.hidden = state !== "ready";
      retry.hidden = state !== "failed";
      pairs.setAttribute("aria-busy", state === "waiting");
      sheet.setAttribute("aria-busy", state === "waiting");
      if (state !== "ready") {
        // Nothing is shown that another model drew.
        const blank = new Float64Array(size);
        [...made, ...drawn].forEach((image) => image.draw(blank));
        const which = `the decoder for β = ${betas[k]}`;
        const told = state === "waiting" ? `Loading ${which} …` : `Could not load ${which}.`;
        write(words, `${told} `);
        s.announce(told);
        return;
      }
      const draws = noise(seed, labels.length + SAMPLES, latents);
      const means = labels.map((_, n) => code(k, 0, n));
      const deviations = labels.map((_, n) => code(k, 1, n));
      const zs = means.map((mean, n) => (latent === "mean" ? mean : mean.map((m, j) => m + deviations[n][j] * draws[n][j])));
      const logits = part.decoder.logits([...zs, ...draws.slice(labels.length)]);
      let [distortion, rate] = [0, 0];
      logits.forEach((values, n) => {
        if (n < labels.length) {
          distortion -= bernoulliLog(values, images[n]) / labels.length;
          const logVariance = deviations[n].map((d) => 2 * Math.log(d));
          rate += unitRates(means[n], logVariance).reduce((a, b) => a + b, 0) / labels.length;
        }
        for (let p = 0; p < size; p++) values[p] = sigmoid(values[p]);
        (n < labels.length ? made[n] : drawn[n - labels.length]).draw(values);
      });
      const number = (value, colour, what) => tag("span", { class: `vw-${colour}`, "data-number": what }, fixed(value));
      const these = labels.length === 1 ? "This one" : `These ${labels.length}`;
      ten.replaceChildren(
        `${these}: distortion `, number(distortion, "theta", "distortion"), ", rate ", number(rate, "phi", "rate"),
        latent === "draw" ? " nats." : " nats; but without a draw the two make no ELBO.",
      );
    }

    function draw() {
      const k = chosen();
      plot.measure();
      units.measure();
      drawPlane(k);
      drawUnits(k);
      drawTable(k);
      drawDigits(k);
      if (parts[k].decoder) {
        const { active } = ofUnits[k];
        s.announce(
          `beta ${betas[k]}: distortion ${fixed(distortions[k], 1)}, rate ${fixed(rates[k], 1)}, ` +
            `ELBO ${fixed(elbos[k], 1)} nats, ${active} of ${latents} latents active`,
        );
      }
    }

    s.start();
    // Ready, for whoever waits, is when the first model has been drawn, or cannot be had.
    await parts[chosen()].pending;
    return s.dispose;
  },
};
