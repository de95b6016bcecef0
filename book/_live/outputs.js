// What a cell shows, drawn as the book draws a notebook's outputs.

const element = (tag, name, ...children) => {
  const made = Object.assign(document.createElement(tag), { className: name });
  made.append(...children);
  return made;
};

const block = (kind, text) =>
  element("div", `output ${kind}`, element("div", "highlight", element("pre", "", text.endsWith("\n") ? text : `${text}\n`)));

/** A formula in TeX, to be typeset by `typeset`. */
export const formula = (tex) => element("div", "math notranslate nohighlight", `\\[${tex}\\]`);

let typesetting = Promise.resolve();

/** Let MathJax typeset what was drawn, one box a frame; until it has, the TeX itself stands there. */
export function typeset(box) {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  typesetting = typesetting.then(frame).then(() => window.MathJax?.typesetPromise?.([box])).catch(console.error);
}

const cellsOf = (line) => line.replace(/^ *\||\| *$/g, "").split("|").map((text) => text.trim());

/** Markdown as the book's own tables need it: a table, or else the text as it stands. */
function markdown(text) {
  const [head, rule, ...rows] = text.trim().split("\n");
  if (!/^[\s|:-]+$/.test(rule ?? "")) return block("text_plain", text);
  const row = (tag) => (line) => element("tr", "", ...cellsOf(line).map((cell) => element(tag, "", cell)));
  return element("div", "pst-scrollable-table-container", element("table", "table", element("thead", "", row("th")(head)), element("tbody", "", ...rows.map(row("td")))));
}

function html(text) {
  const box = element("div", "output text_html");
  box.innerHTML = text; // the page's policy lets no script or handler in it run
  return box;
}

function value(data) {
  if ("text/html" in data) return html(data["text/html"]);
  if ("text/markdown" in data) return markdown(data["text/markdown"]);
  if ("text/latex" in data) return formula(data["text/latex"].replace(/^\$+|\$+$/g, ""));
  return block("text_plain highlight-myst-ansi", data["text/plain"]);
}

/** What went wrong, in a sentence. */
export function verdict({ ename, evalue, check }) {
  if (ename === "AssertionError" && check) return `This check does not hold: ${check}`;
  if (check) return `The check ${evalue}`; // it begins with the label
  return `${ename}: ${evalue.split("\n")[0]}`;
}

function error(output) {
  const box = element("div", "output live-error", element("p", "", element("strong", "", verdict(output))));
  if (output.ename === "ModuleNotFoundError") {
    box.append(element("p", "", "In the page there are Python's standard library, SymPy, mpmath and vaelib.symbolic. For all else, run the notebook."));
  }
  const traceback = block("traceback highlight-ipythontb", output.traceback.join("\n"));
  // Of a check that failed all is said by now; of other errors the traceback says where.
  box.append(output.check ? element("details", "", element("summary", "", "Traceback"), traceback) : traceback);
  return box;
}

/** Draw an output into a box, after those that are there. */
export function draw(box, output) {
  const last = box.lastElementChild;
  if (output.output_type === "stream" && last?.classList.contains(output.name)) {
    last.querySelector("pre").append(output.text); // printed in parcels
    return;
  }
  const make = { stream: () => block(`stream ${output.name} highlight-myst-ansi`, ""), error: () => error(output) };
  const made = (make[output.output_type] ?? (() => value(output.data)))();
  if (output.output_type === "stream") made.querySelector("pre").textContent = output.text;
  box.append(made);
  if (output.data?.["text/latex"] || output.data?.["text/html"]) typeset(made);
}
