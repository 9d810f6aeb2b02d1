/** Numbers as colours: warm above zero, cool below, nothing at zero, in light and in dark. */

import { scaleLinear } from "d3-scale";

export type Rgb = [number, number, number];

export interface Palette {
  surface: Rgb;
  above: Rgb;
  below: Rgb;
  gate: Rgb;
}

const LIGHT: Palette = { surface: [255, 255, 255], above: [222, 110, 25], below: [44, 108, 210], gate: [15, 118, 110] };
const DARK: Palette = { surface: [27, 31, 36], above: [240, 140, 60], below: [95, 155, 250], gate: [64, 190, 175] };

export function palette(dark: boolean): Palette {
  return dark ? DARK : LIGHT;
}

const strength = scaleLinear([0, 1], [0, 0.78]).clamp(true);

/** A background for a value between -1 and 1. */
export function signed(value: number, colours: Palette): string {
  const [r, g, b] = value >= 0 ? colours.above : colours.below;
  return `rgba(${r},${g},${b},${strength(Math.abs(value)).toFixed(3)})`;
}

/** A background for a value between 0 and 1. */
export function unsigned(value: number, colours: Palette): string {
  const [r, g, b] = colours.gate;
  return `rgba(${r},${g},${b},${strength(value).toFixed(3)})`;
}

/** The same as `signed`, on the surface, as numbers for a canvas. */
export function mixed(value: number, colours: Palette): Rgb {
  const share = strength(Math.abs(value));
  const target = value >= 0 ? colours.above : colours.below;
  return colours.surface.map((s, k) => s + (target[k] - s) * share) as Rgb;
}

/** The largest |value|, at least a little above 0: what stands for full colour. */
export function extent(values: ArrayLike<number>): number {
  let most = 1e-9;
  for (let t = 0; t < values.length; t++) most = Math.max(most, Math.abs(values[t]));
  return most;
}

/** A short number: 0.83, 12.5, 1.2e-7. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.005 || size >= 10000)) return value.toExponential(1).replace(/-/g, "−");
  return value.toFixed(size >= 10 ? 1 : 2).replace("-", "−");
}

export function percent(p: number): string {
  return p >= 0.095 ? `${Math.round(p * 100)} %` : p >= 0.001 ? `${(p * 100).toFixed(1)} %` : "< 0.1 %";
}
