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

/** The tensors of a Weights model by name: Float32Arrays with a `shape`. */
export function tensors(weights) {
  const data = weights.get("data");
  const found = {};
  for (const { name, shape, kind, offset, scales } of weights.get("layout")) {
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
    values.shape = shape;
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

/** An encoder and a decoder from a Weights model, whose settings are those of `vaelib.models.mlp_vae`. */
export function network(weights) {
  const { hidden_dim: hidden, latent_dim: latent, data_dim: pixels, activation } = weights.get("settings");
  const t = tensors(weights);
  const bend = (units) => {
    for (let k = 0; k < units.length; k++) units[k] = activation === "tanh" ? Math.tanh(units[k]) : Math.max(0, units[k]);
  };
  const units = new Float64Array(hidden);
  const input = new Float64Array(pixels);
  const parameters = new Float64Array(2 * latent);
  const net = {
    latent, pixels, hasEncoder: "encoder.hidden.weight" in t,
    /** Mean and log-variance of q(z | x), from pixels in [0, 1]. */
    encode(x) {
      input.set(x);
      affine(t["encoder.hidden.weight"], t["encoder.hidden.bias"], input, units);
      bend(units);
      affine(t["encoder.output.weight"], t["encoder.output.bias"], units, parameters);
      return { mean: Array.from(parameters.subarray(0, latent)), logVar: Array.from(parameters.subarray(latent)) };
    },
    /** Logits of the pixels at z. */
    logits(z, out = new Float64Array(pixels)) {
      affine(t["decoder.hidden.weight"], t["decoder.hidden.bias"], z, units);
      bend(units);
      affine(t["decoder.output.weight"], t["decoder.output.bias"], units, out);
      return out;
    },
    /** The mean image at z: probabilities of ink. */
    decode(z, out = new Float64Array(pixels)) {
      net.logits(z, out);
      for (let k = 0; k < pixels; k++) out[k] = sigmoid(out[k]);
      return out;
    },
  };
  return net;
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

/** The Weights model that a trait of a widget names: in a page its bytes may have to be fetched first. */
export async function weightsOf(model, trait = "weights") {
  const found = await model.widget_manager.get_model(model.get(trait).replace("IPY_MODEL_", ""));
  return found;
}
