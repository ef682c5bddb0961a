/** The charts of a report, each a function from plain records to an SVG string. */
export { CDF_LIMIT, cdfChart, drawnCdfs } from "./charts/cdf.ts";
export { curvesChart } from "./charts/curves.ts";
export { rewardAgainstKl, winAgainstKl } from "./charts/frontier.ts";
export { loggedQuantities, trainingCurves } from "./charts/training.ts";
export { rooflineChart } from "./charts/roofline.ts";
