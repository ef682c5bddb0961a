/** A curve that grows: loss by step. */
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [560, 200, 44, 26, 14];
const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

/** Empties `svg` for a curve of `steps` steps; the first point sets the scale of the other axis, which begins at 0. */
export function createChart(svg, steps) {
  const points = [];
  let top = 0;
  const x = (step) => LEFT + ((WIDTH - LEFT - 14) * step) / steps;
  const y = (loss) => HEIGHT - BOTTOM - ((HEIGHT - BOTTOM - TOP) * loss) / top;
  const curve = element("path", {});
  const draw = () => {
    const marks = Array.from({ length: Math.floor(top) + 1 }, (_, loss) => loss).filter(
      (loss) => loss % 2 === 0,
    );
    const grid = marks.flatMap((loss) => [
      element("line", { x1: LEFT, x2: WIDTH - 14, y1: y(loss), y2: y(loss) }),
      element("text", { x: LEFT - 8, y: y(loss) + 4, "text-anchor": "end" }, loss),
    ]);
    const ends = [0, steps].map((step) =>
      element("text", { x: x(step), y: HEIGHT - 8, "text-anchor": step ? "end" : "start" }, step),
    );
    svg.replaceChildren(...grid, ...ends, curve);
  };
  svg.replaceChildren();
  return {
    add(step, loss) {
      points.push([step, loss]);
      if (loss > top) {
        top = 1.05 * loss;
        draw();
      }
      curve.setAttribute(
        "d",
        `M${points.map(([s, l]) => `${x(s).toFixed(1)} ${y(l).toFixed(1)}`).join("L")}`,
      );
    },
  };
}
