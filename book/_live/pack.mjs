// Packs what the worker fetches, from what npm and pip have installed: run by book/_ext/live.py.
//
//   node pack.mjs PART PYODIDE SITE ROOT OUT
//
// PART is "packages" (Python's standard library, SymPy, mpmath) or "book" (vaelib.symbolic and the kernel);
// PYODIDE, SITE and ROOT are the folders of Pyodide, of the installed packages and of the book. The Python
// that will run in the page compiles the modules, so that the reader's browser need not.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { constants, zstdCompressSync } from "node:zlib";

const [part, pyodide, site, root, out] = process.argv.slice(2);
// 19 is the last level that needs no more than 8 MB of the reader's memory to undo.
const params = { [constants.ZSTD_c_compressionLevel]: 19 };
const keep = (name, data) => writeFileSync(join(out, name), zstdCompressSync(data, { params }));

async function main() {
  const { loadPyodide } = await import(pathToFileURL(join(pyodide, "pyodide.mjs")));
  const python = await loadPyodide();
  for (const [place, folder] of Object.entries({ "/site": site, "/book": root, "/pyodide": pyodide })) {
    python.mountNodeFS(place, folder);
  }
  python.runPython(readFileSync(join(import.meta.dirname, "pack.py"), "utf8"));
  for (const name of python.globals.get("pack")(part).toJs()) keep(name, python.FS.readFile(`/tmp/${name}`));
  if (part === "packages") {
    for (const name of ["pyodide.asm.wasm", "pyodide.asm.mjs"]) keep(name, readFileSync(join(pyodide, name)));
  }
}

await main().catch((error) => {
  console.error(error.message); // without the line of shortened code where it was thrown, 100 kB long
  process.exitCode = 1;
});
