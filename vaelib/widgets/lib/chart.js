// Curves, bars and handles over two axes, as SVG: sharp in print, and coloured by the page's own style.
import { arrows, clamp, fixed, follow, tag } from "./shell.js";

/** Round numbers between two limits, about `count` of them and at least two. */
export function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(k * step);
  // One number is no scale: a low chart gets two all the same.
  return found.length < 2 && count < 8 ? ticks(low, high, 2 * count) : { step, found };
}

/**
 * A chart whose marks are named: naming one again moves it, and one not named in a frame goes.
 *
 *   c.frame({ x: [-4, 4], y: [0, 1] });          // limits; then the marks
 *   c.curve("q", xs, ys, { colour: "phi" });
 *   c.done();
 *
 * It is as wide as its parent at each frame, so that letters keep their size on a phone. With the height
 * "square" a unit is as long upwards as it is across, if the limits are alike. Without `yNumbers` the axis
 * upwards has no numbers, and no lines cross the chart: for rows of bars, which name themselves.
 */
export function chart(parent, { label, height: asked = 240, xLabel = "", yLabel = "", yNumbers = true, margin = {} }) {
  const m = { left: yLabel ? 52 : 36, right: 12, top: 12, bottom: xLabel ? 40 : 24, ...margin };
  const svg = tag("svg", { class: "vw-chart", role: "group", "aria-label": label });
  const axes = tag("g", { class: "vw-axes", "aria-hidden": "true" });
  const marks = tag("g");
  svg.append(axes, marks);
  parent.append(svg);
  const known = new Map();
  let seen = new Set();
  let width = 0;
  let height = 0;
  let limits = { x: [0, 1], y: [0, 1] };
  let drawn = "";
  let measured = null;

  const right = () => width - m.right;
  const bottom = () => height - m.bottom;
  const sx = (v) => m.left + ((v - limits.x[0]) / (limits.x[1] - limits.x[0])) * (right() - m.left);
  const sy = (v) => bottom() - ((v - limits.y[0]) / (limits.y[1] - limits.y[0])) * (bottom() - m.top);
  const x = (px) => limits.x[0] + ((px - m.left) / (right() - m.left)) * (limits.x[1] - limits.x[0]);
  const y = (px) => limits.y[0] + ((bottom() - px) / (bottom() - m.top)) * (limits.y[1] - limits.y[0]);
  const r = (v) => (Number.isFinite(v) ? Math.round(clamp(v, -1e4, 1e4) * 100) / 100 : 0);

  function mark(key, name, attributes = {}) {
    if (!known.has(key)) {
      known.set(key, tag(name, { ...attributes, "data-mark": key })); // by which the tests find it, too
      marks.append(known.get(key));
    }
    seen.add(key);
    return known.get(key);
  }
  // Most marks of a frame are where they were: what has not changed is left alone, which is most of the time.
  function change(node, name, value) {
    const was = (node.vwWas ??= {});
    if (was[name] === value) return;
    was[name] = value;
    if (value === null) node.removeAttribute(name);
    else node.setAttribute(name, value);
  }
  function paint(node, { colour = "ink", dash = false, width: line = 2, opacity = null }) {
    change(node, "style", `--c: var(--vw-${colour}); stroke-width: ${line}${opacity === null ? "" : `; opacity: ${opacity}`}`);
    change(node, "stroke-dasharray", dash ? (dash === true ? "5 4" : dash) : null);
  }
  function put(node, values) {
    for (const [name, value] of Object.entries(values)) change(node, name, r(value));
  }
  const trace = (xs, ys) => {
    let path = "";
    for (let i = 0; i < xs.length; i++) path += `${i ? "L" : "M"}${r(sx(xs[i]))} ${r(sy(ys[i]))}`;
    return path;
  };

  function drawAxes() {
    const now = JSON.stringify([width, limits]);
    if (now === drawn) return;
    drawn = now;
    const pieces = [];
    const text = (px, py, words, attributes) => tag("text", { x: r(px), y: r(py), ...attributes }, words);
    const plain = (axis, length) => {
      const { step, found } = ticks(...limits[axis], length);
      return found.map((v) => [v, fixed(v, digits(step))]);
    };
    for (const [v, words] of limits.xTicks ?? plain("x", (right() - m.left) / 70)) {
      const px = r(sx(v));
      const [from, to] = yNumbers ? [m.top, bottom()] : [bottom(), bottom() + 4];
      pieces.push(tag("line", { x1: px, x2: px, y1: from, y2: to, class: "vw-grid" }));
      pieces.push(text(px, bottom() + 15, words, { "text-anchor": "middle" }));
    }
    for (const [v, words] of yNumbers ? (limits.yTicks ?? plain("y", (bottom() - m.top) / 45)) : []) {
      const py = r(sy(v));
      pieces.push(tag("line", { x1: m.left, x2: right(), y1: py, y2: py, class: "vw-grid" }));
      pieces.push(text(m.left - 6, py + 4, words, { "text-anchor": "end" }));
    }
    if (xLabel) pieces.push(text((m.left + right()) / 2, height - 6, xLabel, { "text-anchor": "middle", class: "vw-name" }));
    if (yLabel) {
      const middle = (m.top + bottom()) / 2;
      const turned = { "text-anchor": "middle", class: "vw-name", transform: `rotate(-90 12 ${middle})` };
      pieces.push(text(12, middle, yLabel, turned));
    }
    axes.replaceChildren(...pieces);
  }

  return {
    svg, sx, sy, x, y,
    /**
     * Look how wide the chart may be, for the next frame. Where a widget has several charts, let it measure all
     * before it draws on one: a width that is asked for after a change makes the browser lay out the page anew.
     */
    measure() {
      measured = parent.clientWidth;
    },
    /** Begin a frame with these limits, and with ticks of one's own, [[place, words], ...], as `xTicks` or `yTicks`. */
    frame(next) {
      width = Math.max(200, measured ?? parent.clientWidth);
      measured = null;
      height = asked === "square" ? width - m.left - m.right + m.top + m.bottom : asked;
      change(svg, "width", width);
      change(svg, "height", height);
      limits = next;
      seen = new Set();
      drawAxes();
    },
    /** End a frame: marks that were not named in it go. */
    done() {
      for (const [key, node] of known) {
        if (!seen.has(key)) {
          node.remove();
          known.delete(key);
        }
      }
    },
    curve(key, xs, ys, style = {}) {
      const node = mark(key, "path", { class: "vw-line" });
      paint(node, style);
      node.setAttribute("d", trace(xs, ys));
    },
    /** The area between a curve and a level. */
    area(key, xs, ys, { level = 0, ...style } = {}) {
      const node = mark(key, "path", { class: "vw-area" });
      paint(node, { opacity: 0.22, ...style });
      const last = xs.length - 1;
      node.setAttribute("d", `${trace(xs, ys)}L${r(sx(xs[last]))} ${r(sy(level))}L${r(sx(xs[0]))} ${r(sy(level))}Z`);
    },
    line(key, x0, y0, x1, y1, style = {}) {
      const node = mark(key, "line", { class: "vw-line" });
      paint(node, style);
      put(node, { x1: sx(x0), y1: sy(y0), x2: sx(x1), y2: sy(y1) });
    },
    /** A box from corner to corner. */
    bar(key, x0, y0, x1, y1, style = {}) {
      const node = mark(key, "rect", { class: "vw-bar" });
      paint(node, style);
      put(node, {
        x: Math.min(sx(x0), sx(x1)), y: Math.min(sy(y0), sy(y1)),
        width: Math.abs(sx(x1) - sx(x0)), height: Math.abs(sy(y1) - sy(y0)),
      });
    },
    /** Many boxes, [[x0, y0, x1, y1], ...], as one mark. */
    bars(key, boxes, style = {}) {
      const node = mark(key, "path", { class: "vw-bar" });
      paint(node, style);
      let path = "";
      for (const [x0, y0, x1, y1] of boxes) path += `M${r(sx(x0))} ${r(sy(y0))}H${r(sx(x1))}V${r(sy(y1))}H${r(sx(x0))}Z`;
      change(node, "d", path);
    },
    dot(key, x0, y0, { radius = 4, ...style } = {}) {
      const node = mark(key, "circle", { class: "vw-dot" });
      paint(node, style);
      put(node, { cx: sx(x0), cy: sy(y0), r: radius });
    },
    ellipse(key, x0, y0, rx, ry, { fill = false, ...style } = {}) {
      const node = mark(key, "ellipse", { class: fill ? "vw-area" : "vw-line" });
      paint(node, style);
      put(node, { cx: sx(x0), cy: sy(y0), rx: sx(x0 + rx) - sx(x0), ry: sy(y0) - sy(y0 + ry) });
    },
    text(key, x0, y0, words, { anchor = "start", dx = 0, dy = 0, ...style } = {}) {
      const node = mark(key, "text", { class: "vw-text" });
      paint(node, style);
      put(node, { x: sx(x0) + dx, y: sy(y0) + dy });
      node.setAttribute("text-anchor", anchor);
      node.textContent = words;
    },
    /** A point that is dragged over the plane, or moved with the arrow keys by `step`; `set([x, y])`. */
    grip(key, x0, y0, { label: name, step, set, colour = "ink" }) {
      let node = known.get(key);
      if (!node) {
        node = mark(key, "g", { class: "vw-handle", role: "application", tabindex: 0, "aria-roledescription": "point" });
        node.append(tag("circle", { r: 22, class: "vw-reach" }), tag("circle", { r: 8, class: "vw-grip" }));
        const send = (px, py) => node.vw.set((node.vw.at = [clamp(px, ...limits.x), clamp(py, ...limits.y)]));
        follow(node, {
          move: (_px, _py, event) => {
            const box = svg.getBoundingClientRect();
            send(x(event.clientX - box.left), y(event.clientY - box.top));
          },
        });
        arrows(node, (dx, dy) => send(node.vw.at[0] + dx * node.vw.step, node.vw.at[1] + dy * node.vw.step));
      }
      seen.add(key);
      node.vw = { at: [x0, y0], step, set };
      node.setAttribute("transform", `translate(${r(sx(x0))} ${r(sy(y0))})`);
      node.setAttribute("style", `--c: var(--vw-${colour}); cursor: move`);
      node.setAttribute("aria-label", `${name}, at ${fixed(x0)}, ${fixed(y0)}`);
    },
    /**
     * A handle that is dragged, or moved with the arrow keys: a slider to a screen reader.
     * `set(value)` gets the new value, within its limits; `along` is the axis it moves on, and `read` says which
     * value a place on that axis means, where it is not the place itself.
     */
    handle(key, x0, y0, { label: name, value, min, max, step, along = "x", text = fixed, read = (v) => v, set, colour = "ink" }) {
      let node = known.get(key);
      if (!node) {
        node = mark(key, "g", { class: "vw-handle", role: "slider", tabindex: 0 });
        node.append(tag("circle", { r: 22, class: "vw-reach" }), tag("circle", { r: 8, class: "vw-grip" }));
        // Kept at once: two keys may be pressed before the next drawing.
        const send = (v) => node.vw.set((node.vw.value = clamp(v, node.vw.min, node.vw.max)));
        follow(node, {
          move: (_px, _py, event) => {
            const box = svg.getBoundingClientRect();
            send(node.vw.read(node.vw.along === "x" ? x(event.clientX - box.left) : y(event.clientY - box.top)));
          },
        });
        arrows(node, (dx, dy) => send(node.vw.value + (dx + dy) * node.vw.step));
        node.addEventListener("keydown", (event) => {
          if (event.key !== "Home" && event.key !== "End") return;
          event.preventDefault();
          send(event.key === "Home" ? node.vw.min : node.vw.max);
        });
      }
      seen.add(key);
      node.vw = { value, min, max, step, along, read, set };
      node.setAttribute("transform", `translate(${r(sx(x0))} ${r(sy(y0))})`);
      node.setAttribute("style", `--c: var(--vw-${colour}); cursor: ${along === "x" ? "ew" : "ns"}-resize`);
      const words = { label: name, valuemin: min, valuemax: max, valuenow: value, valuetext: text(value) };
      for (const [attribute, said] of Object.entries(words)) node.setAttribute(`aria-${attribute}`, said);
    },
  };
}

const digits = (step) => clamp(-Math.floor(Math.log10(step) + 1e-9), 0, 6);
