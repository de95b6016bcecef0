// One slider for each latent, sorted by what it says of an image, and what the decoder makes of it along the way.
import { fixed, shell, tag } from "./lib/shell.js";
import { linspace } from "./lib/maths.js";
import { decoderOf, named } from "./lib/mlp.js";
import { picture } from "./lib/ink.js";

const STATIONS = 5;
const REACH = 3;
// Rows that are decoded together, and the milliseconds after which a frame begins no more of them.
const ROWS = 4;
const BUDGET = 2;

/** The latents of a strip: `z` with coordinate j at each of the values. */
export const strip = (z, j, values) => Array.from(values, (value) => z.map((old, i) => (i === j ? value : old)));

export default {
  async render({ model, el }) {
    const decoder = decoderOf(await named(model, "decoder"));
    const rates = model.get("rates");
    const active = model.get("active");
    const order = rates.map((_, j) => j).sort((a, b) => rates[b] - rates[a]);
    const alive = active.filter(Boolean).length;
    const s = shell(model, el, {
      title: "Latent traversal",
      hint:
        `${decoder.latent} latents, ${alive} of them active. Each row is one: its mean KL over the test set, a slider, ` +
        "and what the decoder draws along it while the others stay where they are.",
      traits: ["z"],
      draw,
    });

    // The picture stays in sight while the rows scroll by.
    const figure = tag("figure", { class: "vw-traversed" });
    const digit = picture(figure, { size: 112, label: "The image decoded at z" });
    const starts = tag("div", { class: "vw-starts", role: "group", "aria-label": "Start from" });
    starts.append(tag("span", { class: "vw-quiet" }, "Start from the mean of a test image: "));
    const reset = (values, what) => () => {
      s.put({ z: values });
      s.announce(`Started from ${what}`);
    };
    model.get("starts").forEach((values, label) => s.button(starts, String(label), reset(values, `a ${label}`)));
    s.button(starts, "origin", reset(rates.map(() => 0), "the origin"));
    figure.append(starts);
    s.body.append(figure);

    const values = linspace(-REACH, REACH, STATIONS);
    const most = Math.max(...rates, 1e-9);
    const rows = order.map((j) => {
      const row = tag("div", { class: active[j] ? "vw-unit" : "vw-unit vw-inactive" });
      const bar = tag("span", { class: "vw-rate", style: `--share: ${(100 * rates[j]) / most}%` });
      row.append(tag("div", { class: "vw-unit-head" }, bar, tag("span", { class: "vw-quiet" }, `${fixed(rates[j])} nats`)));
      s.slider(row, "z", { label: `z${subscript(j + 1)}`, index: j, min: -4, max: 4, step: 0.05, colour: "latent" });
      const strip = active[j] ? tag("div", { class: "vw-strip" }) : tag("span", { class: "vw-quiet" }, "inactive: the decoder ignores it");
      const images = active[j]
        ? Array.from(values, (v) => picture(strip, { size: "100%", label: `At z${j + 1} = ${fixed(v, 1)}` }))
        : [];
      row.append(strip);
      s.body.append(row);
      return { j, row, images, drawn: "", seen: true };
    });
    // Strips out of sight wait until they are in it.
    const watch = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) rows.find(({ row }) => row === target).seen = isIntersecting;
      s.redraw();
    });
    rows.forEach(({ row }) => watch.observe(row));
    s.onDispose(() => watch.disconnect());

    let turn = 0;
    function draw() {
      const begun = performance.now();
      const z = model.get("z");
      digit.draw(decoder.decode([z])[0]);
      // A strip does not depend on the coordinate that it varies: of the row that is dragged nothing changes.
      const state = (row) => String(z.map((v, i) => (i === row.j ? "" : v)));
      const due = rows.filter((row) => row.images.length && row.seen && row.drawn !== state(row));
      const queue = due.map((_, i) => due[(i + turn) % due.length]);
      // As many rows as a frame has time for, by turns, so that none waits for the hand to rest.
      for (let k = 0; k < queue.length; k += ROWS) {
        if (performance.now() - begun > BUDGET) {
          s.redraw();
          break;
        }
        const some = queue.slice(k, k + ROWS);
        const decoded = decoder.decode(some.flatMap(({ j }) => strip(z, j, values)));
        some.forEach((row, r) => {
          row.drawn = state(row);
          row.images.forEach((image, i) => image.draw(decoded[r * STATIONS + i]));
        });
      }
      turn += ROWS;
    }

    s.start();
    return s.dispose;
  },
};

const subscript = (number) => String(number).replace(/\d/g, (d) => "₀₁₂₃₄₅₆₇₈₉"[d]);
