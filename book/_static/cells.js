// The cells that run in the page: their buttons, their inputs, and what the reader has typed.
//
// All that a page loads before its reader presses one of them. The editor comes with the first press
// (session.js), Python with the first press of "Run" (worker.js).
(() => {
  "use strict";

  const base = new URL("live/", document.currentScript.src);
  const words = (tag, name, text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });

  function button(name, label, title, press) {
    const made = words("button", `live-${name}`, label);
    Object.assign(made, { type: "button", title });
    made.addEventListener("click", press);
    return made;
  }

  /** A line of buttons with a place for words about what they do. */
  function bar(label, buttons) {
    const made = words("div", "live-bar");
    made.setAttribute("role", "group");
    made.setAttribute("aria-label", label);
    const status = words("span", "live-status");
    made.append(...buttons, status);
    return { bar: made, status };
  }

  // One voice for the page: what happens in a cell is said once, wherever the reader is.
  const voice = words("div", "live-voice");
  voice.setAttribute("role", "status");
  const say = (text) => (voice.textContent = text);

  // What was typed, for as long as the tab is open; where a browser keeps nothing, for as long as the page is.
  const memory = {
    recall(key, original) {
      try {
        const kept = JSON.parse(sessionStorage.getItem(key));
        if (kept?.of === original && typeof kept.text === "string") return kept.text; // and not of an older page
      } catch {
        // nothing kept, or nothing of ours
      }
      return original;
    },
    keep(key, original, text) {
      try {
        if (text === original) sessionStorage.removeItem(key);
        else sessionStorage.setItem(key, JSON.stringify({ of: original, text }));
      } catch {
        // no room, or not allowed
      }
    },
  };

  // --- cells -----------------------------------------------------------------------------------------------

  class Cell {
    constructor(box, place) {
      this.box = box;
      this.place = place;
      this.name = `cell ${place + 1}`;
      this.pre = box.querySelector(".cell_input pre");
      this.original = this.pre.textContent.replace(/\n$/, "");
      this.highlighted = this.pre.innerHTML;
      this.key = `live ${location.pathname} ${place}`;
      this.listeners = [];
      const press = (what) => () => ask(this, what);
      this.run = button("run", "Run", `Run ${this.name} here, and first what it needs (Shift+Enter in the editor)`, press("run"));
      this.above = button("above", "Run all above", `Run every cell up to ${this.name}, in order`, press("above"));
      this.edit = button("edit", "Edit", `Change ${this.name}`, press("edit"));
      this.reset = button("reset", "Reset", `Bring back ${this.name} and its output as the book has them`, () => this.restore());
      Object.assign(this, bar(`Run ${this.name}`, [this.run, this.above, this.edit, this.reset]));
      this.above.hidden = place === 0;
      const input = box.querySelector(".cell_input");
      (input.closest("details") ?? input).after(this.bar);
      this.text = memory.recall(this.key, this.original);
      this.show();
    }

    get code() {
      return this.text;
    }

    set code(text) {
      this.text = text;
      memory.keep(this.key, this.original, text);
      this.show();
    }

    show() {
      if (this.text === this.original) this.pre.innerHTML = this.highlighted;
      else this.pre.textContent = this.text;
      this.reset.hidden = this.text === this.original && !this.ran;
      this.bar.classList.toggle("live-edited", this.text !== this.original);
      for (const listener of this.listeners) listener(this.text);
    }

    restore() {
      this.ran = false;
      this.code = this.original;
      this.onReset?.();
      this.status.textContent = "";
      say(`${this.name} is as the book has it`);
      this.run.focus();
    }
  }

  // --- inputs ----------------------------------------------------------------------------------------------

  const NUMBER = "-?(?:\\d[\\d_]*\\.?\\d*|\\.\\d+)(?:e-?\\d+)?";
  const VALUE = new RegExp(`^(?:${NUMBER}|\\[ *${NUMBER}(?: *, *${NUMBER})* *\\])$`);

  /** The lines with which a cell begins that give a number, or a list of them, a name. */
  function inputs(code) {
    const found = [];
    for (const line of code.split("\n")) {
      const [, name, value, hint = ""] = line.match(/^(\w+) = (.*?)(?: +# (.*))?$/) ?? [];
      if (!name || !VALUE.test(value)) break;
      found.push({ name, value, hint });
    }
    return found;
  }

  /** Put a field for each such line above a cell: the line and the field always say the same. */
  function addFields(cell) {
    const form = words("div", "live-fields");
    form.setAttribute("role", "group");
    form.setAttribute("aria-label", "Inputs of this check. Enter runs it.");
    const fields = inputs(cell.original).map(({ name, hint }, row) => {
      const label = words("label", "live-field");
      const field = Object.assign(document.createElement("input"), { inputMode: "decimal", autocomplete: "off", spellcheck: false });
      label.append(words("code", "", name), words("small", "", hint), field);
      field.addEventListener("input", () => {
        const fits = VALUE.test(field.value.trim());
        field.setAttribute("aria-invalid", String(!fits));
        field.title = fits ? "" : "A number, such as 0.5, or a list of numbers, such as [1, -0.5]";
        if (!fits) return;
        const lines = cell.code.split("\n");
        lines[row] = lines[row].replace(/ = .*?(?=  # |$)/, () => ` = ${field.value.trim()}`);
        cell.code = lines.join("\n");
      });
      return field;
    });
    const show = () => {
      const now = inputs(cell.code);
      const whole = now.length === fields.length;
      fields.forEach((field, row) => {
        field.disabled = !whole; // the lines are no longer those that the fields stand for
        if (whole && field !== document.activeElement) {
          field.value = now[row].value;
          field.setAttribute("aria-invalid", "false");
        }
      });
    };
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      ask(cell, "run");
    });
    form.addEventListener("focusout", show);
    form.append(...fields.map((field) => field.parentElement));
    cell.listeners.push(show);
    show();
    // Fields, buttons and result stand together; the code follows for those who want to see how.
    cell.box.prepend(form, cell.bar);
  }

  // --- equations -------------------------------------------------------------------------------------------

  class Equation {
    constructor(line) {
      this.line = line;
      this.box = line.previousElementSibling;
      this.label = this.box.id.replace("equation-", "");
      this.name = this.label;
      this.check = button("check", "check it here", `Let SymPy check ${this.label} in this page, as it stands or changed`, () => ask(this, "open"));
      this.check.setAttribute("aria-expanded", "false");
      line.append(" · ", this.check);
      this.status = words("span", "live-status");
    }
  }

  // --- the first press -------------------------------------------------------------------------------------

  let session;
  let tries = 0;

  async function ask(what, wish) {
    if (location.protocol === "file:") return explain(what);
    what.status.textContent ||= "Loading …";
    session ??= import(`${base}session.js${tries ? `?${tries}` : ""}`).then(({ open }) => open({ base, cells, equations, memory, say, words, button, bar }));
    try {
      const { [wish]: grant } = await session;
      if (what.status.textContent === "Loading …") what.status.textContent = "";
      grant(what);
    } catch (error) {
      session = undefined; // so that another press is another try
      tries += 1;
      what.status.textContent = `This could not be loaded (${error.message}). Press again to try once more.`;
      what.line?.append(what.status);
    }
  }

  /** Browsers let no page that was opened from a file start Python; a server of one line may. */
  function explain(what) {
    const folder = decodeURIComponent(new URL("../..", base).pathname);
    const page = location.pathname.slice(new URL("../..", base).pathname.length);
    what.status.replaceChildren(
      "A browser does not let a page start Python that was opened from a file. Serve the folder: ",
      words("code", "", `python3 -m http.server --bind 127.0.0.1 --directory "${folder}"`),
      ", then open ",
      words("code", "", `http://127.0.0.1:8000/${page}`),
    );
    what.line?.append(what.status);
    say(what.status.textContent);
  }

  const cells = [...document.querySelectorAll(".cell.live")].map((box, place) => new Cell(box, place));
  const equations = [...document.querySelectorAll(".ledger-line")].map((line) => new Equation(line));
  for (const cell of cells) if (cell.box.closest("#verify-it-yourself") && inputs(cell.original).length) addFields(cell);
  document.body.append(voice);
})();
