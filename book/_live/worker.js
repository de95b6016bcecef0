// Python in a worker: fetches what it needs, once, and runs the cells that the page sends.
//
// From the page:  {start, base}               fetch and start; answered by progress..., then {ready}
//                 {run, cells, place, above, widgets}  run a cell and those it needs, or all above it
//                 {check, label, latex}       check a formula by the claim of one of the book's labels
// To the page:    {progress}, {ready}, {begun, place}, {output, place}, {ended, place, ok, seconds},
//                 {checked}, {idle}, {crashed}
//
// The page makes it from a blob, so that the page's own policy binds it: no host but the book's.
import { decompress } from "fzstd";
import { loadPyodide } from "pyodide";

// Filled in by the build: name, address and bytes of each file, and Pyodide's lock without its packages.
const FILES = LIVE_FILES;
const LOCK = LIVE_LOCK;
const CACHE = "vaebook-live";

let python, session;
const tell = (message) => self.postMessage(message);

/** The files, from the browser's cache or else from the book's own server, unpacked; tells how far it is. */
async function fetchAll(base) {
  const total = FILES.reduce((sum, file) => sum + file.bytes, 0);
  const store = await self.caches?.open(CACHE).catch(() => undefined); // not where the page is no secure one
  let got = 0;
  const one = async ({ name, address, bytes }) => {
    const url = new URL(address, base).href;
    let response = await store?.match(url);
    const kept = Boolean(response);
    response ??= await fetch(url, { cache: "force-cache" }); // the address holds a digest: never out of date
    if (!response.ok) throw new Error(`${address} could not be fetched (${response.status})`);
    const parts = [];
    for await (const part of chunks(response.body)) {
      parts.push(part);
      got += part.length;
      tell({ type: "progress", got, total, kept });
    }
    const data = new Uint8Array(await new Blob(parts).arrayBuffer());
    if (data.length !== bytes) throw new Error(`${address} is ${data.length} bytes long, and not ${bytes}`);
    if (!kept) await store?.put(url, new Response(data)).catch(() => undefined); // no room: fetched again next time
    return [name, decompress(data)];
  };
  const files = new Map(await Promise.all(FILES.map(one)));
  await forget(store, base);
  return files;
}

async function* chunks(stream) {
  const reader = stream.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
}

/** Drop what earlier editions of the book left in the cache. */
async function forget(store, base) {
  const wanted = new Set(FILES.map(({ address }) => new URL(address, base).href));
  for (const request of (await store?.keys()) ?? []) if (!wanted.has(request.url)) await store.delete(request);
}

async function start({ base }) {
  const files = await fetchAll(base);
  tell({ type: "progress", starting: true });
  // Pyodide asks for its files by address. It gets those that are here, and is asked for nothing else.
  const fetchElsewhere = self.fetch;
  self.fetch = async (url, ...rest) => {
    const name = String(url).split("/").at(-1);
    const type = name.endsWith(".wasm") ? "application/wasm" : "application/zip";
    return files.has(name)
      ? new Response(files.get(name), { headers: { "Content-Type": type } })
      : fetchElsewhere(url, ...rest);
  };
  const glue = URL.createObjectURL(new Blob([files.get("pyodide.asm.mjs")], { type: "text/javascript" }));
  try {
    const { default: createPyodideModule } = await import(glue);
    python = await loadPyodide({
      indexURL: base,
      createPyodideModule,
      lockFileContents: LOCK,
      packageBaseUrl: base,
    });
  } finally {
    URL.revokeObjectURL(glue);
    self.fetch = fetchElsewhere;
  }
  for (const name of ["sympy.zip", "book.zip"]) python.FS.writeFile(`/lib/${name}`, files.get(name));
  python.runPython('import sys; sys.path += ["/lib/book.zip", "/lib/sympy.zip"]');
  const kernel = python.pyimport("kernel");
  session = kernel.Session((place, output) => tell({ type: "output", place, output: plain(output) }));
  tell({ type: "ready" });
}

/** A dictionary of Python's as an object of ours. */
const plain = (dictionary) => dictionary.toJs({ dict_converter: Object.fromEntries });

function timed(work) {
  const begun = performance.now();
  const result = work();
  return [result, (performance.now() - begun) / 1000];
}

function run({ cells, place, above, widgets }) {
  session.widgets = python.toPy(new Map(widgets));
  const plan = above ? Array.from({ length: place + 1 }, (_, k) => k) : session.plan(python.toPy(cells), place).toJs();
  for (const next of plan) {
    tell({ type: "begun", place: next });
    const [ok, seconds] = timed(() => session.run(cells[next], next));
    tell({ type: "ended", place: next, ok, seconds });
    if (!ok) break;
  }
}

function check({ label, latex }) {
  const [answer, seconds] = timed(() => plain(session.check(label, latex)));
  tell({ type: "checked", label, seconds, ...answer });
}

const work = { start, run, check };

// One after the other: what is asked while Python starts waits until it has.
let last = Promise.resolve();
self.onmessage = ({ data }) => {
  last = last
    .then(() => work[data.type](data))
    .then(() => data.type !== "start" && tell({ type: "idle" }))
    .catch((error) => tell({ type: "crashed", message: String(error?.message ?? error), starting: data.type === "start" }));
};
