// What the app gives to every view.

import type { Suggestion } from "./features";
import type { Palette } from "./paint";
import type { Track } from "./search";
import type { Place, Session } from "./session";

export interface Painting {
  values: Float64Array;
  /** The |value| that stands for full colour. */
  most: number;
  caption: string;
}

export type Tab = "cells" | "gates" | "why" | "hold" | "write" | "alike";

/** What every view is given: what is open, what is chosen, and how to change it. */
export interface Shared {
  session: Session;
  /** Grows when the text or what is held changes: a view computes again. */
  version: number;
  /** Every cell of every layer over the text, and those that follow something in it. */
  tracks: Track[];
  suggestions: Suggestion[];
  place: Place;
  quantity: "c" | "h";
  cursor: number;
  span: [number, number];
  colours: Palette;
  choose(place: Place): void;
  setQuantity(quantity: "c" | "h"): void;
  /** Move the cursor; with `extend` the other end of the span stays. */
  go(cursor: number, extend?: boolean): void;
  select(from: number, to: number): void;
  /** What the text is painted with while a view is open; null for the chosen cell. */
  paint(painting: Painting | null): void;
  /** A text that is typed but not yet read; null: none. */
  draft: string | null;
  setDraft(change: string | null | ((old: string | null) => string | null)): void;
  /** Do a long thing; false if another took its place. `done` is said when it is done. */
  work(job: (progress: (share: number) => void) => Promise<boolean | void>, done?: string): Promise<boolean>;
  say(message: string): void;
}
