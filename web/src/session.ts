/** What is open in the page: the model, the text, and the runs over it. */

import { type Pin, type Pins, type Quantity, type Step } from "./cell";
import { decode, drain, Language, type NetworkData, softmax, Stack, type ArrayData } from "./network";
import { generator, choose } from "./sampling";
import { type Shown, Vocabulary } from "./tokens";

/** The JSON that `lstmkit.explorer` puts into the page. */
export interface PageData {
  version: number;
  title: string;
  kind: "language" | "numbers";
  vocabulary: string | null;
  text: string;
  parameters: number;
  network: NetworkData;
  rnn: (NetworkData & { name: string }) | null;
  x: ArrayData | null;
}

export interface Place {
  cell: number;
  unit: number;
}

export interface Held extends Place {
  pin: Pin;
  value: number;
}

export interface Why {
  dot: Float64Array;
  norm: Float64Array;
}

const SLICE_MS = 24; // between two looks at the screen

/** The runs over one text; `other` is the same model with gates held, and empty while nothing is. */
interface Runs {
  language: Language;
  other: Language;
  rnn: Language | null;
}

/**
 * A run is never changed while it is shown: a new one is made beside it, and takes its place together
 * with its text and with what is held. So all that is read here fits together at any moment.
 */
export class Session {
  readonly isText: boolean;
  readonly vocabulary: Vocabulary;
  private runs: Runs | null;
  /** Where numbers go in there is no language, only its stack, free and with gates held. */
  private numbers: { stack: Stack; other: Stack } | null;
  tokens: number[] = [];
  rows: Float32Array[] = [];
  shown: Shown[] = [];
  /** How many tokens, from the end, the model wrote itself. */
  written = 0;
  held: Held[] = [];
  /** Grows with every change of text or holds. */
  version = 0;
  private job = 0;

  constructor(readonly data: PageData) {
    this.isText = data.kind === "language";
    this.vocabulary = new Vocabulary(data.vocabulary);
    this.runs = this.numbers = null;
    if (this.isText) {
      const language = new Language(data.network);
      this.runs = { language, other: language.fork(0), rnn: data.rnn ? new Language(data.rnn) : null };
    } else {
      const stack = new Stack(data.network);
      this.numbers = { stack, other: stack.fork(0) };
    }
  }

  get language(): Language | null {
    return this.runs?.language ?? null;
  }

  get other(): Language | null {
    return this.runs?.other ?? null;
  }

  get rnn(): Language | null {
    return this.runs?.rnn ?? null;
  }

  get stack(): Stack {
    return this.runs?.language.stack ?? this.numbers!.stack;
  }

  get otherStack(): Stack {
    return this.runs?.other.stack ?? this.numbers!.other;
  }

  /** The stack whose values are shown: that with holds while something is held. */
  get current(): Stack {
    return this.held.length ? this.otherStack : this.stack;
  }

  get currentLanguage(): Language | null {
    return this.held.length ? this.other : this.language;
  }

  get length(): number {
    return this.isText ? this.tokens.length : this.rows.length;
  }

  /** A text begins as if a newline stood before it: step 0 reads that. */
  get offset(): number {
    return this.isText ? 1 : 0;
  }

  get cells(): { cell: number; units: number; name: string }[] {
    const { directions } = this.stack;
    return this.stack.cells.map((one, cell) => {
      const layer = `layer ${Math.floor(cell / directions) + 1}`;
      const way = directions === 2 ? (cell % 2 ? ", backwards" : ", forwards") : "";
      return { cell, units: one.size, name: layer + way };
    });
  }

  /** How many c, or h, a cell's layer has: with a projection there are fewer h. */
  width(cell: number, quantity: "c" | "h"): number {
    const one = this.stack.cells[cell];
    return quantity === "h" ? one.output : one.size;
  }

  name({ cell, unit }: Place): string {
    return this.stack.cells.length > 1 ? `${this.cells[cell].name}, cell ${unit}` : `cell ${unit}`;
  }

  /** The original text or numbers. */
  async open(progress: (share: number) => void): Promise<void> {
    if (this.isText) {
      await this.read(this.vocabulary.encode(this.data.text).tokens, progress);
    } else {
      const [steps, width] = this.data.x!.shape;
      const all = decode(this.data.x!);
      this.rows = Array.from({ length: steps }, (_, t) => all.subarray(t * width, (t + 1) * width));
      this.shown = this.rows.map((_, t) => ({ glyph: String(t), name: `step ${t}`, newline: false }));
      this.stack.run(this.rows);
      this.version += 1;
    }
  }

  /** Read another text; false if a later call took its place, and then nothing has changed. */
  async read(tokens: number[], progress: (share: number) => void): Promise<boolean> {
    const { language, other, rnn } = this.runs!;
    const inputs = [this.vocabulary.start, ...tokens];
    const runs = {
      language: shared(language, inputs),
      other: shared(other, inputs),
      rnn: rnn && shared(rnn, inputs),
    };
    return this.replace(++this.job, tokens, 0, this.held, runs, progress);
  }

  /** Let the new runs read to the end of the text; then all takes the old one's place at once. */
  private async replace(
    job: number,
    tokens: number[],
    written: number,
    held: Held[],
    runs: Runs,
    progress: (share: number) => void,
  ): Promise<boolean> {
    const inputs = [this.vocabulary.start, ...tokens];
    const reading = [runs.language, ...(runs.rnn ? [runs.rnn] : []), ...(held.length ? [runs.other] : [])]
      .filter((run) => run.tokens.length < inputs.length);
    for (const [k, run] of reading.entries()) {
      const share = (of: number) => progress((k + of) / reading.length);
      if (!(await this.feed(run, inputs, job, share))) return false;
    }
    this.runs = runs;
    this.tokens = tokens;
    this.shown = this.vocabulary.show(tokens);
    this.written = written;
    this.held = held;
    this.version += 1;
    return true;
  }

  private async feed(
    run: Language,
    inputs: number[],
    job: number,
    progress: (share: number) => void,
  ): Promise<boolean> {
    let began = performance.now();
    while (run.tokens.length < inputs.length) {
      run.push(inputs[run.tokens.length]);
      if (performance.now() - began > SLICE_MS) {
        progress(run.tokens.length / inputs.length);
        await new Promise((resolve) => setTimeout(resolve));
        if (job !== this.job) return false;
        began = performance.now();
      }
    }
    return true;
  }

  /** Hold gates and memories at values; an empty list lets go of all. */
  async hold(held: Held[], progress: (share: number) => void): Promise<boolean> {
    const job = ++this.job;
    const pins: Pins[] = this.stack.cells.map(() => ({}));
    for (const { cell, unit, pin, value } of held) {
      (pins[cell][pin] ??= new Map()).set(unit, value);
    }
    if (this.runs) {
      const runs = { ...this.runs, other: this.runs.other.fork(0, pins) };
      return this.replace(job, this.tokens, this.written, held, runs, progress);
    }
    const other = this.numbers!.other.fork(0, pins);
    if (held.length) other.run(this.rows);
    this.numbers = { stack: this.stack, other };
    this.held = held;
    this.version += 1;
    return true;
  }

  /** Go on from after token `at`; the rest of the text is replaced. */
  async write(
    at: number,
    length: number,
    temperature: number,
    seed: number,
    progress: (share: number) => void,
  ): Promise<boolean> {
    const job = ++this.job;
    const random = generator(seed);
    const { held } = this;
    const tokens = this.tokens.slice(0, at + 1);
    const before = tokens.length + 1; // with the newline before the text
    const { language, other, rnn } = this.runs!;
    const runs = { language: language.fork(before), other: other.fork(before), rnn: rnn && rnn.fork(before) };
    const run = held.length ? runs.other : runs.language;
    let began = performance.now();
    for (let k = 0; k < length; k++) {
      const next = choose(run.logits[run.logits.length - 1], temperature, random);
      tokens.push(next);
      run.push(next);
      if (performance.now() - began > SLICE_MS) {
        progress(k / length);
        await new Promise((resolve) => setTimeout(resolve));
        if (job !== this.job) return false;
        began = performance.now();
      }
    }
    return this.replace(job, tokens, length, held, runs, progress);
  }

  /** One unit's quantity after every token. */
  track({ cell, unit }: Place, quantity: Quantity): Float64Array {
    return this.current.values(cell, unit, quantity).subarray(this.offset);
  }

  at(place: Place, quantity: Quantity, t: number): number {
    const step: Step | undefined = this.current.trace[place.cell][t + this.offset];
    return step?.[quantity][place.unit] ?? 0;
  }

  /** The logits of what comes after token t; -1 asks for the first. */
  logits(t: number, run = this.currentLanguage): Float64Array | undefined {
    return run?.logits[t + 1];
  }

  /** log₂ p of every token, as it was predicted. */
  bits(run: Language): Float64Array {
    return Float64Array.from(this.tokens, (token, t) =>
      -Math.log2(Math.max(softmax(run.logits[t])[token], 1e-300)),
    );
  }

  /**
   * How much each earlier input moved this prediction. `dot` is gradient · embedding, the
   * first-order change in ln p(token t) if that input's vector were there and not zero; `norm` is
   * the gradient's length. Index k of the result is token k; the newline before the text is left out.
   */
  *following(t: number, run: Language): Generator<void, Why> {
    const tokens = this.tokens.slice(0, t + 1); // of now: another text may come before the end
    const gradients = yield* run.back(t, tokens[t]);
    return measured(tokens.slice(0, t).map((token) => run.row(token)), gradients.slice(1));
  }

  /** The same for a unit's c or h at a step of numbers: every step's input, in both directions. */
  *followingUnit(t: number, { cell, unit }: Place, quantity: "c" | "h"): Generator<void, Why> {
    const { current } = this;
    const dh = new Float64Array(this.width(cell, "h"));
    const dc = new Float64Array(this.width(cell, "c"));
    (quantity === "h" ? dh : dc)[unit] = 1;
    const gradients = yield* current.back(t, dh, cell, dc);
    return measured(this.rows.slice(0, gradients.length), gradients);
  }

  why(t: number, run = this.currentLanguage!): Why {
    return drain(this.following(t, run));
  }

  whyUnit(t: number, place: Place, quantity: "c" | "h"): Why {
    return drain(this.followingUnit(t, place, quantity));
  }
}

/** A new run that has read what the text has in common with the old run's: that need not be read again. */
function shared(run: Language, inputs: number[]): Language {
  let common = 0;
  while (common < run.tokens.length && run.tokens[common] === inputs[common]) common += 1;
  return run.fork(common);
}

/** Run to the end in slices, as long as it is wanted; null if it no longer is. */
export async function inSlices<T>(
  work: Generator<void, T>,
  wanted: () => boolean,
): Promise<T | null> {
  let began = performance.now();
  for (;;) {
    const { done, value } = work.next();
    if (done) return value as T;
    if (performance.now() - began > SLICE_MS) {
      await new Promise((resolve) => setTimeout(resolve));
      if (!wanted()) return null;
      began = performance.now();
    }
  }
}

function measured(inputs: Float32Array[], gradients: Float64Array[]): Why {
  return {
    dot: Float64Array.from(inputs, (x, k) => x.reduce((sum, v, j) => sum + v * gradients[k][j], 0)),
    norm: Float64Array.from(inputs, (_, k) => Math.hypot(...gradients[k])),
  };
}
