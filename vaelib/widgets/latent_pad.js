// A digit under the pointer as it moves over the latent plane, or along a path between two points.
import { arrows, clamp, fixed, follow, shell, tag } from "./lib/shell.js";
import { linspace } from "./lib/maths.js";
import { decoderOf, named } from "./lib/mlp.js";
import { picture } from "./lib/ink.js";
import { plane } from "./lib/plane.js";

const STRIP = 9;

/**
 * The point at t on the way from a to b: along the chord, or along the arc that keeps the distance from the
 * origin in between, sin((1 - t) w) / sin w a + sin(t w) / sin w b, with w the angle between a and b.
 */
export function between(a, b, t, way) {
  const [la, lb] = [Math.hypot(...a), Math.hypot(...b)];
  const cosine = clamp(a.reduce((sum, v, j) => sum + v * b[j], 0) / (la * lb || 1), -1, 1);
  const angle = Math.acos(cosine);
  // Points in one direction, or in opposite ones, name no arc: the chord is its limit, or as good as any.
  const arc = way === "spherical" && la > 0 && lb > 0 && Math.sin(angle) > 1e-6;
  const [u, v] = arc ? [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)] : [1 - t, t];
  return a.map((value, j) => u * value + v * b[j]);
}

export default {
  async render({ model, el }) {
    const decoder = decoderOf(await named(model, "decoder"));
    const span = model.get("span");
    const s = shell(model, el, {
      title: "Latent pad",
      hint: "Move over the plane: the decoder draws what it makes of the place. Click to hold the point, click again to let go.",
      traits: ["z", "held", "mode", "way", "start", "end", "t"],
      draw,
    });

    const left = tag("div", { class: "vw-grow", style: "max-width: 460px" });
    const right = tag("div", { class: "vw-grow", style: "flex-basis: 190px" });
    s.body.append(tag("div", { class: "vw-row" }, left, right));
    const p = plane(s, left, { span, label: "The latent plane" });

    const caption = tag("figcaption");
    const frame = tag("figure", { style: "max-width: 168px" });
    right.append(frame);
    const digit = picture(frame, { size: "100%", label: "The decoded image" });
    frame.append(caption);
    s.choice(right, "mode", { label: "Mode", options: [["point", "a point"], ["path", "a path"]] });

    const point = tag("div");
    ["z₁", "z₂"].forEach((name, index) =>
      s.slider(point, "z", { label: name, index, min: -span, max: span, step: 0.01, colour: "latent" }),
    );
    const path = tag("div");
    s.slider(path, "t", { label: "along it", min: 0, max: 1, step: 0.01, colour: "latent" });
    s.choice(path, "way", { label: "Way", options: [["straight", "straight"], ["spherical", "spherical"]] });
    right.append(point, path);
    const strip = tag("div", { class: "vw-strip" });
    const stations = Array.from({ length: STRIP }, (_, k) => picture(strip, { size: "100%", label: `Image ${k + 1} of ${STRIP} on the way` }));
    s.body.append(strip);

    // The plane itself is the handle: a mouse need not press, a finger drags, arrow keys step.
    const limit = (v) => clamp(Math.round(v * 1000) / 1000, -span, span);
    const place = (px, py) => [limit(p.x(px)), limit(p.y(py))];
    let moved = 0;
    follow(p.svg, {
      hover: true,
      down: () => (moved = performance.now()),
      move: (px, py, event) => {
        if (model.get("mode") !== "point") return;
        // A press moves the point even while it is held; a mere passing does not.
        if (!model.get("held") || event.buttons) s.put({ z: place(px, py) });
      },
      up: (_px, _py, event) => {
        const click = performance.now() - moved < 300 && event.pointerType === "mouse";
        if (click && model.get("mode") === "point") s.put({ held: !model.get("held") });
      },
    });
    arrows(p.svg, (dx, dy, event) => {
      if (event.target !== p.svg || model.get("mode") !== "point") return;
      const [x, y] = model.get("z");
      s.put({ z: [limit(x + dx / 10), limit(y + dy / 10)], held: true });
    });

    const ts = linspace(0, 1, STRIP);
    const curve = linspace(0, 1, 49);

    function draw() {
      const onPath = model.get("mode") === "path";
      const [a, b, way] = [model.get("start"), model.get("end"), model.get("way")];
      const z = onPath ? between(a, b, model.get("t"), way) : model.get("z");
      p.frame();
      if (onPath) {
        const trail = Array.from(curve, (t) => between(a, b, t, way));
        p.curve("trail", trail.map((v) => v[0]), trail.map((v) => v[1]), { colour: "latent" });
        const set = (trait) => ([x, y]) => s.put({ [trait]: [limit(x), limit(y)] });
        p.grip("start", ...a, { label: "Start of the path", step: 0.1, set: set("start"), colour: "latent" });
        p.grip("end", ...b, { label: "End of the path", step: 0.1, set: set("end"), colour: "latent" });
        const images = decoder.decode(Array.from(ts, (t) => between(a, b, t, way)));
        images.forEach((image, k) => stations[k].draw(image));
      }
      p.ellipse("here", ...z, 0.02 * span, 0.02 * span, { colour: "ink", width: 2 });
      p.dot("point", ...z, { colour: "latent", radius: model.get("held") && !onPath ? 5 : 4 });
      p.done();
      digit.draw(decoder.decode([z])[0]);
      const at = `(${fixed(z[0])}, ${fixed(z[1])})`;
      caption.textContent = `decoded at z = ${at}${model.get("held") && !onPath ? ", held" : ""}`;
      digit.name(`The image decoded at z = ${at}`);
      point.hidden = onPath;
      path.hidden = strip.hidden = !onPath;
      const words = onPath ? "The latent plane: drag the two ends of the path." : `The latent plane, at ${at}. Arrow keys move the point.`;
      if (p.svg.getAttribute("aria-label") !== words) {
        p.svg.setAttribute("aria-label", words);
        p.svg.setAttribute("role", onPath ? "group" : "application");
        if (onPath) p.svg.removeAttribute("tabindex");
        else p.svg.setAttribute("tabindex", 0);
      }
      s.announce(`z is ${at}`);
    }

    s.start();
    return s.dispose;
  },
};
