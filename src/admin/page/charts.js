// Graphs over time, drawn by uPlot.

import uPlot from "./vendored/uPlot.esm.js";
import { element, fill } from "./dom.js";

/// A graph of some figures of `samples`. `lines` are `{label, key}`; `format` makes the text of a figure; `steps` are those between the marks of the
/// axis. Returns its element and what draws it.
export function chart(title, lines, format, signal, steps = undefined) {
  const canvas = element("div", { class: "plot", role: "img", "aria-label": title });
  const values = lines.map((_, index) => element("b", {}, "–"));
  const legend = lines.map(({ label }, index) => {
    return element("span", { class: `key series-${index + 1}` }, element("i"), `${label} `, values[index]);
  });
  const box = element("figure", { class: "card chart" }, element("figcaption", {}, element("h2", {}, title), legend), canvas);
  let plot = null;

  function build(data) {
    plot?.destroy();
    fill(canvas);
    const { color, grid, series } = colours(canvas, lines.length);
    const axis = { stroke: color, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: FONT, size: 24 };
    const options = {
      width: Math.max(canvas.clientWidth, 120),
      height: HEIGHT,
      padding: [10, 14, 0, 0],
      legend: { show: false },
      cursor: { points: { size: 6 }, drag: { x: false, y: false } },
      scales: {
        x: { range: (_, first, last) => [Math.min(first, last - SECONDS_MIN), last] },
        y: { range: (_, least, most) => [0, most > 0 ? most * 1.1 : 1] },
      },
      axes: [
        { ...axis, space: 70, values: (_, times) => times.map(clock) },
        { ...axis, size: 66, space: 34, ...(steps && { incrs: steps }), values: (_, marks) => marks.map((mark) => format(mark)) },
      ],
      series: [{}, ...lines.map(({ label }, index) => ({ label, stroke: series[index], width: 2, spanGaps: true, points: { show: false } }))],
      hooks: { setCursor: [show] },
    };
    plot = new uPlot(options, data, canvas);
  }

  // The figures under the pointer, or the newest.
  function show() {
    const times = plot?.data[0] ?? [];
    const index = plot?.cursor.idx ?? times.length - 1;
    values.forEach((value, line) => {
      value.textContent = format(plot?.data[line + 1]?.[index]);
    });
  }

  function draw(samples) {
    const data = [samples.map(({ at }) => at), ...lines.map(({ key }) => samples.map((sample) => sample[key] ?? null))];
    if (plot === null) {
      build(data);
    } else {
      plot.setData(data);
    }
    show();
  }

  const resized = new ResizeObserver(() => plot?.setSize({ width: Math.max(canvas.clientWidth, 120), height: HEIGHT }));
  resized.observe(canvas);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const recolour = () => plot && build(plot.data);
  scheme.addEventListener("change", recolour);
  signal.addEventListener("abort", () => {
    resized.disconnect();
    scheme.removeEventListener("change", recolour);
    plot?.destroy();
  }, { once: true });
  return { element: box, draw };
}

/// The colours of the style sheet, which differ between light and dark.
function colours(place, count) {
  const style = getComputedStyle(place);
  const of = (name) => style.getPropertyValue(name).trim();
  const series = Array.from({ length: count }, (_, index) => of(`--series-${index + 1}`));
  return { color: of("--quiet"), grid: of("--line"), series };
}

function clock(seconds) {
  return new Date(seconds * 1_000).toLocaleTimeString("en-GB");
}

/// Steps between marks for figures in bytes: powers of two.
export const BINARY = Array.from({ length: 50 }, (_, exponent) => 2 ** exponent);
/// The time that a graph shows at least.
const SECONDS_MIN = 60;
const HEIGHT = 160;
const FONT = "11px system-ui, sans-serif";
