// What every widget has: its frame, its controls, its link, one drawing per frame, and words for a screen reader.

/** Make an element: attributes by name, listeners as functions (`onclick`), children as nodes or text. */
export function tag(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "circle", "rect", "text", "ellipse", "title"].includes(name);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** A number as the book prints it: fixed digits, a true minus sign, no negative zero. */
export function fixed(value, digits = 2) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : value > 0 ? "∞" : "−∞";
  const text = value.toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : text.replace("-", "−");
}

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
/** Ten to a whole power. */
export const tenTo = (power) => `10${power < 0 ? "⁻" : ""}${[...String(Math.abs(power))].map((digit) => RAISED[digit]).join("")}`;

/** Four significant digits, as one reads them: 30.00, 0.01230, 12,345, 4.0·10⁻⁸. */
export function significant(value) {
  if (!Number.isFinite(value) || value === 0) return fixed(value, 0);
  const power = Math.floor(Math.log10(Math.abs(value)) + 1e-12);
  if (power < -4 || power > 8) return `${fixed(value / 10 ** power, 1)}·${tenTo(power)}`;
  return power > 3 ? Math.round(value).toLocaleString("en").replace("-", "−") : fixed(value, 3 - power);
}

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

const titles = new Map();
/** A name that no other region of the page has: the second of two widgets of one kind is called so. */
function unique(title) {
  titles.set(title, (titles.get(title) ?? 0) + 1);
  return titles.get(title) === 1 ? title : `${title}, number ${titles.get(title)}`;
}

let count = 0;
/** An id that no other element of the page has. */
export const fresh = (name) => `vw-${name}-${++count}`;

/**
 * The frame of a widget.
 *
 * `draw` is called at most once a frame, after `redraw()` and whenever a trait in `traits` changes, whoever
 * changed it: the reader, another view, Python, or the address of the page. It is not called before `start()`.
 */
export function shell(model, el, { title, hint = "", traits = [], draw = () => {} }) {
  const undo = [];
  const hintId = fresh("hint");
  const body = tag("div", { class: "vw-body" });
  const said = tag("div", { class: "vw-said", role: "status", "aria-live": "polite" });
  const tools = tag("div", { class: "vw-tools" });
  const root = tag(
    "section",
    { class: "vw", "aria-label": unique(title), "aria-describedby": hint ? hintId : null },
    tag("div", { class: "vw-head" }, tag("strong", { class: "vw-title" }, title), tools),
    ...(hint ? [tag("p", { class: "vw-hint", id: hintId }, hint)] : []),
    body,
    said,
  );
  el.append(root);

  // How long each drawing took, in milliseconds: what the tests of speed read.
  const times = (root.vwFrames = []);
  let wanted = 0;
  let started = false;
  function frame() {
    wanted = 0;
    const begun = performance.now();
    draw();
    times.push(performance.now() - begun);
    if (times.length > 1000) times.shift();
  }
  const redraw = () => {
    if (started && !wanted) wanted = requestAnimationFrame(frame);
  };

  function on(names, listener) {
    for (const name of names) {
      model.on(`change:${name}`, listener);
      undo.push(() => model.off(`change:${name}`, listener));
    }
  }
  /** Change traits, and say so to the others once; values that are the same already are left alone. */
  function put(values) {
    let changed = false;
    for (const [name, value] of Object.entries(values)) {
      if (JSON.stringify(model.get(name)) !== JSON.stringify(value)) {
        model.set(name, value);
        changed = true;
      }
    }
    if (changed) model.save_changes();
  }
  let speaking = 0;
  /** Words for a screen reader, when the reader's hand has come to rest. */
  function announce(text) {
    clearTimeout(speaking);
    speaking = setTimeout(() => {
      if (said.textContent !== text) said.textContent = text;
    }, 400);
  }

  function button(parent, text, onclick, attributes = {}) {
    const node = tag("button", { type: "button", class: "vw-button", onclick, ...attributes }, text);
    parent.append(node);
    return node;
  }

  /**
   * A slider for a numeric trait, or for one entry (`index`) of a list. With `stops` it moves along a list of
   * values, such as 1, 2, 5, 10, instead of by equal steps from `min` to `max`.
   */
  function slider(parent, trait, options) {
    const { label, min, max, step, index = null, colour = "ink", text = fixed, full = null, stops = null } = options;
    const id = fresh(trait);
    const range = stops ? { min: 0, max: stops.length - 1, step: 1 } : { min, max, step };
    const input = tag("input", { type: "range", id, ...range, style: `--c: var(--vw-${colour})` });
    const output = tag("output", { for: id });
    const value = () => (index === null ? model.get(trait) : model.get(trait)[index]);
    const off = (k) => Math.abs(stops[k] - value());
    const show = () => {
      input.value = stops ? stops.reduce((best, _, k) => (off(k) < off(best) ? k : best), 0) : value();
      output.textContent = text(value());
      input.setAttribute("aria-valuetext", (full ?? text)(value()));
    };
    input.addEventListener("input", () => {
      const number = stops ? stops[Number(input.value)] : Number(input.value);
      put({ [trait]: index === null ? number : model.get(trait).map((old, i) => (i === index ? number : old)) });
    });
    on([trait], show);
    show();
    const row = tag("div", { class: "vw-slider" }, tag("label", { for: id }, label), input, output);
    parent.append(row);
    return row;
  }

  /** Radio buttons in a row for a trait with few values: [[value, text], ...]. */
  function choice(parent, trait, { label, options }) {
    const name = fresh(trait);
    const inputs = options.map(([value, text]) => {
      const id = fresh(trait);
      const input = tag("input", { type: "radio", name, id, onchange: () => put({ [trait]: value }) });
      return { value, input, label: tag("label", { for: id }, text) };
    });
    const show = () => inputs.forEach(({ value, input }) => (input.checked = model.get(trait) === value));
    on([trait], show);
    show();
    const set = tag("fieldset", { class: "vw-choice" }, tag("legend", {}, label));
    set.append(...inputs.map(({ input, label: text }) => tag("span", {}, input, text)));
    parent.append(set);
    return set;
  }

  const fields = [];
  /**
   * A field to type a number into. What is no number from `min` to `max` is refused in words and changes
   * nothing. With `empty`, a field may be left empty, which means that value.
   */
  function number(parent, trait, { label, min, max, whole = false, empty = null }) {
    const id = fresh(trait);
    const input = tag("input", {
      type: "number", id, min, max, step: whole ? 1 : "any", inputmode: whole ? "numeric" : "decimal",
      "aria-describedby": `${id}-wrong`, placeholder: empty === null ? null : "unknown", autocomplete: "off",
    });
    const wrong = tag("span", { class: "vw-wrong", id: `${id}-wrong`, role: "alert" });
    const say = (words) => {
      wrong.textContent = words;
      if (words) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    };
    const meant = () => {
      if (input.value.trim() === "") return input.validity.badInput ? NaN : (empty ?? NaN);
      const value = Number(input.value);
      return value >= min && value <= max && (!whole || Number.isInteger(value)) ? value : NaN;
    };
    const show = () => {
      // While the reader types, the text stays as it is typed: 0.50 on the way to 0.501.
      if (meant() !== model.get(trait)) input.value = model.get(trait) === empty ? "" : model.get(trait);
      say("");
    };
    const shown = (value) => (value === empty ? "without it" : `with ${value.toLocaleString("en", { maximumSignificantDigits: 9 })}`);
    input.addEventListener("input", () => {
      const value = meant();
      if (Number.isFinite(value)) {
        say("");
        return put({ [trait]: value });
      }
      const limits = [min, max].map((limit) => limit.toLocaleString("en", { maximumSignificantDigits: 9 }));
      say(`Type a ${whole ? "whole " : ""}number from ${limits.join(" to ")}${empty === null ? "" : ", or nothing"}; still reckoning ${shown(model.get(trait))}.`);
    });
    on([trait], show);
    show();
    fields.push(show);
    const row = tag("div", { class: "vw-number" }, tag("label", { for: id }, label), input, wrong);
    parent.append(row);
    return row;
  }

  /** A check box for a trait that is true or false. */
  function toggle(parent, trait, label) {
    const id = fresh(trait);
    const input = tag("input", { type: "checkbox", id, onchange: () => put({ [trait]: input.checked }) });
    const show = () => (input.checked = model.get(trait));
    on([trait], show);
    show();
    const row = tag("span", { class: "vw-toggle" }, input, tag("label", { for: id }, label));
    parent.append(row);
    return row;
  }

  button(tools, "Reset", () => {
    put(model.get("_initial"));
    fields.forEach((show) => show()); // also what was typed and refused
    announce("Reset");
  });
  // Only a page of the book has an address that can say where its widgets stand.
  if (model.link) {
    button(tools, "Copy link", async () => {
      announce((await copy(model.link())) ? "Link copied" : "The link stands in the address bar");
    });
  }

  const watch = new ResizeObserver(redraw);
  watch.observe(body);
  undo.push(() => watch.disconnect());
  // Colours of the page, for canvases: curves and text follow by themselves.
  const theme = new MutationObserver(redraw);
  for (const node of [document.documentElement, document.body]) {
    theme.observe(node, { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light"] });
  }
  undo.push(() => theme.disconnect());
  on(traits, redraw);

  return {
    model, root, body, tools, redraw, on, put, announce, button, slider, choice, toggle, number,
    /** The first drawing, at once, when all is built. */
    start() {
      started = true;
      frame();
    },
    /** To be returned by `render`: leaves no listener behind. */
    dispose() {
      cancelAnimationFrame(wanted);
      clearTimeout(speaking);
      undo.forEach((step) => step());
      root.remove();
    },
    /** More to do when the view goes. */
    onDispose: (step) => undo.push(step),
  };
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No permission, or a page opened from a file: the old way still works in most browsers.
    const area = tag("textarea", { style: "position: fixed; opacity: 0" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Whether the reader has asked for less motion. */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/**
 * Follow a pointer over an element: `move(x, y, event)` with pixels from its corner.
 * `hover` also follows a mouse that is not pressed. A page still scrolls where nothing is followed.
 */
export function follow(node, { move, hover = false, down = () => {}, up = () => {} }) {
  node.style.touchAction = "none";
  // Within an SVG that style is not heeded: a finger on a handle would drag, and then scroll the page.
  node.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  const at = (event) => {
    const box = node.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top, event];
  };
  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    node.setPointerCapture(event.pointerId);
    down(...at(event));
    move(...at(event));
  });
  node.addEventListener("pointermove", (event) => {
    if (event.buttons & 1 || (hover && event.pointerType === "mouse")) move(...at(event));
  });
  for (const name of ["pointerup", "pointercancel"]) node.addEventListener(name, (event) => up(...at(event)));
}

/** Arrow keys as steps: `step(dx, dy, event)`, y upwards; ten at a time with Shift or Page keys. */
export function arrows(node, step) {
  const steps = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1], PageUp: [0, 10], PageDown: [0, -10],
  };
  node.addEventListener("keydown", (event) => {
    if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const times = event.shiftKey ? 10 : 1;
    step(steps[event.key][0] * times, steps[event.key][1] * times, event);
  });
}
