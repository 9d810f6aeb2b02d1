/**
 * Networks that run in the page: a stack of cells over numbers, and a language model around a
 * stack. Each keeps the trace of its run, so that any step can be looked at and gone back from.
 */

import { Cell, type CellConfig, multiply, multiplyTransposed, type Pins, type Quantity, type Step, type Weights } from "./cell";

export interface StackConfig extends CellConfig {
  num_layers: number;
  bidirectional: boolean;
}

export interface ArrayData {
  shape: number[];
  data: string;
}

/** What the page is given of one model. */
export interface NetworkData {
  kind: "lstm" | "rnn";
  config: StackConfig;
  arrays: Record<string, ArrayData>;
}

/** Little-endian float32 numbers in base64. */
export function decode(array: ArrayData): Float32Array {
  const bytes = Uint8Array.from(atob(array.data), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, k) => view.getFloat32(4 * k, true));
}

/** The basic RNN, h = tanh(W x + U h' + b), as a cell without gates: its c is its h. */
export class RnnCell {
  readonly size: number;
  readonly output: number;

  constructor(
    readonly config: { input_size: number; hidden_size: number },
    readonly weights: Weights,
  ) {
    this.size = this.output = config.hidden_size;
  }

  start(): { h: Float64Array; c: Float64Array } {
    return { h: new Float64Array(this.size), c: new Float64Array(this.size) };
  }

  step(x: ArrayLike<number>, before: { h: Float64Array; c: Float64Array }): Step {
    const h = Float64Array.from(this.weights.bias);
    multiply(this.weights.weight_ih, x, h, true);
    multiply(this.weights.weight_hh, before.h, h, true);
    for (let k = 0; k < h.length; k++) h[k] = Math.tanh(h[k]);
    const none = new Float64Array(0);
    return { i: none, f: none, g: none, o: none, c: h, h, squashed: none, inside: {} };
  }

  back(step: Step, _before: unknown, dh: Float64Array, dc: Float64Array) {
    const dz = dh.map((value, k) => value * (1 - step.h[k] ** 2));
    const dx = new Float64Array(this.config.input_size);
    const dhOld = new Float64Array(this.size);
    multiplyTransposed(this.weights.weight_ih, dz, dx);
    multiplyTransposed(this.weights.weight_hh, dz, dhOld);
    return { dx, dh: dhOld, dc };
  }
}

type AnyCell = Cell | RnnCell;

/** A stack of cells and the trace of its run over the steps read so far. */
export class Stack {
  readonly cells: AnyCell[] = [];
  readonly directions: number;
  readonly output: number;
  /** `trace[cell][t]`, in the text's order for both directions. */
  trace: Step[][] = [];
  inputs: ArrayLike<number>[] = [];
  pins: Pins[] = [];

  constructor(data: NetworkData, prefix = "") {
    const { config } = data;
    this.directions = config.bidirectional ? 2 : 1;
    const width = config.proj_size || config.hidden_size;
    this.output = this.directions * width;
    for (let layer = 0; layer < config.num_layers; layer++) {
      for (const suffix of ["", "_reverse"].slice(0, this.directions)) {
        const end = `_l${layer}${suffix}`;
        const weights: Weights = {};
        for (const [name, array] of Object.entries(data.arrays)) {
          if (name.startsWith(prefix) && name.endsWith(end)) {
            weights[name.slice(prefix.length, -end.length)] = decode(array);
          }
        }
        const input_size = layer ? this.output : config.input_size;
        const cell = data.kind === "rnn"
          ? new RnnCell({ input_size, hidden_size: config.hidden_size }, weights)
          : new Cell({ ...config, input_size }, weights);
        this.cells.push(cell);
      }
    }
    this.clear();
  }

  clear(): void {
    this.trace = this.cells.map(() => []);
    this.inputs = [];
  }

  get length(): number {
    return this.inputs.length;
  }

  /** Another run of the same network, with the first `length` steps of this one: with two directions, 0. */
  fork(length: number, pins = this.pins): Stack {
    return Object.assign(Object.create(Stack.prototype) as Stack, this, {
      inputs: this.inputs.slice(0, length),
      trace: this.trace.map((steps) => steps.slice(0, length)),
      pins,
    });
  }

  /** Read one more step (one direction). */
  push(x: ArrayLike<number>): Float64Array {
    this.inputs.push(x);
    let row: ArrayLike<number> = x;
    this.cells.forEach((cell, k) => {
      const steps = this.trace[k];
      const before = steps.length ? steps[steps.length - 1] : cell.start();
      const step = cell.step(row, before, this.pins[k]);
      steps.push(step);
      row = step.h;
    });
    return row as Float64Array;
  }

  /** Read a whole sequence, in one direction or two. */
  run(xs: ArrayLike<number>[]): void {
    this.clear();
    if (this.directions === 1) {
      for (const x of xs) this.push(x);
      return;
    }
    this.inputs = [...xs];
    let rows = this.inputs;
    for (let k = 0; k < this.cells.length; k += 2) {
      for (const direction of [0, 1]) {
        const cell = this.cells[k + direction];
        let before: { h: Float64Array; c: Float64Array } = cell.start();
        const steps: Step[] = new Array(rows.length);
        for (let n = 0; n < rows.length; n++) {
          const t = direction ? rows.length - 1 - n : n;
          before = steps[t] = cell.step(rows[t], before, this.pins[k + direction]);
        }
        this.trace[k + direction] = steps;
      }
      rows = this.outputs(k);
    }
  }

  /** What the layer that begins with cell k gives at every step. */
  outputs(k = this.cells.length - this.directions): Float64Array[] {
    if (this.directions === 1) return this.trace[k].map((step) => step.h);
    return this.trace[k].map((step, t) => Float64Array.from([...step.h, ...this.trace[k + 1][t].h]));
  }

  /**
   * From the gradient in one output, at step `at`, to those in the inputs of all steps. `cell` says
   * whose output; without it, the last layer's. `dcOwn` is the gradient in that cell's c at `at`. It
   * pauses after every step, so that a page need not stand still: see `drain`.
   */
  *back(at: number, dy: Float64Array, cell?: number, dcOwn?: Float64Array): Generator<void, Float64Array[]> {
    const T = this.directions === 2 ? this.length : at + 1;
    const width = this.cells[0].output;
    const zeros = (size: number) => Array.from({ length: T }, () => new Float64Array(size));
    const last = this.cells.length - this.directions;
    const top = cell === undefined ? last : cell - (cell % this.directions);
    let dys = zeros(this.output);
    if (cell === undefined) dys[at].set(dy);
    else dys[at].set(dy, (cell % this.directions) * width);
    for (let k = top; k >= 0; k -= this.directions) {
      const dxs = zeros(k ? this.output : this.cells[0].config.input_size);
      for (let direction = 0; direction < this.directions; direction++) {
        const one = this.cells[k + direction];
        const steps = this.trace[k + direction];
        let dh = new Float64Array(width);
        let dc: Float64Array = new Float64Array(one.size);
        for (let n = T - 1; n >= 0; n--) {
          const t = direction ? T - 1 - n : n;
          for (let j = 0; j < width; j++) dh[j] += dys[t][direction * width + j];
          if (dcOwn && t === at && k + direction === cell) dc = dc.map((value, j) => value + dcOwn[j]);
          const earlier = direction ? steps[t + 1] : steps[t - 1];
          const result = one.back(steps[t], earlier ?? one.start(), dh, dc, this.pins[k + direction]);
          for (let j = 0; j < dxs[t].length; j++) dxs[t][j] += result.dx[j];
          dh = result.dh;
          dc = result.dc;
          yield;
        }
      }
      dys = dxs;
    }
    return dys;
  }

  /** One unit's quantity at every step. */
  values(cell: number, unit: number, quantity: Quantity): Float64Array {
    return Float64Array.from(this.trace[cell], (step) => step[quantity][unit] ?? 0);
  }
}

/** Embedding, stack and output layer: the logits of every next token. */
export class Language {
  readonly stack: Stack;
  readonly embedding: Float32Array;
  readonly size: number;
  readonly count: number;
  private readonly weight: Float32Array;
  private readonly bias: Float32Array;
  /** The tokens read, and after each the probabilities (natural logarithms) of the next. */
  tokens: number[] = [];
  logits: Float64Array[] = [];

  constructor(data: NetworkData) {
    this.stack = new Stack(data, "lstm.");
    [this.count, this.size] = data.arrays["embedding.weight"].shape;
    this.embedding = decode(data.arrays["embedding.weight"]);
    const head = data.arrays["head.weight"];
    this.weight = head ? decode(head) : this.embedding; // tied
    this.bias = decode(data.arrays["head.bias"]);
  }

  row(token: number): Float32Array {
    return this.embedding.subarray(token * this.size, (token + 1) * this.size);
  }

  /** Another run of the same network, which has read the first `length` tokens of this one. */
  fork(length: number, pins = this.stack.pins): Language {
    return Object.assign(Object.create(Language.prototype) as Language, this, {
      stack: this.stack.fork(length, pins),
      tokens: this.tokens.slice(0, length),
      logits: this.logits.slice(0, length),
    });
  }

  push(token: number): Float64Array {
    const h = this.stack.push(this.row(token));
    const logits = Float64Array.from(this.bias);
    multiply(this.weight, h, logits, true);
    this.tokens.push(token);
    this.logits.push(logits);
    return logits;
  }

  /**
   * The gradient of ln p(token), as predicted after step `at`, in the input vector of every step
   * up to `at`: exact backpropagation through time, nothing cut off.
   */
  back(at: number, token: number): Generator<void, Float64Array[]> {
    const dlogits = softmax(this.logits[at]).map((p) => -p);
    dlogits[token] += 1;
    const dh = new Float64Array(this.stack.output);
    multiplyTransposed(this.weight, dlogits, dh);
    return this.stack.back(at, dh);
  }
}

/** Run to the end at once. */
export function drain<T>(work: Generator<void, T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}

export function softmax(logits: Float64Array, temperature = 1): Float64Array {
  const top = Math.max(...logits);
  const p = logits.map((value) => Math.exp((value - top) / temperature));
  const total = p.reduce((sum, value) => sum + value, 0);
  return p.map((value) => value / total);
}
