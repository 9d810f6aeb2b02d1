/**
 * One LSTM cell over time, forward and exactly back: the twin in TypeScript of
 * `lstmkit/engine/numpy_twin.py`, with the same names, for a batch of one.
 *
 * Arithmetic is in float64, the weights are float32. G is the number of stacked gates, 4 or 3.
 */

export type Weights = Record<string, Float32Array>;

/** What a cell is; the names are those of `lstmkit.cell.Cell`. */
export interface CellConfig {
  input_size: number;
  hidden_size: number;
  proj_size: number;
  bias: boolean;
  peepholes: boolean;
  coupled_gates: boolean;
  layer_norm: boolean;
  cell_clip: number | null;
  gate_clip: number | null;
  activations: [string, string, string];
  zoneout: [number, number];
  learn_initial_state: boolean;
}

export const QUANTITIES = ["i", "f", "g", "o", "c", "h"] as const;
export type Quantity = (typeof QUANTITIES)[number];
export type Pin = "i" | "f" | "g" | "o" | "c";

/** Values that gates or memories are held at: `pins.f.get(unit)`. */
export type Pins = Partial<Record<Pin, Map<number, number>>>;

interface Activation {
  value(z: number): number;
  /** The derivative, in terms of the function's own value. */
  slope(a: number): number;
}

const ACTIVATIONS: Record<string, Activation> = {
  sigmoid: { value: (z) => 1 / (1 + Math.exp(-z)), slope: (a) => a - a * a },
  tanh: { value: Math.tanh, slope: (a) => 1 - a * a },
  relu: { value: (z) => (z > 0 ? z : 0), slope: (a) => (a > 0 ? 1 : 0) },
  hard_sigmoid: {
    value: (z) => Math.min(1, Math.max(0, z * 0.2 + 0.5)),
    slope: (a) => (a > 0 && a < 1 ? 0.2 : 0),
  },
  softsign: { value: (z) => z / (1 + Math.abs(z)), slope: (a) => (1 - Math.abs(a)) ** 2 },
  identity: { value: (z) => z, slope: () => 1 },
};

const LAYER_NORM_EPSILON = 1e-5;

/** y = W x, or y += W x. Four sums at a time: one would wait for itself at every step. */
export function multiply(
  w: Float32Array,
  x: ArrayLike<number>,
  y: Float64Array,
  add = false,
): void {
  const columns = x.length;
  const even = columns - (columns % 4);
  for (let row = 0, k = 0; row < y.length; row++) {
    let [a, b, c, d] = [0, 0, 0, 0];
    let column = 0;
    for (; column < even; column += 4, k += 4) {
      a += w[k] * x[column];
      b += w[k + 1] * x[column + 1];
      c += w[k + 2] * x[column + 2];
      d += w[k + 3] * x[column + 3];
    }
    for (; column < columns; column++, k++) a += w[k] * x[column];
    y[row] = (add ? y[row] : 0) + (a + b + (c + d));
  }
}

/** y += Wᵀ x. Four rows at a time, so that y is read and written a quarter as often. */
export function multiplyTransposed(
  w: Float32Array,
  x: ArrayLike<number>,
  y: Float64Array,
): void {
  const columns = y.length;
  const even = x.length - (x.length % 4);
  let row = 0;
  for (; row < even; row += 4) {
    const [a, b, c, d] = [x[row], x[row + 1], x[row + 2], x[row + 3]];
    const k = row * columns;
    for (let column = 0; column < columns; column++) {
      const at = k + column;
      y[column] += w[at] * a + w[at + columns] * b + (w[at + 2 * columns] * c + w[at + 3 * columns] * d);
    }
  }
  for (; row < x.length; row++) {
    for (let column = 0; column < columns; column++) y[column] += w[row * columns + column] * x[row];
  }
}

/** Bring a row to mean 0 and variance 1, in place; return 1/σ. */
function normalize(a: Float64Array): number {
  let mean = 0;
  for (const value of a) mean += value / a.length;
  let variance = 0;
  for (const value of a) variance += (value - mean) ** 2 / a.length;
  const inverse = 1 / Math.sqrt(variance + LAYER_NORM_EPSILON);
  for (let k = 0; k < a.length; k++) a[k] = (a[k] - mean) * inverse;
  return inverse;
}

/** da = (dâ − mean(dâ) − â mean(dâ ∘ â)) / σ, in place. */
function normalizeBackward(dhat: Float64Array, hat: Float64Array, inverse: number): void {
  let mean = 0;
  let slope = 0;
  for (let k = 0; k < hat.length; k++) {
    mean += dhat[k] / hat.length;
    slope += (dhat[k] * hat[k]) / hat.length;
  }
  for (let k = 0; k < hat.length; k++) dhat[k] = inverse * (dhat[k] - mean - hat[k] * slope);
}

function clip(z: number, limit: number): number {
  return Math.max(-limit, Math.min(limit, z));
}

/** All that one step leaves behind. */
export interface Step {
  i: Float64Array;
  f: Float64Array;
  g: Float64Array;
  o: Float64Array;
  c: Float64Array;
  h: Float64Array;
  squashed: Float64Array;
  /** Where no clip bit, for i, f, g, o and c; empty without clips. */
  inside: { gates?: Uint8Array; c?: Uint8Array };
  /** Layer norm: the normalized rows and their 1/σ. */
  norm?: { ih: Float64Array; hh: Float64Array; c: Float64Array; inverse: [number, number, number] };
}

export class Cell {
  readonly size: number;
  readonly output: number;
  private readonly gates: number;

  constructor(
    readonly config: CellConfig,
    readonly weights: Weights,
  ) {
    this.size = config.hidden_size;
    this.output = config.proj_size || config.hidden_size;
    this.gates = config.coupled_gates ? 3 : 4;
  }

  /** h and c before the first step. */
  start(): { h: Float64Array; c: Float64Array } {
    const learned = this.config.learn_initial_state;
    return {
      h: learned ? Float64Array.from(this.weights.h_0) : new Float64Array(this.output),
      c: learned ? Float64Array.from(this.weights.c_0) : new Float64Array(this.size),
    };
  }

  step(
    x: ArrayLike<number>,
    before: { h: Float64Array; c: Float64Array },
    pins: Pins = {},
  ): Step {
    const { config, weights, size: H } = this;
    const rows = this.gates * H;
    const [gate, candidate, output] = config.activations.map((name) => ACTIVATIONS[name]);
    const inside: Step["inside"] = {};
    let norm: Step["norm"];

    // z = x W_ihᵀ + h' W_hhᵀ + b
    const z = new Float64Array(rows);
    multiply(weights.weight_ih, x, z);
    if (config.layer_norm) {
      const ih = z.slice();
      const hh = new Float64Array(rows);
      multiply(weights.weight_hh, before.h, hh);
      norm = { ih, hh, c: new Float64Array(H), inverse: [normalize(ih), normalize(hh), 0] };
      for (let k = 0; k < rows; k++) {
        z[k] = ih[k] * weights.norm_ih_gain[k] + hh[k] * weights.norm_hh_gain[k];
      }
    } else {
      multiply(weights.weight_hh, before.h, z, true);
    }
    if (config.bias) for (let k = 0; k < rows; k++) z[k] += weights.bias[k];

    const zf = H;
    const zg = rows - 2 * H;
    const zo = rows - H;
    const p = weights.peephole;
    if (config.peepholes) {
      for (let k = 0; k < H; k++) {
        z[k] += before.c[k] * p[k];
        if (!config.coupled_gates) z[zf + k] += before.c[k] * p[H + k];
      }
    }
    const limit = config.gate_clip;
    if (limit) {
      inside.gates = new Uint8Array(rows);
      for (let k = 0; k < zo; k++) {
        inside.gates[k] = Math.abs(z[k]) <= limit ? 1 : 0;
        z[k] = clip(z[k], limit);
      }
    }

    const make = () => new Float64Array(H);
    const [i, f, g, o, c, squashed] = [make(), make(), make(), make(), make(), make()];
    for (let k = 0; k < H; k++) {
      i[k] = gate.value(z[k]);
      g[k] = candidate.value(z[zg + k]);
      if (!config.coupled_gates) f[k] = gate.value(z[zf + k]);
    }
    hold(i, pins.i);
    hold(g, pins.g);
    if (config.coupled_gates) for (let k = 0; k < H; k++) f[k] = 1 - i[k];
    hold(f, pins.f);

    // c = f ∘ c' + i ∘ g, then the clip, then zoneout
    if (config.cell_clip) inside.c = new Uint8Array(H);
    const kept = config.zoneout[0];
    for (let k = 0; k < H; k++) {
      let value = f[k] * before.c[k] + i[k] * g[k];
      if (config.cell_clip) {
        inside.c![k] = Math.abs(value) <= config.cell_clip ? 1 : 0;
        value = clip(value, config.cell_clip);
      }
      c[k] = kept ? kept * before.c[k] + (1 - kept) * value : value;
    }
    hold(c, pins.c);

    for (let k = 0; k < H; k++) {
      let value = z[zo + k];
      if (config.peepholes) value += c[k] * p[p.length - H + k];
      if (limit) {
        inside.gates![zo + k] = Math.abs(value) <= limit ? 1 : 0;
        value = clip(value, limit);
      }
      o[k] = gate.value(value);
    }
    hold(o, pins.o);

    // h = o ∘ tanh(c), with layer norm on c, the projection and zoneout
    let seen = c;
    if (norm) {
      norm.c = c.slice();
      norm.inverse[2] = normalize(norm.c);
      seen = norm.c.map((hat, k) => hat * weights.norm_c_gain[k] + weights.norm_c_shift[k]);
    }
    const shown = make();
    for (let k = 0; k < H; k++) {
      squashed[k] = output.value(seen[k]);
      shown[k] = o[k] * squashed[k];
    }
    let h = shown;
    if (config.proj_size) {
      h = new Float64Array(this.output);
      multiply(weights.weight_hr, shown, h);
    }
    const keptH = config.zoneout[1];
    if (keptH) for (let k = 0; k < h.length; k++) h[k] = keptH * before.h[k] + (1 - keptH) * h[k];
    return { i, f, g, o, c, h, squashed, inside, norm };
  }

  /**
   * One step back: from the gradients in the new state to those in x and in the old state.
   * What is held at a value passes nothing on.
   */
  back(
    step: Step,
    before: { h: Float64Array; c: Float64Array },
    dh: Float64Array,
    dcLater: Float64Array,
    pins: Pins = {},
  ): { dx: Float64Array; dh: Float64Array; dc: Float64Array } {
    const { config, weights, size: H } = this;
    const rows = this.gates * H;
    const [gate, candidate, output] = config.activations.map((name) => ACTIVATIONS[name]);
    const { i, f, g, o, squashed, inside, norm } = step;
    const zf = H;
    const zg = rows - 2 * H;
    const zo = rows - H;
    const p = weights.peephole;
    const dz = new Float64Array(rows);

    const keptH = config.zoneout[1];
    const dout = keptH ? dh.map((value) => (1 - keptH) * value) : dh;
    let dm = dout;
    if (config.proj_size) {
      dm = new Float64Array(H);
      multiplyTransposed(weights.weight_hr, dout, dm);
    }
    const dseen = new Float64Array(H);
    for (let k = 0; k < H; k++) {
      if (!pins.o?.has(k)) dz[zo + k] = dm[k] * squashed[k] * gate.slope(o[k]);
      if (inside.gates) dz[zo + k] *= inside.gates[zo + k];
      dseen[k] = dm[k] * o[k] * output.slope(squashed[k]);
    }
    if (norm) {
      for (let k = 0; k < H; k++) dseen[k] *= weights.norm_c_gain[k];
      normalizeBackward(dseen, norm.c, norm.inverse[2]);
    }
    const dc = new Float64Array(H);
    const dcOld = new Float64Array(H);
    const keptC = config.zoneout[0];
    for (let k = 0; k < H; k++) {
      let value = dcLater[k] + dseen[k];
      if (config.peepholes) value += dz[zo + k] * p[p.length - H + k];
      if (pins.c?.has(k)) value = 0;
      dcOld[k] = keptC * value;
      value *= 1 - keptC;
      if (inside.c) value *= inside.c[k];
      dc[k] = value;
      dcOld[k] += value * f[k];
      const df = pins.f?.has(k) ? 0 : value * before.c[k];
      let di = value * g[k];
      if (config.coupled_gates) di -= df;
      else dz[zf + k] = df * gate.slope(f[k]);
      if (!pins.i?.has(k)) dz[k] = di * gate.slope(i[k]);
      if (!pins.g?.has(k)) dz[zg + k] = value * i[k] * candidate.slope(g[k]);
    }
    if (inside.gates) for (let k = 0; k < zo; k++) dz[k] *= inside.gates[k];
    if (config.peepholes) {
      for (let k = 0; k < H; k++) {
        dcOld[k] += dz[k] * p[k];
        if (!config.coupled_gates) dcOld[k] += dz[zf + k] * p[H + k];
      }
    }

    let dr = dz;
    let da = dz;
    if (norm) {
      dr = dz.map((value, k) => value * weights.norm_hh_gain[k]);
      normalizeBackward(dr, norm.hh, norm.inverse[1]);
      da = dz.map((value, k) => value * weights.norm_ih_gain[k]);
      normalizeBackward(da, norm.ih, norm.inverse[0]);
    }
    const dhOld = new Float64Array(this.output);
    multiplyTransposed(weights.weight_hh, dr, dhOld);
    if (keptH) for (let k = 0; k < dhOld.length; k++) dhOld[k] += keptH * dh[k];
    const dx = new Float64Array(config.input_size);
    multiplyTransposed(weights.weight_ih, da, dx);
    return { dx, dh: dhOld, dc: dcOld };
  }
}

function hold(values: Float64Array, pinned?: Map<number, number>): void {
  pinned?.forEach((value, unit) => {
    values[unit] = value;
  });
}
