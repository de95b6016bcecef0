// What comes with the first press: editors, and the session in which cells and formulas are run.
import { editor } from "./editor.js";
import { draw, formula, typeset, verdict } from "./outputs.js";
import { Python } from "./python.js";

const LONG = 60; // seconds after which a run says that it can be stopped
const MEGABYTE = 1e6;

const KINDS = {
  symbolic: "proved by SymPy",
  quadrature: "both sides agree to 15 digits by quadrature",
  "finite difference": "its derivatives agree with finite differences",
  "Monte Carlo": "draws agree within 4.5 standard errors",
  typed: "proved by a proof of its own",
};
const SHORT = 1000; // characters of LaTeX that are shown at once; more waits in a fold

export function open({ base, cells, equations, memory, say, words, button, bar }) {
  let jobs = []; // what was asked of Python and is not done: {what, message}
  let ready = false;
  let since = 0; // when what runs now began, and whether the reader was told that it takes long
  let told = false;
  const python = new Python(base, (message) => heard[message.type](message));

  // --- what Python says ------------------------------------------------------------------------------------

  const heard = {
    progress({ got, total, starting, kept }) {
      const where = jobs[0]?.what.status;
      if (!where) return;
      if (starting) return void (where.textContent = "Starting Python …");
      if (!where.querySelector("progress")) {
        const meter = Object.assign(document.createElement("progress"), { max: total });
        meter.setAttribute("aria-label", "Fetching Python and SymPy");
        where.replaceChildren(meter, words("span", ""));
        say(kept ? "Loading Python and SymPy" : `Fetching Python and SymPy, ${(total / MEGABYTE).toFixed(1)} megabytes, once`);
      }
      where.querySelector("progress").value = got;
      const size = `${(got / MEGABYTE).toFixed(1)} of ${(total / MEGABYTE).toFixed(1)} MB`;
      where.querySelector("span").textContent = kept ? "Loading Python and SymPy …" : `Fetching Python and SymPy, once for all pages: ${size}`;
    },
    ready() {
      ready = true;
      wait();
    },
    begun({ place }) {
      const cell = cells[place];
      cell.ran = true;
      watch();
      outputs(cell, true);
      show(cell, "Running …", "running");
    },
    output({ place, output }) {
      draw(outputs(cells[place]), output);
      if (output.output_type === "error") cells[place].verdict = verdict(output);
    },
    ended({ place, ok, seconds }) {
      const cell = cells[place];
      const quiet = ok && !outputs(cell).childElementCount;
      const widget = cell.box.querySelector(".widget-host");
      const time = `${seconds.toFixed(seconds < 10 ? 2 : 0)} s`;
      const done = widget ? "Read as the widget stands" : quiet ? "Nothing to show, and nothing failed" : "Done";
      show(cell, ok ? `${done} · ${time}` : `Failed · ${time}`, ok ? "held" : "failed");
      say(ok ? `${cell.name} ran without an error in ${time}` : `${cell.name} failed. ${cell.verdict}`);
      cell.reset.hidden = false;
    },
    checked({ label, ok, kinds, compared, ename, evalue, seconds }) {
      const equation = equations.find((entry) => entry.label === label);
      const done = ok ? `Holds: ${kinds.map((kind) => KINDS[kind] ?? kind).join("; ")}` : "Does not hold";
      show(equation, `${done} · ${seconds.toFixed(2)} s`, ok ? "held" : "failed");
      const unread = ename === "LatexError" || ename === "ReadingError";
      equation.compared.replaceChildren(...(ok ? comparisons(compared) : []));
      typeset(equation.compared);
      equation.answer.textContent = ok ? "" : `${unread ? "This cannot be read: " : ""}${evalue}`;
      if (unread) equation.status.textContent = `Not understood · ${seconds.toFixed(2)} s`;
      say(`${label}: ${equation.status.textContent} ${equation.answer.textContent}`);
    },
    idle() {
      const { what } = jobs.shift();
      if (what.bar.dataset.state === "running") show(what, "Not run, since a cell above has failed", "failed");
      wait();
    },
    crashed({ message, starting }) {
      again(`Python has stopped (${message}). It starts anew with the next run; what you typed is as it was.`, "failed");
      if (!starting) warm();
    },
  };

  function watch() {
    since = performance.now();
    told = false;
  }

  function wait() {
    watch();
    for (const [place, { what }] of jobs.entries()) show(what, place ? "Waiting …" : "Running …", "running");
  }

  /** Say how things stand with a cell or a formula. */
  function show(what, text, state) {
    what.status.textContent = text;
    what.bar.dataset.state = state;
    const [there, gone] = state === "running" ? [what.stop, what.run] : [what.run, what.stop];
    const focused = document.activeElement === gone;
    there.hidden = false;
    gone.hidden = true;
    if (focused) there.focus(); // a reader without a mouse stays where the buttons are
  }

  /** Forget the session and all that waits, with a word about why. */
  function again(text, state) {
    python.stop();
    ready = false;
    const waiting = new Set([...jobs.map(({ what }) => what), ...[...cells, ...equations].filter((one) => one.bar?.dataset.state === "running")]);
    jobs = [];
    for (const what of waiting) show(what, text, state);
    say(text);
  }

  // Python is fetched by now, and the next run is not to wait for its start.
  const warm = () => python.start();

  setInterval(() => {
    if (told || !ready || !jobs.length || performance.now() - since < LONG * 1000) return;
    const what = cells.find((cell) => cell.bar.dataset.state === "running") ?? jobs[0].what;
    what.status.textContent = "Running for more than a minute. It may go on, or be stopped.";
    say(`${what.name} has been running for more than a minute`);
    told = true;
  }, 1000);

  // --- what the reader asks --------------------------------------------------------------------------------

  function send(what, message) {
    if (jobs.some((job) => job.what === what)) return;
    jobs.push({ what, message });
    show(what, ready && jobs.length === 1 ? "Running …" : ready ? "Waiting …" : "Loading Python …", "running");
    python.send(message);
  }

  function stop() {
    const loading = !ready;
    again("Stopped. What was computed on this page is gone; a run computes again what it needs.", "stopped");
    if (!loading) warm(); // else the reader may not want it fetched
  }

  /** The box for a cell's outputs, in the place of those that the book has. */
  function outputs(cell, empty = false) {
    if (!cell.output) {
      cell.output = words("div", "cell_output live-output");
      cell.bar.after(cell.output);
    }
    if (empty) {
      cell.output.replaceChildren();
      cell.output.hidden = false;
      stored(cell).forEach((box) => (box.hidden = true));
    }
    return cell.output;
  }

  /** The outputs that the book has; those with a widget stay where they are. */
  const stored = (cell) => [...cell.box.querySelectorAll(".cell_output:not(.live-output, :has(.widget-host))")];

  function fit(what) {
    what.stop = button("stop", "Stop", `Stop ${what.name}`, stop);
    what.run.after(what.stop);
    what.stop.hidden = true;
  }

  for (const cell of cells) {
    fit(cell);
    cell.onReset = () => {
      if (cell.output) cell.output.hidden = true;
      stored(cell).forEach((box) => (box.hidden = false));
      delete cell.bar.dataset.state;
      close(cell);
    };
  }

  const run = (cell, above = false) =>
    send(cell, { type: "run", cells: cells.map(({ code }) => code), place: cell.place, above, widgets: widgets() });

  /** What the page's widgets show, by the places of the cells that made them: those traits that a reader chooses. */
  function widgets() {
    const found = [];
    for (const cell of cells) {
      const model = cell.box.querySelector(".widget-host")?.vaebook?.model;
      if (!model) continue;
      const names = Object.keys(model.get("_initial"));
      found.push([cell.place, Object.fromEntries(names.map((name) => [name, model.get(name)]))]);
    }
    return found;
  }

  function edit(cell) {
    if (cell.editor) return void close(cell);
    cell.editor = editor({
      text: cell.code,
      label: `Code of ${cell.name}. Shift+Enter runs it.`,
      onChange: (text) => (cell.code = text),
      onRun: () => run(cell),
    });
    cell.hear = (text) => (cell.editor.text = text);
    cell.listeners.push(cell.hear);
    const shown = cell.pre.closest(".highlight");
    shown.hidden = true;
    shown.after(cell.editor.dom);
    cell.edit.textContent = "Close editor";
    cell.edit.setAttribute("aria-expanded", "true");
    cell.editor.focus();
  }

  function close(cell) {
    if (!cell.editor) return;
    cell.editor.dom.remove();
    cell.pre.closest(".highlight").hidden = false;
    cell.listeners = cell.listeners.filter((listener) => listener !== cell.hear);
    cell.editor = null;
    cell.edit.textContent = "Edit";
    cell.edit.setAttribute("aria-expanded", "false");
  }

  // --- formulas --------------------------------------------------------------------------------------------

  /** The TeX of an equation as its page has it: what MathJax was given, less what Sphinx put around it. */
  function texOf(equation) {
    const item = [...(window.MathJax?.startup?.document?.math ?? [])].find(({ start, typesetRoot }) => equation.box.contains(typesetRoot ?? start.node));
    const tex = item?.math.trim().replace(/^\\begin\{split\}([^]*)\\end\{split\}$/, "$1");
    return tex?.replace(/[\s.,;]+$/, "").trim(); // the sentence's stop would stand in the way at the end
  }

  async function build(equation) {
    await window.MathJax?.startup?.promise;
    equation.original = texOf(equation);
    const key = `live ${location.pathname} ${equation.label}`;
    equation.text = memory.recall(key, equation.original);
    equation.panel = words("div", "live-panel");
    equation.run = button("run", "Run", `Check ${equation.label} (Shift+Enter in the editor)`, () => check(equation));
    equation.reset = button("reset", "Reset", `Bring back ${equation.label} as the book has it`, () => {
      equation.editor.text = equation.original;
      equation.answer.textContent = "";
      equation.compared.replaceChildren();
      equation.status.textContent = "";
      delete equation.bar.dataset.state;
    });
    Object.assign(equation, bar(`Check ${equation.label}`, [equation.run, equation.reset]));
    equation.preview = words("div", "live-preview");
    equation.answer = words("p", "live-answer");
    equation.compared = words("div", "live-compared");
    let timer = 0;
    const preview = () => {
      equation.preview.replaceChildren(formula(equation.text));
      typeset(equation.preview);
    };
    equation.editor = editor({
      text: equation.text,
      label: `LaTeX of ${equation.label}. Shift+Enter checks it.`,
      isCode: false,
      onChange: (text) => {
        equation.text = text;
        memory.keep(key, equation.original, text);
        clearTimeout(timer);
        timer = setTimeout(preview, 300);
      },
      onRun: () => check(equation),
    });
    equation.panel.append(equation.editor.dom, equation.preview, equation.bar, equation.answer, equation.compared);
    equation.line.after(equation.panel);
    fit(equation);
    preview();
  }

  /** What SymPy compared: as it reads each relation, and solved. */
  function comparisons(compared) {
    if (!compared.length) return [];
    const fold = document.createElement("details");
    fold.open = compared.flat().join("").length < SHORT;
    fold.append(words("summary", "", "What SymPy compared"));
    for (const [read, solved] of compared) {
      fold.append(formula(read));
      if (solved) fold.append(words("p", "", "solved:"), formula(solved));
    }
    return [fold];
  }

  const check = (equation) => send(equation, { type: "check", label: equation.label, latex: equation.text });

  return {
    run,
    above: (cell) => run(cell, true),
    edit,
    async open(equation) {
      if (!equation.panel) await build(equation);
      else equation.panel.hidden = !equation.panel.hidden;
      equation.check.setAttribute("aria-expanded", String(!equation.panel.hidden));
      if (!equation.panel.hidden) equation.editor.focus();
    },
  };
}
