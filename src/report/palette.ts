/**
 * Which colour, shape and dash stands for which method: the same in every chart and table of a report. Colours are
 * those of Okabe and Ito (2008), told apart by colour-blind readers, with the wine of Tol (2021) for the yellow that vanishes on
 * white; shape and dash repeat the information for print in grey.
 */
import type { Comparison } from "./types.ts";

/** How one series is drawn. `shape` is a vega symbol name, `dash` alternates lengths of line and gap in pixels. */
export interface SeriesStyle {
  readonly color: string;
  readonly shape: Shape;
  readonly dash: readonly number[];
}

export type Shape = "circle" | "square" | "triangle-up" | "diamond" | "triangle-down" | "cross";

/** The series name of the Best-of-N curve. */
export const BON_SERIES = "Best-of-N (KL bound)";

const COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255"] as const;
const SHAPES: readonly Shape[] = ["square", "triangle-up", "diamond", "triangle-down", "cross", "circle"];
const DASHES = [
  [1, 0],
  [7, 3],
  [2, 2],
  [9, 3, 2, 3],
  [12, 4],
  [4, 2, 1, 2, 1, 2],
] as const;

/** SVG path of each shape around the origin, about 10 pixels wide: the glyphs of the tables. */
export const SHAPE_PATHS: Readonly<Record<Shape, string>> = {
  circle: "M4.5,0A4.5,4.5,0,1,1,-4.5,0A4.5,4.5,0,1,1,4.5,0Z",
  square: "M-4,-4H4V4H-4Z",
  "triangle-up": "M0,-5L5,4H-5Z",
  diamond: "M0,-5.5L5,0L0,5.5L-5,0Z",
  "triangle-down": "M0,5L5,-4H-5Z",
  cross: "M-1.7,-5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5V-1.7H-1.7Z",
};

/** The style of the `index`-th method; 42 differ: the eighth has the first's colour with another shape and dash. */
export function styleAt(index: number): SeriesStyle {
  return {
    color: COLORS[index % COLORS.length] ?? "#000000",
    shape: SHAPES[index % SHAPES.length] ?? "circle",
    // In print without colour the seventh, whose shape is the first's, is told by its line.
    dash: DASHES[(index + Math.floor(index / SHAPES.length)) % DASHES.length] ?? [1, 0],
  };
}

/** Method names of a comparison in order of first appearance: results, then training curves, then samples. */
export function methodNames(comparison: Comparison): string[] {
  return [
    ...new Set([
      ...comparison.methods.map((method) => method.name),
      ...Object.keys(comparison.trainingCurves),
      ...comparison.samples.flatMap((sample) => sample.rows.map((row) => row.method)),
    ]),
  ];
}

/** Styles by series name: the reference grey, the Best-of-N curve black, methods by order of first appearance. */
export function stylesOf(comparison: Comparison): Map<string, SeriesStyle> {
  const styles = new Map<string, SeriesStyle>([
    ["reference", { color: "#6B6B6B", shape: "circle", dash: [3, 3] }],
    [BON_SERIES, { color: "#000000", shape: "circle", dash: [1, 0] }],
  ]);
  const trained = methodNames(comparison).filter((name) => !styles.has(name));
  trained.forEach((name, index) => styles.set(name, styleAt(index)));
  return styles;
}
