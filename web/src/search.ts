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

/** A track with what turns its values into standard deviations from their mean. */
export interface Measured {
  track: Track;
  mean: number;
  scale: number;
}

export function measure(tracks: Track[]): Measured[] {
  return tracks.map((track) => {
    const { values } = track;
    let mean = 0;
    for (const v of values) mean += v / values.length;
    let variance = 0;
    for (const v of values) variance += (v - mean) ** 2 / values.length;
    return { track, mean, scale: variance > 1e-18 ? 1 / Math.sqrt(variance) : 0 };
  });
}

/** sums[t]: the standardized values before t, added up; the sum of any span is a difference of two. */
function sumsOf({ track, mean, scale }: Measured): Float64Array {
  const sums = new Float64Array(track.values.length + 1);
  track.values.forEach((v, t) => (sums[t + 1] = sums[t] + (v - mean) * scale));
  return sums;
}

/** The cells that stand out most in the span [from, to], and the other spans where they do too. */
export function findAlike(
  tracks: Measured[],
  from: number,
  to: number,
  cells = 8,
  most = 12,
): { active: Active[]; matches: Match[] } {
  const T = tracks[0]?.track.values.length ?? 0;
  const length = to - from + 1;
  const scored = tracks.map((one) => {
    let total = 0;
    for (let t = from; t <= to; t++) total += one.track.values[t];
    return { one, z: (total / length - one.mean) * one.scale };
  });
  scored.sort((a, b) => Math.abs(b.z) - Math.abs(a.z));
  const chosen = scored.slice(0, cells).filter((s) => Math.abs(s.z) > 0.5)
    .map(({ one, z }) => ({ track: one.track, z, sums: sumsOf(one) }));
  const active = chosen.map(({ track, z }) => ({ cell: track.cell, unit: track.unit, z }));

  const windows: Match[] = [];
  for (let start = 0; start + length <= T; start++) {
    if (start <= to && start + length - 1 >= from) continue; // the span itself
    let on = 0;
    let score = 0;
    for (const { z, sums } of chosen) {
      const share = (sums[start + length] - sums[start]) / length / z; // 1: as far out as in the span, on the same side
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
