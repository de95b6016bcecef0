// The MLP encoder and decoder, run forward on the weights that came with the page.
import { LOG_2PI, sigmoid, softplus } from "./maths.js";

/** Half-precision numbers as floats: JavaScript's own Float16Array is too young to count on. */
export function halves(buffer, offset, count) {
  const view = new DataView(buffer, offset, 2 * count);
  const out = new Float32Array(count);
  for (let k = 0; k < count; k++) {
    const bits = view.getUint16(2 * k, true);
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24 : exponent === 31 ? (fraction ? NaN : Infinity) : (1 + fraction / 1024) * 2 ** (exponent - 15);
    out[k] = bits & 32768 ? -size : size;
  }
  return out;
}

/** The tensors of a Weights model by name: Float32Arrays, large ones from whole numbers and a scale for each row. */
export function tensors(weights) {
  const data = weights.get("data");
  const found = {};
  for (const { name, shape, kind, offset, scales } of weights.get("tensors")) {
    const count = shape.reduce((a, b) => a * b, 1);
    const begin = data.byteOffset + offset;
    let values;
    if (kind === "int8") {
      const [rows] = shape;
      const columns = count / rows;
      const whole = new Int8Array(data.buffer, begin, count);
      const factor = halves(data.buffer, data.byteOffset + scales, rows);
      values = new Float32Array(count);
      for (let row = 0; row < rows; row++) {
        for (let k = row * columns; k < (row + 1) * columns; k++) values[k] = whole[k] * factor[row];
      }
    } else {
      values = halves(data.buffer, begin, count);
    }
    found[name] = values;
  }
  return found;
}

/** y = W x + b, W by rows; four sums at a time, as one would wait for itself. */
function affine(weight, bias, x, out) {
  const columns = x.length;
  const whole = columns - (columns % 4);
  for (let row = 0, k = 0; row < out.length; row++) {
    let a = 0, b = 0, c = 0, d = 0;
    let j = 0;
    for (; j < whole; j += 4, k += 4) {
      a += weight[k] * x[j];
      b += weight[k + 1] * x[j + 1];
      c += weight[k + 2] * x[j + 2];
      d += weight[k + 3] * x[j + 3];
    }
    for (; j < columns; j++, k++) a += weight[k] * x[j];
    out[row] = a + b + (c + d) + bias[row];
  }
}

function bend(units, activation) {
  for (let k = 0; k < units.length; k++) units[k] = activation === "tanh" ? Math.tanh(units[k]) : Math.max(0, units[k]);
}

/** The encoder of `vaelib.models.mlp_vae` from its Weights model. */
export function encoderOf(weights) {
  const { hidden_dim: hidden, latent_dim: latent, data_dim: pixels, activation } = weights.get("settings");
  const t = tensors(weights);
  const units = new Float64Array(hidden);
  const input = new Float64Array(pixels);
  const parameters = new Float64Array(2 * latent);
  return {
    latent,
    /** Mean and log-variance of q(z | x), from pixels in [0, 1]. */
    encode(x) {
      input.set(x);
      affine(t["hidden.weight"], t["hidden.bias"], input, units);
      bend(units, activation);
      affine(t["output.weight"], t["output.bias"], units, parameters);
      return { mean: Array.from(parameters.subarray(0, latent)), logVar: Array.from(parameters.subarray(latent)) };
    },
  };
}

// Latents that are decoded together, so that a weight is read once for all of them.
const GROUP = 4;

/** The decoder of `vaelib.models.mlp_vae` from its Weights model. */
export function decoderOf(weights) {
  const { hidden_dim: hidden, latent_dim: latent, data_dim: pixels, activation } = weights.get("settings");
  const t = tensors(weights);
  const [weight, bias] = [transposed(t["output.weight"], pixels, hidden), t["output.bias"]];
  const units = Array.from({ length: GROUP }, () => new Float64Array(hidden));
  // What is passed on of a group: the units that any of it uses, four numbers each, and where their weights begin.
  const alive = new Float64Array(GROUP * hidden);
  const begin = new Int32Array(hidden);

  /** The logits of up to four latents, written to as many arrays: most of a widget's time is spent here. */
  function group(zs, [out0, out1, out2, out3]) {
    units.forEach((u, i) => {
      if (i >= zs.length) return u.fill(0);
      affine(t["hidden.weight"], t["hidden.bias"], zs[i], u);
      bend(u, activation);
    });
    const [u0, u1, u2, u3] = units;
    let count = 0;
    for (let j = 0; j < hidden; j++) {
      if (u0[j] === 0 && u1[j] === 0 && u2[j] === 0 && u3[j] === 0) continue; // ReLU leaves many so
      begin[count] = j * pixels;
      const l = GROUP * count++;
      alive[l] = u0[j]; alive[l + 1] = u1[j]; alive[l + 2] = u2[j]; alive[l + 3] = u3[j];
    }
    // Two pixels at a time. Beyond an odd last one there is nothing: typed arrays do not keep what is written there.
    for (let p = 0; p < pixels; p += 2) {
      let a0 = bias[p], a1 = a0, a2 = a0, a3 = a0, b0 = bias[p + 1], b1 = b0, b2 = b0, b3 = b0;
      for (let k = 0, l = 0; k < count; k++, l += GROUP) {
        const w = weight[begin[k] + p], v = weight[begin[k] + p + 1];
        const x0 = alive[l], x1 = alive[l + 1], x2 = alive[l + 2], x3 = alive[l + 3];
        a0 += w * x0; a1 += w * x1; a2 += w * x2; a3 += w * x3;
        b0 += v * x0; b1 += v * x1; b2 += v * x2; b3 += v * x3;
      }
      out0[p] = a0; out1[p] = a1; out2[p] = a2; out3[p] = a3;
      out0[p + 1] = b0; out1[p + 1] = b1; out2[p + 1] = b2; out3[p + 1] = b3;
    }
  }

  /** Logits of the pixels at each of many latents. */
  function logits(zs) {
    const out = Array.from({ length: Math.ceil(zs.length / GROUP) * GROUP }, () => new Float64Array(pixels));
    for (let n = 0; n < zs.length; n += GROUP) group(zs.slice(n, n + GROUP), out.slice(n, n + GROUP));
    return out.slice(0, zs.length);
  }
  /** The mean images at many latents: probabilities of ink. */
  const decode = (zs) => logits(zs).map((image) => image.map(sigmoid));
  return { latent, logits, decode };
}

/** A matrix of so many rows and columns, stored by columns. */
function transposed(matrix, rows, columns) {
  const out = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) for (let k = 0; k < columns; k++) out[k * rows + row] = matrix[row * columns + k];
  return out;
}

/** log p(x | z) of black and white, or grey, pixels from logits, in nats. */
export function bernoulliLog(logits, x) {
  let sum = 0;
  for (let k = 0; k < x.length; k++) sum += x[k] * logits[k] - softplus(logits[k]);
  return sum;
}

/** KL(N(mean, e^logVar) || N(0, 1)) of each unit, in nats. */
export const unitRates = (mean, logVar) => mean.map((m, j) => 0.5 * (m * m + Math.expm1(logVar[j]) - logVar[j]));

/** log N(z; 0, I). */
export const priorLog = (z) => -0.5 * z.reduce((sum, v) => sum + v * v + LOG_2PI, 0);

/** The model that a trait of a widget names: in a page its bytes may have to be fetched first. */
export const named = (model, trait) => model.widget_manager.get_model(model.get(trait).replace("IPY_MODEL_", ""));
