/** The list of analyses that need a reward cache and nothing else. */

import type { Analysis } from "./analysis.ts";
import { bon } from "./bon.ts";
import { cap } from "./cap.ts";
import { fit } from "./fit.ts";
import { ks } from "./ks.ts";
import { logf } from "./logf.ts";
import { ties } from "./ties.ts";

export type { Analysis, AnalysisColumn, AnalysisResult, AnalysisRow, AnalysisSettings } from "./analysis.ts";
export { promptsOf } from "./analysis.ts";

/** In the order of the help. */
export const analyses: readonly Analysis[] = [ks, logf, ties, fit, cap, bon];
