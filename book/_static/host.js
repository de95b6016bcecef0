// Runs the widgets of a page that has no kernel: from the state that was stored when the page was built.
//
// Jupyter's front end, cut down to what an anywidget needs. Three more things: weights and other large bytes,
// which the build has moved to files of their own (book/_ext/widgets.py), are fetched when a widget first asks
// for them; the part of the state that is the reader's choice lives in the page's address; and the still
// picture that stands beside a widget goes once the widget has started.
(() => {
  "use strict";

  const base = new URL(".", document.currentScript.src).href;
  const state = {};
  const models = new Map();
  const modules = new Map();
  const lifted = new Map();
  const views = new Map(); // key of a widget -> its element and model

  // --- bytes ---------------------------------------------------------------------------------------------

  // A script, not fetch(): a page that was opened from a file may load scripts and nothing else.
  window.vaebookBytes = (name, base64) => lifted.get(name)?.resolve(bytes(base64));

  function bytes(base64) {
    const text = atob(base64);
    const found = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k++) found[k] = text.charCodeAt(k);
    return new DataView(found.buffer);
  }

  function fetched(name) {
    if (!lifted.has(name)) {
      const entry = {};
      entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
      lifted.set(name, entry);
      const script = document.createElement("script");
      script.src = `${base}models/${name}.js`;
      script.onerror = () => {
        lifted.delete(name); // so that another try is one
        script.remove();
        entry.reject(new Error("its data could not be loaded"));
      };
      document.head.append(script);
    }
    return lifted.get(name).promise;
  }

  // --- models --------------------------------------------------------------------------------------------

  /** What anywidget promises a module: get, set, save_changes, on, off, send and widget_manager. */
  class Model {
    constructor(values) {
      this.values = values;
      this.changed = new Set();
      this.listeners = new Map();
      this.widget_manager = { get_model: getModel };
    }
    get(name) {
      return this.values[name];
    }
    set(name, value) {
      const all = typeof name === "string" ? { [name]: value } : name;
      for (const [key, next] of Object.entries(all)) {
        if (JSON.stringify(this.values[key]) === JSON.stringify(next)) continue;
        this.values[key] = next;
        this.changed.add(key);
        for (const listener of [...(this.listeners.get(`change:${key}`) ?? [])]) listener(this, next);
      }
      if (this.changed.size) for (const listener of [...(this.listeners.get("change") ?? [])]) listener(this);
    }
    save_changes() {
      if (this.changed.size) this.onSave?.();
      this.changed.clear();
    }
    on(name, listener) {
      if (!this.listeners.has(name)) this.listeners.set(name, new Set());
      this.listeners.get(name).add(listener);
    }
    off(name, listener) {
      if (name === undefined || name === null) this.listeners.clear();
      else if (listener) this.listeners.get(name)?.delete(listener);
      else this.listeners.delete(name);
    }
    send() {} // nobody is there to listen
  }

  function getModel(id) {
    if (!models.has(id)) {
      if (!Object.hasOwn(state, id)) return Promise.reject(new Error("a part of its state is missing"));
      const { state: values, buffers = [] } = state[id];
      const parts = buffers.map(async ({ path, data, lifted: name }) => {
        const last = path.at(-1);
        const holder = path.slice(0, -1).reduce((value, step) => value[step], values);
        holder[last] = name ? await fetched(name) : bytes(data);
      });
      const made = Promise.all(parts).then(() => new Model(values));
      made.catch(() => models.delete(id));
      models.set(id, made);
    }
    return models.get(id);
  }

  function moduleOf(text) {
    if (!modules.has(text)) {
      const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
      modules.set(text, import(address).finally(() => URL.revokeObjectURL(address)));
    }
    return modules.get(text);
  }

  const styles = new Set();
  function wear(text) {
    if (!text || styles.has(text)) return;
    styles.add(text);
    const style = document.createElement("style");
    style.textContent = text;
    document.head.append(style);
  }

  // --- the address ---------------------------------------------------------------------------------------
  //
  // #latent-pad?z=0.5,-1.2&mode=path;draw-a-digit?... : widget by widget, only what differs from the start.

  /** The value that a text in an address means for a trait, or undefined if the trait may not take it. */
  function read(text, rule) {
    if (text.length > 4000) return undefined;
    const number = (word) => {
      const value = /^-?\d{1,9}(\.\d{1,9})?$/.test(word) ? Number(word) : NaN;
      const fits = value >= (rule.min ?? -1e9) && value <= (rule.max ?? 1e9) && (!rule.whole || Number.isInteger(value));
      return fits ? value : undefined;
    };
    switch (rule.type) {
      case "number":
        return number(text);
      case "numbers": {
        const values = text === "" ? [] : text.split(",").map(number);
        const fits = values.length >= (rule.least ?? 0) && values.length <= (rule.most ?? 1e4);
        return fits && !values.includes(undefined) ? values : undefined;
      }
      case "boolean":
        return text === "1" ? true : text === "0" ? false : undefined;
      case "choice":
        return rule.of.find((value) => String(value) === text);
      case "text":
        return new RegExp(`^(?:${rule.pattern})$`).test(text) ? text : undefined;
      default:
        return undefined;
    }
  }

  function write(value, digits = 4) {
    if (typeof value === "boolean") return value ? "1" : "0";
    if (Array.isArray(value)) return value.map((entry) => write(entry, digits)).join(",");
    if (typeof value === "number") return value.toFixed(digits).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
    return encodeURIComponent(value);
  }

  /** The choices in an address: for each widget of this page that it names, the values that are allowed. */
  function choices(hash) {
    const found = new Map();
    for (const part of hash.replace(/^#/, "").split(";")) {
      const [key, query = ""] = part.split("?", 2);
      if (!views.has(key) || !part.includes("?")) continue;
      const schema = views.get(key).model.get("_schema");
      const values = {};
      for (const pair of query.split("&")) {
        const cut = pair.indexOf("=");
        const name = pair.slice(0, cut);
        if (cut < 1 || !Object.hasOwn(schema, name)) continue;
        let text;
        try {
          text = decodeURIComponent(pair.slice(cut + 1));
        } catch {
          continue; // a stray %
        }
        const value = read(text, schema[name]);
        if (value !== undefined) values[name] = value;
      }
      // A link that asks for nothing that can be had is no link; one that asks for nothing means the start.
      if (query === "" || Object.keys(values).length) found.set(key, values);
    }
    return found;
  }

  function spell(key, model) {
    const first = model.get("_initial");
    const pairs = Object.keys(first)
      .filter((name) => JSON.stringify(model.get(name)) !== JSON.stringify(first[name]))
      .map((name) => `${name}=${write(model.get(name), model.get("_schema")[name].digits)}`);
    return pairs.length ? `${key}?${pairs.join("&")}` : "";
  }

  // Browsers allow a page only so many changes of its address in a minute: wait until the hand rests.
  let writing = 0;
  function store() {
    clearTimeout(writing);
    writing = setTimeout(() => {
      const parts = [...views].map(([key, { model }]) => spell(key, model)).filter(Boolean);
      // An address that names a place of the page, and no widget, stays as long as there is nothing to say.
      const widgets = /^#[\w-]+\?/.test(location.hash);
      if (!parts.length && !widgets) return;
      history.replaceState(history.state, "", parts.length ? `#${parts.join(";")}` : location.pathname + location.search);
    }, 300);
  }

  function obey(values, key) {
    const { model, box } = views.get(key);
    // What a link leaves out is where it was at the start: the link says exactly what is seen.
    model.set({ ...model.get("_initial"), ...values });
    model.changed.clear();
    return box;
  }

  addEventListener("hashchange", () => {
    const boxes = [...choices(location.hash)].map(([key, values]) => obey(values, key));
    boxes[0]?.scrollIntoView({ block: "center" });
  });

  // --- start ---------------------------------------------------------------------------------------------

  const first = location.hash;

  // A widget starts when the reader comes near it, or at once if the address names it: a page's second model
  // is no reason to keep anyone waiting for the first.
  const approach = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        approach.unobserve(target);
        start(target, target.dataset.model);
      }
    },
    { rootMargin: "1200px 0px" },
  );

  /** Stills are for paper, and for readers without scripts, or for whom the widget does not start. */
  function hideStill(key, hidden) {
    for (const image of document.querySelectorAll(`img[src*="widget-${CSS.escape(key)}."]`)) {
      (image.closest("figure, p, a.reference") ?? image).classList.toggle("widget-still", hidden);
    }
  }

  function prepare(script) {
    const { model_id: id } = JSON.parse(script.textContent);
    if (!Object.hasOwn(state, id) || state[id].model_module !== "anywidget") return;
    const box = document.createElement("div");
    box.className = "widget-host";
    box.dataset.model = id;
    script.after(box);
    hideStill(state[id].state.key, true); // at once: it is lazy, so that one never shown is never fetched
    if (first.includes(`${state[id].state.key}?`)) start(box, id);
    else approach.observe(box);
  }

  async function start(box, id) {
    try {
      const model = await getModel(id);
      const key = model.get("key");
      const module = await moduleOf(model.get("_esm"));
      wear(model.get("_css"));
      if (!views.has(key)) {
        views.set(key, { model, box });
        model.onSave = store;
        model.link = () => `${location.href.split("#")[0]}#${spell(key, model) || `${key}?`}`;
        const asked = choices(first).get(key);
        if (asked) obey(asked, key);
      }
      await module.default.render({ model, el: box });
      box.dataset.ready = Math.round(performance.now());
      box.vaebook = { model, module }; // for whoever looks from the browser's console, and for the tests
      if (choices(first).has(key)) box.scrollIntoView({ block: "center" });
    } catch (error) {
      console.error(error);
      hideStill(state[id].state.key, false);
      box.setAttribute("role", "alert");
      box.textContent = `This widget could not start: ${error.message}. Load the page again, or read on: nothing else needs it.`;
    }
  }

  function main() {
    for (const script of document.querySelectorAll('script[type="application/vnd.jupyter.widget-state+json"]')) {
      Object.assign(state, JSON.parse(script.textContent).state);
    }
    document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]').forEach(prepare);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", main);
  else main();
})();
