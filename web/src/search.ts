/** Select a span, and find where else the same cells are on. */

export interface Active {
  cell: number;
  unit: number;
  /** Mean over the span of the standardized value. */
  z: number;
}

export interface Match {
  from: number;
  to: number;
  /** How many of the cells are on there: at least half as far out, on the same side. */
  on: number;
  score: number;
}

export interface Track {
  cell: number;
  unit: number;
  values: Float64Array;
}

function standardize(values: Float64Array): Float64Array {
  let mean = 0;
  for (const v of values) mean += v / values.length;
  let variance = 0;
  for (const v of values) variance += (v - mean) ** 2 / values.length;
  const scale = variance > 1e-18 ? 1 / Math.sqrt(variance) : 0;
  return values.map((v) => (v - mean) * scale);
}

/** The cells that stand out most in the span [from, to], and the other spans where they do too. */
export function findAlike(
  tracks: Track[],
  from: number,
  to: number,
  cells = 8,
  most = 12,
): { active: Active[]; matches: Match[] } {
  const T = tracks[0]?.values.length ?? 0;
  const length = to - from + 1;
  const scored = tracks.map((track) => {
    const z = standardize(track.values);
    let mean = 0;
    for (let t = from; t <= to; t++) mean += z[t] / length;
    return { track, z, mean };
  });
  scored.sort((a, b) => Math.abs(b.mean) - Math.abs(a.mean));
  const chosen = scored.slice(0, cells).filter((s) => Math.abs(s.mean) > 0.5);
  const active = chosen.map(({ track, mean }) => ({ cell: track.cell, unit: track.unit, z: mean }));

  const windows: Match[] = [];
  for (let start = 0; start + length <= T; start++) {
    if (start <= to && start + length - 1 >= from) continue; // the span itself
    let on = 0;
    let score = 0;
    for (const { z, mean } of chosen) {
      let here = 0;
      for (let t = start; t < start + length; t++) here += z[t] / length;
      const share = here / mean; // 1: as far out as in the span, on the same side
      if (share >= 0.5) on += 1;
      score += Math.max(-1, Math.min(share, 1.25)) / chosen.length;
    }
    windows.push({ from: start, to: start + length - 1, on, score });
  }
  windows.sort((a, b) => b.score - a.score);
  const matches: Match[] = [];
  for (const one of windows) {
    if (matches.length === most || one.on * 2 < chosen.length || !chosen.length) break;
    const apart = (other: Match) => one.to + length < other.from || one.from > other.to + length;
    if (matches.every(apart)) matches.push(one);
  }
  return { active, matches };
}
