const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const SVG = "http://www.w3.org/2000/svg";
const PACE = [2400, 1500, 900, 500, 220]; // milliseconds a step
const KINDS = {
  input: "an input", forward: "forward", result: "a result", backward: "backward: the gradient flows", update: "update",
};
const byId = (id) => document.getElementById(id);
const stage = byId("stage"), svg = stage.querySelector("svg");
const steps = data.steps;
const LEAST = 0.8; // pixels for a unit of the drawing; text is 9 units high
let now = 0, timer = null, whole = null;

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== "" && child !== undefined));
  return element;
}

function makeSvg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// When each box has its turn; what has none (an entry of a repeat) comes with the first that follows it.
const turn = new Map(steps.map((step, n) => [step.box, n]));
const boxes = new Map(); // id -> element
const lines = []; // {element, tails, heads, kept}

function prepare() {
  if (!svg) return;
  root.classList.add("drawn");
  for (const text of svg.querySelectorAll("text[textLength]")) text.setAttribute("lengthAdjust", "spacingAndGlyphs");
  for (const element of svg.querySelectorAll(".node")) {
    const id = element.id.replace(/^v0-/, "");
    boxes.set(id, element);
    if (!turn.has(id)) continue;
    element.setAttribute("tabindex", "0");
    element.setAttribute("role", "button");
    element.addEventListener("click", () => go(turn.get(id)));
    element.addEventListener("keydown", (event) => event.key === "Enter" && go(turn.get(id)));
  }
  const kept = new Set(data.kept.map((pair) => pair.join(" ")));
  for (const element of svg.querySelectorAll(".edge, .words")) {
    const names = (text) => (text || "").split(" ").filter(Boolean);
    const tails = names(element.dataset.tails), heads = names(element.dataset.heads);
    const saved = tails.some((tail) => heads.some((head) => kept.has(`${tail} ${head}`)));
    lines.push({ element, tails, heads, saved });
  }
}

// Where the whole drawing would be too small to read, the part around the box at its turn.
function look(element) {
  if (!whole) whole = svg.getAttribute("viewBox").split(/[\s,]+/).map(Number);
  const [x, y, width, height] = whole;
  const scale = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  if (!(scale < LEAST) || !element) return svg.setAttribute("viewBox", whole.join(" "));
  const wide = Math.min(width, stage.clientWidth / LEAST), high = Math.min(height, stage.clientHeight / LEAST);
  const layer = svg.querySelector(".graph"), move = layer && layer.transform.baseVal.consolidate();
  const box = element.getBBox(), [dx, dy] = move ? [move.matrix.e, move.matrix.f] : [0, 0];
  const within = (middle, half, from, length) => Math.min(from + length - 2 * half, Math.max(from, middle - half));
  const left = within(box.x + box.width / 2 + dx, wide / 2, x, width), top = within(box.y + box.height / 2 + dy, high / 2, y, height);
  svg.setAttribute("viewBox", `${left} ${top} ${wide} ${high}`);
}

const done = (id) => (turn.has(id) ? turn.get(id) <= now : true);

function show() {
  const step = steps[now];
  byId("time").value = String(now);
  byId("count").textContent = `${now + 1} of ${steps.length}`;
  for (const [id, element] of boxes) {
    element.classList.toggle("waiting", !done(id));
    for (const old of element.querySelectorAll(":scope > .ring")) old.remove();
  }
  for (const { element, tails, heads, saved } of lines) {
    const at = Math.max(...[...tails, ...heads].map((id) => (turn.has(id) ? turn.get(id) : -1)));
    const begun = Math.min(...tails.concat(heads).map((id) => (turn.has(id) ? turn.get(id) : -1)));
    const held = saved && begun <= now && now < at; // kept from here until its gradient has read it
    element.classList.toggle("waiting", !(at <= now || held));
    element.classList.toggle("held", held);
    element.classList.toggle("flowing", at === now && (tails.includes(step.box) || heads.includes(step.box)));
  }
  const element = boxes.get(step.box);
  if (svg) look(element);
  if (element) {
    const box = element.getBBox();
    element.append(makeSvg("rect", { class: "ring", x: box.x - 4, y: box.y - 4, width: box.width + 8, height: box.height + 8, rx: 9 }));
  }
  tell(step);
}

const figure = (value) => (value === 0 ? "0" : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(3))));
const percent = (share) => (share === 0 ? "none" : share < 0.01 ? "under 1%" : `${Math.round(100 * share)}%`);

function tell(step) {
  const words = step.words.map((text) => make("li", {}, text));
  const parts = [make("p", { class: `kind ${step.kind}` }, KINDS[step.kind]), make("h2", {}, step.title), make("ul", {}, ...words)];
  const found = step.figures;
  if (found) {
    const rows = [["mean", figure(found.mean)], ["standard deviation", figure(found.deviation)], ["2-norm", figure(found.norm)],
      ["zeros", percent(found.zeros)]];
    const table = make("table", {}, ...rows.map(([name, value]) => make("tr", {}, make("td", {}, name), make("td", {}, value))));
    parts.push(table, histogram(found, step.kind));
    parts.push(make("p", { class: "ends" }, make("span", {}, figure(found.low)), make("span", {}, figure(found.high))));
    if (found.broken) parts.push(make("p", { class: "alarm" }, `${percent(found.broken)} not finite`));
  }
  byId("now").replaceChildren(...parts);
}

function histogram(found, kind) {
  const most = Math.max(1, ...found.bars), count = found.bars.length;
  const drawing = makeSvg("svg", { viewBox: `0 0 ${count * 10} 100`, preserveAspectRatio: "none", role: "img", "aria-label": "how its numbers are spread" });
  found.bars.forEach((bar, n) => drawing.append(makeSvg("rect", { class: `bars ${kind}`, x: n * 10 + 1, y: 100 - (98 * bar) / most, width: 8, height: (98 * bar) / most })));
  if (found.low < 0 && found.high > 0) {
    const x = (-found.low / (found.high - found.low)) * count * 10;
    drawing.append(makeSvg("line", { class: "zero", x1: x, x2: x, y1: 0, y2: 100 }));
  }
  return drawing;
}

function go(step) {
  now = Math.min(steps.length - 1, Math.max(0, step));
  show();
  if (now === steps.length - 1) pause();
}

function pause() {
  clearInterval(timer);
  timer = null;
  byId("play").textContent = "Play";
  byId("play").setAttribute("aria-pressed", "false");
}

function play() {
  if (timer) return pause();
  if (now === steps.length - 1) go(0);
  byId("play").textContent = "Pause";
  byId("play").setAttribute("aria-pressed", "true");
  timer = setInterval(() => go(now + 1), PACE[Number(byId("speed").value)]);
}

function theme() {
  const dark = (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "light";
  root.dataset.theme = dark ? "dark" : "light";
  byId("theme").setAttribute("aria-pressed", String(dark));
}

root.classList.add("scripted");
byId("time").max = String(steps.length - 1);
byId("first").addEventListener("click", () => go(0));
byId("back").addEventListener("click", () => go(now - 1));
byId("next").addEventListener("click", () => go(now + 1));
byId("play").addEventListener("click", play);
byId("theme").addEventListener("click", theme);
byId("time").addEventListener("input", (event) => go(Number(event.target.value)));
byId("speed").addEventListener("input", () => timer && (pause(), play()));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
  const does = { ArrowRight: () => go(now + 1), ArrowLeft: () => go(now - 1), Home: () => go(0), End: () => go(steps.length - 1),
    " ": play, t: theme }[event.key];
  if (!does || (event.key === " " && event.target.tagName === "BUTTON")) return;
  event.preventDefault();
  does();
});
window.addEventListener("resize", show);
prepare();
show();
