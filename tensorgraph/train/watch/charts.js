// ---- values under the pointer: `charts` is the data of all panels, by their number
const SVG = "http://www.w3.org/2000/svg";
let charts = [];

function make(name, fields, ...content) {
  const element = Object.assign(document.createElement(name), fields);
  element.append(...content);
  return element;
}

const tip = make("div", { id: "tip", hidden: true });
tip.setAttribute("role", "status");
document.body.append(tip);

// The position of the last number not above x, or of the nearest one.
function position(numbers, x, stays) {
  let low = 0, high = numbers.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (numbers[middle] <= x) low = middle; else high = middle - 1;
  }
  if (!stays && low + 1 < numbers.length && numbers[low + 1] - x < x - numbers[low]) low += 1;
  return low;
}

function point(svg, step, at) {
  const chart = charts[svg.dataset.chart];
  if (!chart || !chart.curves.length) return;
  svg.querySelector(".hair")?.remove();
  const scale = (chart.right - chart.left) / (chart.last - chart.first);
  const hair = document.createElementNS(SVG, "g");
  hair.setAttribute("class", "hair");
  const line = document.createElementNS(SVG, "path");
  const nearest = chart.curves.map((curve) => position(curve.steps, step, curve.stays));
  const main = chart.curves.length - 1;
  const here = chart.curves[main].stays ? step : chart.curves[main].steps[nearest[main]];
  const x = chart.left + (here - chart.first) * scale;
  line.setAttribute("d", `M${x} ${chart.top}V${chart.bottom}`);
  hair.append(line);
  const rows = [make("b", {}, `step ${Math.round(here).toLocaleString("en")}`)];
  chart.curves.forEach((curve, i) => {
    const j = position(curve.steps, here, curve.stays);
    const dot = document.createElementNS(SVG, "circle");
    dot.setAttribute("cx", curve.stays ? x : chart.left + (curve.steps[j] - chart.first) * scale);
    dot.setAttribute("cy", curve.y[j]);
    dot.setAttribute("r", 3);
    hair.append(dot);
    rows.push(make("p", {}, make("span", {}, curve.label), make("span", {}, curve.words[j])));
  });
  svg.append(hair);
  svg.dataset.at = here;
  tip.replaceChildren(...rows);
  tip.hidden = false;
  const box = svg.getBoundingClientRect();
  const px = at ? at.clientX : box.left + (x / svg.viewBox.baseVal.width) * box.width;
  const py = at ? at.clientY : box.top + box.height / 3;
  const width = document.documentElement.clientWidth;
  tip.style.left = `${scrollX + Math.max(4, Math.min(px + 14, width - tip.offsetWidth - 4))}px`;
  tip.style.top = `${scrollY + Math.max(4, py - tip.offsetHeight - 14)}px`;
}

function unpoint(svg) {
  svg.querySelector(".hair")?.remove();
  tip.hidden = true;
}

function stepAt(svg, event) {
  const chart = charts[svg.dataset.chart], box = svg.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
  const share = (x - chart.left) / (chart.right - chart.left);
  return chart.first + Math.min(1, Math.max(0, share)) * (chart.last - chart.first);
}

document.addEventListener("pointermove", (event) => {
  const svg = event.target.closest?.(".chart");
  if (svg) point(svg, stepAt(svg, event), event);
});
document.addEventListener("pointerout", (event) => {
  const svg = event.target.closest?.(".chart");
  if (svg && !svg.contains(event.relatedTarget)) unpoint(svg);
});
document.addEventListener("focusout", (event) => {
  if (event.target.matches?.(".chart")) unpoint(event.target);
});
document.addEventListener("keydown", (event) => {
  const svg = event.target.closest?.(".chart");
  const chart = svg && charts[svg.dataset.chart];
  if (!chart || !chart.curves.length || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
  const right = event.key === "ArrowRight";
  const steps = chart.curves[chart.curves.length - 1].steps;
  const before = Number(svg.dataset.at ?? (right ? -1 : steps[steps.length - 1] + 1));
  const next = right ? steps.find((s) => s > before) : steps.findLast((s) => s < before);
  if (next !== undefined) point(svg, next);
  event.preventDefault();
});
