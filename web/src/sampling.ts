/** Choosing the next token, repeatably: the same seed writes the same text in every browser. */

import { softmax } from "./network";

/** Numbers in [0, 1) from a seed: a 32-bit counter, mixed (the generator "mulberry32"). */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** At temperature 0 the likeliest; else drawn from softmax(logits / temperature). */
export function choose(logits: Float64Array, temperature: number, random: () => number): number {
  if (temperature === 0) return logits.indexOf(Math.max(...logits));
  const p = softmax(logits, temperature);
  let left = random();
  for (let k = 0; k < p.length; k++) {
    left -= p[k];
    if (left < 0) return k;
  }
  return p.indexOf(Math.max(...p));
}

/** The k likeliest tokens with their probabilities. */
export function likeliest(logits: Float64Array, k: number): { token: number; p: number }[] {
  const p = softmax(logits);
  return Array.from(p, (value, token) => ({ token, p: value }))
    .sort((a, b) => b.p - a.p)
    .slice(0, k);
}
