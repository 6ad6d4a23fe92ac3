const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

// Whatever a user named becomes text: this is the only way in which elements are made.
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== "" && child !== undefined));
  return element;
}

function makeSvg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// A place is a view where it occurs. Equal modules share a view; each has its own place, path and way back.
const places = [{ view: 0, path: "", title: data.title, above: null, from: null }];
const boxAt = new Map(); // path of a box or frame -> the outermost place that shows it
const placeAt = new Map([["", places[0]]]); // path of what can be opened -> its inside

const MOST_PLACES = 100000;
for (let i = 0; i < places.length; i++) {
  const place = places[i];
  for (const box of itemsOf(data.views[place.view])) {
    const path = place.path + box.path;
    if (!boxAt.has(path)) boxAt.set(path, { place, box });
    if (box.opens === undefined || placeAt.has(path) || places.length > MOST_PLACES) continue;
    const inside = { view: box.opens, path, title: titleOf(box), above: place, from: box };
    placeAt.set(path, inside);
    places.push(inside);
  }
}

function itemsOf(view) {
  return view.frames ? [...view.boxes, ...view.frames] : view.boxes;
}

function titleOf(box) {
  return box.title || (box.rows && box.rows[0] ? box.rows[0][1] : box.path);
}

function rowText([, text, value]) {
  return value === undefined ? text : `${text} ${value}`;
}

const ROLES = {
  input: "input", output: "output", module: "module", modules: "several modules", op: "op", ops: "several ops",
  gradient: "gradient", update: "update", write: "write to a cell", summary: "the whole graph", kernel: "kernel",
  kernels: "several kernels", entry: "where a value enters a repeat",
};

function roleOf(box) {
  return box.role === undefined ? "module" : ROLES[box.role] || box.role;
}

function spoken(box) {
  const rows = (box.rows || []).slice(1).map(rowText);
  const parts = [titleOf(box), roleOf(box), ...rows, box.status || ""];
  if (box.ops) parts.push(`${box.ops.toLocaleString("en")} ops`);
  if (box.opens !== undefined) parts.push("Enter opens");
  return parts.filter(Boolean).join(", ");
}

function say(text) {
  byId("said").textContent = text;
}
