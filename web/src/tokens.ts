/** Text as tokens and back, as `lstmkit.tasks.text.Vocabulary` does it, and how each is shown. */

export interface Shown {
  /** What stands in the text; the bytes before the last of a character show a dot. */
  glyph: string;
  /** What is said of it: a name for what cannot be seen. */
  name: string;
  newline: boolean;
}

/** A token on its own, where a space would not be seen. */
export function seen(shown: Shown | undefined): string {
  if (!shown) return "";
  return shown.newline ? "↵" : shown.glyph.trim() || "␣";
}

const NAMES: Record<string, string> = { "\n": "newline", "\t": "tab", " ": "space", "\r": "return" };

export class Vocabulary {
  readonly count: number;
  readonly start: number;
  private readonly characters: string[] | null;
  private readonly numbers = new Map<string, number>();

  constructor(characters: string | null) {
    this.characters = characters === null ? null : Array.from(characters);
    this.characters?.forEach((c, k) => this.numbers.set(c, k));
    this.count = this.characters?.length ?? 256;
    this.start = this.characters ? (this.numbers.get("\n") ?? 0) : 10;
  }

  /** The tokens of a text, or the characters that the model does not know. */
  encode(text: string): { tokens: number[]; unknown: string[] } {
    if (!this.characters) return { tokens: [...new TextEncoder().encode(text)], unknown: [] };
    const all = Array.from(text);
    const unknown = [...new Set(all.filter((c) => !this.numbers.has(c)))];
    return { tokens: all.map((c) => this.numbers.get(c) ?? 0), unknown };
  }

  decode(tokens: number[]): string {
    if (this.characters) return tokens.map((t) => this.characters![t]).join("");
    return new TextDecoder().decode(Uint8Array.from(tokens));
  }

  /** A token on its own. */
  name(token: number): string {
    const c = this.characters ? this.characters[token] : token < 128 ? String.fromCharCode(token) : null;
    if (c === null || (c < " " && !NAMES[c])) return `byte ${token.toString(16).padStart(2, "0")}`;
    return NAMES[c] ?? c;
  }

  /** A token as a table's short label. */
  label(token: number): string {
    const name = this.name(token);
    const short: Record<string, string> = { newline: "↵", tab: "⇥", space: "␣", return: "␍" };
    return short[name] ?? name.replace("byte ", "");
  }

  /** Every token of a text as it is shown there. */
  show(tokens: number[]): Shown[] {
    const shown: Shown[] = [];
    for (let t = 0; t < tokens.length; t++) {
      const token = tokens[t];
      const name = this.name(token);
      if (this.characters || token < 128) {
        const plain = name.length <= 2 || name === "space" ? (name === "space" ? " " : name) : "";
        const glyph = name === "newline" ? "↵" : name === "tab" ? "⇥ " : plain || "▯";
        shown.push({ glyph, name, newline: name === "newline" });
        continue;
      }
      const length = token >= 0xf0 ? 4 : token >= 0xe0 ? 3 : 2;
      const c = new TextDecoder().decode(Uint8Array.from(tokens.slice(t, t + length)));
      const whole = token >= 0xc2 && Array.from(c).length === 1 && c !== "\ufffd";
      if (!whole) {
        shown.push({ glyph: "▯", name, newline: false });
        continue;
      }
      for (let k = 1; k < length; k++) {
        shown.push({ glyph: "·", name: `${name}, of ${c}`, newline: false });
      }
      shown.push({ glyph: c, name: c, newline: false });
      t += length - 1;
    }
    return shown;
  }
}
