// The few functions that the densities and the bounds need. Natural logarithms, so nats, everywhere.

export const LOG_2PI = Math.log(2 * Math.PI);

/** log N(x; mean, deviation^2). */
export function normalLog(x, mean = 0, deviation = 1) {
  const t = (x - mean) / deviation;
  return -0.5 * (t * t + LOG_2PI) - Math.log(deviation);
}

export const normal = (x, mean = 0, deviation = 1) => Math.exp(normalLog(x, mean, deviation));

/** log(sum exp), without overflow. */
export function logSumExp(values) {
  let top = -Infinity;
  for (const value of values) if (value > top) top = value;
  if (!Number.isFinite(top)) return top;
  let sum = 0;
  for (const value of values) sum += Math.exp(value - top);
  return top + Math.log(sum);
}

/** log(1 + e^x), for any x. */
export const softplus = (x) => (x > 0 ? x : 0) + Math.log1p(Math.exp(-Math.abs(x)));

export const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** `count` numbers from low to high, both included. */
export const linspace = (low, high, count) =>
  Float64Array.from({ length: count }, (_, k) => low + ((high - low) * k) / (count - 1));

/** The trapezoid rule over equal steps: its error is beyond rounding for smooth functions that die out at both ends. */
export function trapezoid(values, step) {
  let sum = (values[0] + values[values.length - 1]) / 2;
  for (let k = 1; k < values.length - 1; k++) sum += values[k];
  return sum * step;
}

/** Uniform numbers in (0, 1) from a seed, the same for every reader: xorshift128 (Marsaglia 2003). */
export function uniforms(seed) {
  // Four words that differ, none of them 0, from whatever seed.
  const words = [1, 2, 3, 4].map((k) => (Math.imul((seed | 0) + 0x9e3779b9 * k, 0x85ebca6b) ^ (0x27d4eb2f * k)) | 1);
  const next = () => {
    let t = words[3];
    t ^= t << 11;
    t ^= t >>> 8;
    words[3] = words[2];
    words[2] = words[1];
    words[1] = words[0];
    words[0] = t ^ words[0] ^ (words[0] >>> 19);
    return ((words[0] >>> 0) + 0.5) / 4294967296;
  };
  for (let k = 0; k < 16; k++) next(); // seeds that are neighbours part
  return next;
}

/** Standard normal numbers from a seed, by Box and Muller. */
export function normals(seed) {
  const next = uniforms(seed);
  let spare = null;
  return () => {
    if (spare !== null) {
      const value = spare;
      spare = null;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(next()));
    const turn = 2 * Math.PI * next();
    spare = radius * Math.sin(turn);
    return radius * Math.cos(turn);
  };
}

/** erf, to rounding: 2 / sqrt(pi) e^(-x^2) sum 2^k x^(2k+1) / (2k+1)!!, a series in which nothing cancels. */
export function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let k = 1; Math.abs(term) > 1e-17 * Math.abs(sum); k++) {
    term *= (2 * x * x) / (2 * k + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** The mass of N(mean, deviation^2) below x. */
export const normalBelow = (x, mean = 0, deviation = 1) => 0.5 * (1 + erf((x - mean) / (deviation * Math.SQRT2)));
