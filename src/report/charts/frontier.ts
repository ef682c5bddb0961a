/** What a method gains against how far it went: reward, or win rate, over the KL from the reference. */
import { paretoFront } from "../../evaluate/pareto.ts";
import { BON_SERIES, stylesOf } from "../palette.ts";
import { oneLine, truncate } from "../text.ts";
import type { BonPoint, Comparison, MethodResult } from "../types.ts";
import { type LegendEntry, withLegend } from "./legend.ts";
import { drawable, openScale, seriesEncoding, seriesLabel } from "./series.ts";
import { type ChartRow, type ChartSpec, renderSvg } from "./svg.ts";

const KL_TITLE = "KL from the reference (nats per response)";
/** A normal 95 % interval is this many standard errors to each side. */
const Z95 = 1.959964;
/** A method that went this many times further than the others would squeeze them against the axis. */
const FAR = 3;

interface Measure {
  readonly title: string;
  readonly ofMethod: (method: MethodResult) => number;
  readonly ofBon: (point: BonPoint) => number;
  readonly interval: (method: MethodResult) => readonly [number, number] | undefined;
}

/** Which part of a comparison is drawn, and how. */
export interface FrontierOptions {
  /** Series by name; default all. Styles are those of the whole comparison. */
  readonly only?: readonly string[];
  /** Every series has many runs: those off its own Pareto front are faded, those on it joined. */
  readonly fronts?: boolean;
  /** Unique within the page. */
  readonly id?: string;
}

/** SVG of the mean reward against the KL; bars are 95 % intervals, the curve is Best-of-N with its N. */
export async function rewardAgainstKl(
  comparison: Comparison,
  options: FrontierOptions = {},
): Promise<string> {
  const reward = truncate(oneLine(comparison.task.reward), 48);
  const measure: Measure = {
    title: `Mean reward (${reward})`,
    ofMethod: (method) => method.reward,
    ofBon: (point) => point.reward,
    interval: ({ reward: mean, rewardSe }) =>
      rewardSe === undefined ? undefined : [mean - Z95 * rewardSe, mean + Z95 * rewardSe],
  };
  return await draw(comparison, measure, { id: "reward-kl", ...options });
}

/** SVG of the win rate against the KL; bars are 95 % intervals, the curve is Best-of-N with its N. */
export async function winAgainstKl(comparison: Comparison, options: FrontierOptions = {}): Promise<string> {
  const measure: Measure = {
    title: "Win rate against the reference",
    ofMethod: (method) => method.win,
    ofBon: (point) => point.win,
    interval: (method) => method.winInterval,
  };
  return await draw(comparison, measure, { id: "win-kl", ...options });
}

async function draw(
  comparison: Comparison,
  measure: Measure,
  { only, fronts = false, id = "" }: FrontierOptions,
): Promise<string> {
  const methods = comparison.methods.filter(({ name }) => only === undefined || only.includes(name));
  const rows = [...bonRows(comparison, measure), ...methodRows(methods, measure, fronts)];
  return withLegend(
    await renderSvg(frontier(comparison, measure, rows, fronts), id),
    legend(comparison, rows),
    12,
  );
}

function legend(comparison: Comparison, rows: readonly ChartRow[]): LegendEntry[] {
  return [...stylesOf(comparison)].flatMap(([name, style]) => {
    const label = seriesLabel(name);
    const own = rows.filter((row) => row["series"] === label);
    const [line, hollow] = [own.some((row) => row["joined"]), own.some((row) => row["hollow"])];
    return own.length === 0 ? [] : { label, style, line, symbol: hollow ? "hollow" : "filled" };
  });
}

function frontier(
  comparison: Comparison,
  measure: Measure,
  rows: readonly ChartRow[],
  dense: boolean,
): ChartSpec {
  const { color, shape, strokeDash } = seriesEncoding(stylesOf(comparison));
  const extent = rows.flatMap((row) => [Number(row["lo"]), Number(row["hi"])]);
  // Near the axis a label to the left of its point would run over the numbers there.
  const near = 0.07 * Math.max(...rows.map((row) => Number(row["x"])));
  return {
    width: 440,
    height: 320,
    data: { values: rows },
    encoding: {
      x: klAxis(rows),
      y: { field: "y", type: "quantitative", title: measure.title, scale: openScale(extent) },
    },
    layer: [
      { transform: [JOINED], mark: { type: "line", strokeWidth: 1.6 }, encoding: { color, strokeDash } },
      {
        transform: [{ filter: "datum.bar" }],
        mark: { type: "rule", strokeWidth: 1.6 },
        encoding: { y: { field: "lo", type: "quantitative" }, y2: { field: "hi" }, color, opacity: FADED },
      },
      pointLayer(
        { filter: "!datum.hollow" },
        {
          size: { condition: { test: "datum.bon", value: 26 }, value: dense ? 50 : 95 },
          filled: true,
          color,
          shape,
        },
      ),
      pointLayer({ filter: "datum.hollow" }, { size: { value: 110 }, filled: false, color, shape }),
      labelLayer(`datum.bon && datum.x >= ${near}`, { align: "right", dx: -5, dy: -7 }),
      labelLayer(`datum.label !== '' && !(datum.bon && datum.x >= ${near})`, {
        align: "left",
        dx: 7,
        dy: 11,
      }),
    ],
  };
}

const FADED: ChartSpec = { condition: { test: "datum.faded", value: 0.22 }, value: 1 };

// Results of one name are joined in the order of their KL; single points draw no line.
const JOINED: ChartSpec = { filter: "datum.joined" };

function pointLayer(
  filter: ChartSpec,
  { filled, ...encoding }: { filled: boolean; size: ChartSpec; color: ChartSpec; shape: ChartSpec },
): ChartSpec {
  return {
    transform: [filter],
    mark: { type: "point", filled, strokeWidth: 2 },
    encoding: { ...encoding, opacity: FADED },
  };
}

function labelLayer(filter: string, mark: ChartSpec): ChartSpec {
  return {
    transform: [{ filter }],
    mark: { type: "text", fontSize: 10.5, color: "#333333", baseline: "middle", ...mark },
    encoding: { text: { field: "label", type: "nominal" } },
  };
}

function klAxis(rows: readonly ChartRow[]): ChartSpec {
  const kls = rows.map((row) => Number(row["x"])).sort((a, b) => a - b);
  const moved = kls.filter((kl) => kl > 0);
  const far = (moved.at(-1) ?? 0) > FAR * (moved.at(-2) ?? Infinity);
  return {
    field: "x",
    type: "quantitative",
    title: far ? `${KL_TITLE}, square-root scale` : KL_TITLE,
    scale: {
      type: far ? "sqrt" : "linear",
      domainMin: Math.min(0, kls[0] ?? 0),
      // A run with the reference alone has no extent of its own.
      ...(moved.length === 0 ? { domainMax: 1 } : {}),
      nice: true,
    },
  };
}

function bonRows(comparison: Comparison, measure: Measure): ChartRow[] {
  return (
    comparison.bonCurve
      .filter((point) => drawable(point.kl, measure.ofBon(point)))
      // N = 1 is the reference itself, which has its own mark there.
      .map((point) =>
        rowOf(BON_SERIES, point.kl, measure.ofBon(point), {
          bon: true,
          joined: true,
          label: point.n === 1 ? "" : `N=${point.n}`,
        }),
      )
  );
}

function methodRows(methods: readonly MethodResult[], measure: Measure, fronts: boolean): ChartRow[] {
  const shown = methods.filter((method) => drawable(method.kl, measure.ofMethod(method)));
  const leading = fronts ? ownFronts(shown, measure) : new Set(shown);
  return shown.map((method) => {
    const faded = !leading.has(method);
    const bounds = measure.interval(method);
    const bar = bounds !== undefined && drawable(...bounds);
    const y = measure.ofMethod(method);
    return rowOf(method.name, method.kl, y, {
      bar,
      lo: bar ? bounds[0] : y,
      hi: bar ? bounds[1] : y,
      hollow: method.name === "reference",
      joined: !faded && [...leading].filter((other) => other.name === method.name).length > 1,
      faded,
      // A sweep has too many points to name; its table does.
      label: fronts ? "" : truncate(oneLine(method.setting ?? ""), 24),
    });
  });
}

/** The results that none of their own series dominates. */
function ownFronts(methods: readonly MethodResult[], { ofMethod }: Measure): Set<MethodResult> {
  const fronts = [...new Set(methods.map(({ name }) => name))].flatMap((name) => {
    const own = methods.filter((method) => method.name === name);
    return paretoFront(own.map((m) => ({ kl: m.kl, value: ofMethod(m) }))).map((i) => own[i]!);
  });
  return new Set(fronts);
}

function rowOf(series: string, x: number, y: number, more: ChartRow): ChartRow {
  return {
    series: seriesLabel(series),
    x,
    y,
    lo: y,
    hi: y,
    bar: false,
    bon: false,
    hollow: false,
    joined: false,
    faded: false,
    label: "",
    ...more,
  };
}
