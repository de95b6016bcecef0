// What the curves of a chart are: a stroke of each beside its name, for readers who cannot go by colour.
import { tag } from "./shell.js";

/**
 * A line of names below a chart: [{ name, colour, dash, fill }, ...], as the curves are drawn.
 * Returns the entries' elements, so that one can be hidden while its curve is.
 */
export function curveKey(parent, entries) {
  const list = tag("ul", { class: "vw-key" });
  parent.append(list);
  return entries.map(({ name, colour, dash = false, fill = false, width = 2 }) => {
    const stroke = tag("line", {
      x1: 1, x2: 27, y1: 7, y2: 7, class: "vw-line", style: `--c: var(--vw-${colour}); stroke-width: ${width}`,
      "stroke-dasharray": dash === true ? "5 4" : dash || null,
    });
    const shade = tag("rect", { x: 1, y: 7, width: 26, height: 7, class: "vw-area", style: `--c: var(--vw-${colour}); opacity: 0.22` });
    const sample = tag("svg", { width: 28, height: 14, "aria-hidden": "true" }, ...(fill ? [shade] : []), stroke);
    const entry = tag("li", {}, sample, name);
    list.append(entry);
    return entry;
  });
}
