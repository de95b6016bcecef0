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

/** The decoder of `vaelib.models.mlp_vae` from its Weights model. */
export function decoderOf(weights) {
  const { hidden_dim: hidden, latent_dim: latent, data_dim: pixels, activation } = weights.get("settings");
  const t = tensors(weights);
  const units = new Float64Array(hidden);
  const decoder = {
    latent, pixels,
    /** Logits of the pixels at z. */
    logits(z, out = new Float64Array(pixels)) {
      affine(t["hidden.weight"], t["hidden.bias"], z, units);
      bend(units, activation);
      affine(t["output.weight"], t["output.bias"], units, out);
      return out;
    },
    /** The mean image at z: probabilities of ink. */
    decode(z, out = new Float64Array(pixels)) {
      decoder.logits(z, out);
      for (let k = 0; k < pixels; k++) out[k] = sigmoid(out[k]);
      return out;
    },
    /** Logits at many latents: each weight is read once for four images, each hidden unit for two pixels. */
    logitsAll(zs) {
      const count = zs.length;
      const padded = Math.ceil(count / 4) * 4;
      const a = new Float32Array(padded * hidden);
      zs.forEach((z, n) => {
        affine(t["hidden.weight"], t["hidden.bias"], z, units);
        bend(units, activation);
        a.set(units, n * hidden);
      });
      const out = Array.from({ length: padded }, () => new Float64Array(pixels));
      const [w, bias] = [t["output.weight"], t["output.bias"]];
      for (let p = 0; p < pixels; p += 2) {
        const u = p * hidden;
        const v = p + 1 < pixels ? u + hidden : u; // an odd last pixel is computed twice
        for (let n = 0; n < padded; n += 4) {
          let s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0;
          const [a0, a1, a2, a3] = [n * hidden, (n + 1) * hidden, (n + 2) * hidden, (n + 3) * hidden];
          for (let j = 0; j < hidden; j++) {
            const x = w[u + j], y = w[v + j];
            const b0 = a[a0 + j], b1 = a[a1 + j], b2 = a[a2 + j], b3 = a[a3 + j];
            s0 += x * b0; s1 += x * b1; s2 += x * b2; s3 += x * b3;
            t0 += y * b0; t1 += y * b1; t2 += y * b2; t3 += y * b3;
          }
          out[n][p] = s0; out[n + 1][p] = s1; out[n + 2][p] = s2; out[n + 3][p] = s3;
          if (p + 1 < pixels) {
            out[n][p + 1] = t0; out[n + 1][p + 1] = t1; out[n + 2][p + 1] = t2; out[n + 3][p + 1] = t3;
          }
        }
      }
      out.length = count;
      for (const image of out) for (let p = 0; p < pixels; p++) image[p] += bias[p];
      return out;
    },
  };
  decoder.decodeAll = (zs) => decoder.logitsAll(zs).map((image) => image.map(sigmoid));
  return decoder;
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
