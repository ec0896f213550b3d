// The throughput as a bar chart in SVG, drawn anew for the width that there is.

import { $ } from "./dom.js";

const HEIGHT = 170;
const MARGIN = { top: 8, right: 2, bottom: 20, left: 34 };
const LABEL_WIDTH = 52;

let spans = [];

export function draw(given = spans) {
  spans = given;
  const box = $("#throughput .chart");
  const width = box.clientWidth;
  if (width < 2 * MARGIN.left || !spans.length) return;
  const most = ceiling(Math.max(1, ...spans.map((span) => span.done + span.failed)));
  const plot = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
  const chart = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img" });
  chart.setAttribute("aria-label", describe());
  for (const value of ticks(most)) {
    const y = MARGIN.top + plot.height * (1 - value / most);
    chart.append(svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }));
    chart.append(text(MARGIN.left - 6, y + 4, "end", value.toLocaleString("en", { notation: "compact" })));
  }
  const step = plot.width / spans.length;
  const every = Math.max(1, Math.ceil(LABEL_WIDTH / step));
  spans.forEach((span, index) => {
    const x = MARGIN.left + index * step;
    chart.append(bar(span, x, step, plot, most, index === spans.length - 1));
    const left = spans.length - 1 - index;
    if (left % every === 0 && x + step / 2 - LABEL_WIDTH / 2 > MARGIN.left - 10) {
      chart.append(text(Math.min(x + step / 2, width - 18), HEIGHT - 4, "middle", hour(span.begin)));
    }
  });
  box.replaceChildren(chart);
  $("#throughput .caption").textContent = describe();
}

function bar(span, x, step, plot, most, open) {
  const group = svg("g", { class: open ? "span open" : "span" });
  const title = svg("title", {});
  title.textContent = `${hour(span.begin)}: ${span.done} done, ${span.failed} failed${open ? " so far" : ""}`;
  group.append(title, svg("rect", { class: "hit", x, y: MARGIN.top, width: step, height: plot.height }));
  let y = MARGIN.top + plot.height;
  for (const kind of ["done", "failed"]) {
    const height = plot.height * (span[kind] / most);
    y -= height;
    const gap = Math.min(3, step / 4);
    if (height) group.append(svg("rect", { class: kind, x: x + gap / 2, y, width: step - gap, height, rx: 1.5 }));
  }
  return group;
}

function describe() {
  const sum = (kind) => spans.reduce((total, span) => total + span[kind], 0).toLocaleString("en");
  const hours = Math.round((spans.length * spans[0].seconds) / 3600);
  return `${sum("done")} jobs done and ${sum("failed")} failed in ${hours} hours, by the hour`;
}

/** The next round number: 1, 2, 5, 10, 20, … */
function ceiling(value) {
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * size).find((round) => round >= value);
}

function ticks(most) {
  return most === 1 ? [0, 1] : [0, most / 2, most].filter(Number.isInteger);
}

const hour = (iso) => new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });

function text(x, y, anchor, content) {
  const element = svg("text", { x, y, "text-anchor": anchor });
  element.textContent = content;
  return element;
}

function svg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

new ResizeObserver(() => draw()).observe($("#throughput .chart"));
