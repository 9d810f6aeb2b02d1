/**
 * Which cells follow something that a reader sees: inside quotes, inside brackets, indentation,
 * place in the line … The score is a correlation over the text, and it must hold in both halves.
 */

export interface Feature {
  name: string;
  values: Float64Array;
}

export interface Suggestion {
  feature: string;
  cell: number;
  unit: number;
  /** Pearson's r over the whole text. */
  r: number;
  /** The weaker of the two halves' |r|; 0 where their signs differ. */
  firm: number;
}

/** A shorter text says nothing. */
export const LEAST_TOKENS = 20;
const LEAST = 0.25; // a weaker one says nothing
const OPEN = "([{";
const CLOSE = ")]}";

/** The features of a text, each one number a token. `texts` is what every token shows. */
export function featuresOf(texts: string[]): Feature[] {
  const T = texts.length;
  const make = (name: string): Feature => ({ name, values: new Float64Array(T) });
  const quotes = make("inside quotes");
  const brackets = make("depth of brackets");
  const comment = make("inside a comment");
  const indent = make("indentation of the line");
  const column = make("place in the line");
  const start = make("white space at the start of a line");
  const word = make("place in the word");
  const capital = make("capital letters");
  const digit = make("digits");
  const text = make("place in the text");
  let quote = "";
  let depth = 0;
  let at = 0;
  let spaces = 0;
  let leading = true;
  let inWord = 0;
  let inComment = false;
  texts.forEach((c, t) => {
    const escaped = t > 0 && texts[t - 1] === "\\";
    if (c === "\n") {
      at = spaces = 0;
      leading = true;
      inComment = false;
      if (quote && quote.length === 1) quote = "";
    } else {
      at += 1;
      if (leading && (c === " " || c === "\t")) spaces += c === "\t" ? 4 : 1;
      else leading = false;
    }
    if (!inComment && (c === '"' || c === "'") && !escaped) {
      const last = texts.slice(Math.max(0, t - 2), t + 1).join("");
      const apostrophe = c === "'" && !quote && t > 0 && /\p{L}/u.test(texts[t - 1]);
      if (last === c.repeat(3)) quote = quote === last ? "" : last;
      else if (quote === c) quote = "";
      else if (!quote && !apostrophe) quote = c;
    }
    if (!quote && c === "#") inComment = true;
    if (!quote && !inComment) {
      if (OPEN.includes(c)) depth += 1;
      if (CLOSE.includes(c)) depth = Math.max(0, depth - 1);
    }
    inWord = /[\p{L}\p{N}_]/u.test(c) ? inWord + 1 : 0;
    quotes.values[t] = quote ? 1 : 0;
    brackets.values[t] = depth;
    comment.values[t] = inComment ? 1 : 0;
    indent.values[t] = spaces;
    column.values[t] = at;
    start.values[t] = leading && c !== "\n" ? 1 : 0;
    word.values[t] = inWord;
    capital.values[t] = /\p{Lu}/u.test(c) ? 1 : 0;
    digit.values[t] = /\p{N}/u.test(c) ? 1 : 0;
    text.values[t] = t;
  });
  return [quotes, brackets, comment, indent, start, column, word, capital, digit, text];
}

/** Pearson's correlation of a[from:to] and b[from:to]; 0 where one does not vary. */
export function correlation(a: Float64Array, b: Float64Array, from = 0, to = a.length): number {
  const n = to - from;
  let [ma, mb] = [0, 0];
  for (let t = from; t < to; t++) {
    ma += a[t] / n;
    mb += b[t] / n;
  }
  let [ab, aa, bb] = [0, 0, 0];
  for (let t = from; t < to; t++) {
    ab += (a[t] - ma) * (b[t] - mb);
    aa += (a[t] - ma) ** 2;
    bb += (b[t] - mb) ** 2;
  }
  return aa > 1e-18 && bb > 1e-18 ? ab / Math.sqrt(aa * bb) : 0;
}

/** For each feature that varies in both halves the cells that follow it best, best first. */
export function suggest(
  features: Feature[],
  cells: { cell: number; unit: number; values: Float64Array }[],
  each = 3,
): Suggestion[] {
  const found: Suggestion[] = [];
  for (const feature of features) {
    const T = feature.values.length;
    const half = T >> 1;
    const varies = (from: number, to: number) => new Set(feature.values.subarray(from, to)).size > 1;
    if (T < LEAST_TOKENS || !varies(0, half) || !varies(half, T)) continue;
    const scored = cells.map(({ cell, unit, values }) => {
      const first = correlation(values, feature.values, 0, half);
      const second = correlation(values, feature.values, half, T);
      const firm = first * second > 0 ? Math.min(Math.abs(first), Math.abs(second)) : 0;
      return { feature: feature.name, cell, unit, r: correlation(values, feature.values), firm };
    });
    scored.sort((a, b) => b.firm - a.firm);
    found.push(...scored.slice(0, each).filter((s) => s.firm > LEAST && Math.abs(s.r) > LEAST));
  }
  return found;
}
