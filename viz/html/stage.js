const stage = byId("stage");
const firstSvg = stage.querySelector("svg"); // the outermost drawing is part of the page itself
const LEAST = 0.02, MOST = 12, READABLE = 1.33; // pixels for a unit of the drawing; text is 9 units high

let here = places[0];
let svg = null;
let size = { x: 0, y: 0, width: 1, height: 1 };
const camera = { x: 0, y: 0, scale: 1 }; // the middle of what is seen
let elements = new Map(); // box or frame by id -> its element
let items = new Map(); // and what the data says of it
let chosen = null;
let asList = false;

function show(place, id) {
  const before = here;
  const held = document.activeElement === document.body || stage.contains(document.activeElement);
  here = place;
  chosen = null;
  const view = data.views[place.view];
  items = new Map(itemsOf(view).map((item) => [item.id, item]));
  elements = new Map();
  const drawable = place.view === 0 ? firstSvg !== null : view.svg !== undefined;
  byId("list").disabled = !drawable;
  byId("list").setAttribute("aria-pressed", String(asList || !drawable));
  for (const name of ["zoom-in", "zoom-out", "zoom-fit"]) byId(name).disabled = asList || !drawable;
  if (drawable && !asList) showDrawing(place, view);
  else showList(view);
  crumbs();
  describe(); // before the drawing is fitted, for it takes room
  fit(true);
  document.title = place.above ? `${place.title} - ${data.title}` : data.title;
  const back = id || wayBack(before, place);
  if (back !== undefined && items.has(back)) choose(back, true);
  else if (held && before !== place && svg) svg.focus({ preventScroll: true }); // Tab goes on from here
}

// The box of `place` through which `before` was entered.
function wayBack(before, place) {
  for (let at = before; at && at.above; at = at.above) if (at.above === place) return at.from.id;
  return undefined;
}

function showDrawing(place, view) {
  svg = firstSvg;
  if (place.view !== 0) {
    const parsed = new DOMParser().parseFromString(view.svg, "image/svg+xml").documentElement;
    svg = document.importNode(parsed, true);
  }
  stage.replaceChildren(svg);
  const [x, y, width, height] = (svg.dataset.size || svg.getAttribute("viewBox")).split(/[\s,]+/).map(Number);
  svg.dataset.size = [x, y, width, height].join(" ");
  size = { x, y, width, height };
  svg.setAttribute("tabindex", "-1");
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", `${place.title}: ${view.boxes.length.toLocaleString("en")} boxes`);
  for (const text of svg.querySelectorAll("text[textLength]")) text.setAttribute("lengthAdjust", "spacingAndGlyphs");
  const prefix = `v${place.view}-`;
  for (const element of svg.querySelectorAll(".node, .cluster")) elements.set(element.id.slice(prefix.length), element);
  const layer = svg.querySelector(".graph") || svg;
  for (const [id, item] of items) {
    const element = elements.get(id);
    if (!element) continue;
    if (item.role !== undefined) layer.append(element); // the order of the keyboard is that of the computation
    else if (item.opens === undefined) element.classList.add("shut");
    if (item.role === undefined && item.opens === undefined) continue;
    element.setAttribute("tabindex", "0");
    element.setAttribute("role", "button");
    element.setAttribute("aria-label", spoken(item));
    if (item.opens !== undefined && !element.querySelector(".opener")) element.append(opener(element));
  }
  layer.append(...svg.querySelectorAll(".edge")); // over the boxes, or arrowheads would hide under their borders
  for (const tab of svg.querySelectorAll(".tab")) tab.remove();
  for (const id of items.keys()) if (items.get(id).role === undefined && elements.has(id)) layer.append(tab(elements.get(id)));
  for (const frame of svg.querySelectorAll(".more")) layer.append(tab(frame)); // frames that go on in another part
  titles(view);
}

// A frame's title once more, in front of the lines that pass it.
function tab(frame) {
  const front = makeSvg("g", { class: "tab", "aria-hidden": "true" });
  const shapes = [...frame.children].filter((part) => /^(text|polygon)$/.test(part.tagName));
  if (frame.querySelector(":scope > rect, :scope > path")) front.append(...shapes.map((part) => part.cloneNode(true)));
  return front;
}

// The ring around the chosen box.
function ring(element) {
  const own = element.querySelectorAll(":scope > :not(.opener):not(title)");
  const boxes = [...own].map((part) => part.getBBox());
  const x = Math.min(...boxes.map((box) => box.x)) - 4, y = Math.min(...boxes.map((box) => box.y)) - 4;
  const right = Math.max(...boxes.map((box) => box.x + box.width)) + 4;
  const bottom = Math.max(...boxes.map((box) => box.y + box.height)) + 4;
  return makeSvg("rect", { class: "ring", x, y, width: right - x, height: bottom - y, rx: 8 });
}

// The mark of what can be opened, on its upper right corner.
function opener(element) {
  const box = element.getBBox();
  const framed = element.querySelector("rect, path, polygon") !== null; // else words alone: the mark stands before them
  const at = framed ? `translate(${box.x + box.width + 1} ${box.y})` : `translate(${box.x - 9} ${box.y + box.height / 2})`;
  const mark = makeSvg("g", { class: "opener", transform: at });
  mark.append(makeSvg("circle", { r: 6 }), makeSvg("path", { d: "M-3 0H3M0-3V3" }));
  return mark;
}

// What flows along a line is told where the pointer rests.
function titles(view) {
  const values = new Map();
  for (const [tail, head, , carried] of view.edges) {
    const key = `${view.boxes[tail].id} ${view.boxes[head].id}`;
    values.set(key, [...(values.get(key) || []), ...carried]);
  }
  for (const line of svg.querySelectorAll(".edge")) {
    const { tails, heads } = endsOf(line);
    const joined = tails.flatMap((tail) => heads.flatMap((head) => [`${tail} ${head}`, `${head} ${tail}`]));
    const carried = joined.flatMap((key) => values.get(key) || []);
    if (!carried.length || line.querySelector("title")) continue;
    const title = makeSvg("title", {});
    title.textContent = [...new Set(carried)].join("\n");
    line.prepend(title);
  }
}

// The boxes that a line comes from and leads to; a gradient's line, which points up, is laid out the other way round.
function endsOf(line) {
  const names = (text) => (text || "").split(" ").filter(Boolean);
  return { tails: names(line.dataset.tails), heads: names(line.dataset.heads) };
}

function showList(view) {
  svg = null;
  const list = make("ol", { class: "list", "aria-label": `${here.title}: ${view.boxes.length} boxes` });
  for (const box of view.boxes) {
    const button = make("button", { type: "button", "aria-label": spoken(box) },
      make("b", {}, titleOf(box)), ` ${box.path.replace(/^[./]/, "")} `,
      make("span", { class: "types" }, (box.types || []).join(", ") + (box.opens === undefined ? "" : "  (opens)")));
    if (box.role !== "input" && box.role !== "output") button.classList.add("indented");
    elements.set(box.id, button);
    list.append(make("li", {}, button));
  }
  stage.replaceChildren(list);
}

// ---- choosing and opening

function idOf(target) {
  const element = target.closest && target.closest(".node, .cluster, .more, .list button");
  if (!element) return null;
  if (element.dataset.of) return element.dataset.of;
  for (const [id, known] of elements) if (known === element) return id;
  return null;
}

function choose(id, focus) {
  if (chosen !== null && elements.has(chosen)) {
    elements.get(chosen).classList.remove("chosen");
    for (const old of elements.get(chosen).querySelectorAll(".ring")) old.remove();
    elements.get(chosen).removeAttribute("aria-current");
  }
  chosen = id;
  if (svg) for (const line of svg.querySelectorAll(".touching")) line.classList.remove("touching");
  describe();
  markLines();
  const element = id === null ? undefined : elements.get(id);
  if (!element) return;
  element.classList.add("chosen");
  element.setAttribute("aria-current", "true");
  if (focus) element.focus({ preventScroll: true });
  if (svg) {
    element.append(ring(element));
    for (const line of touching(id)) line.classList.add("touching");
    look(); // the details may have taken some of the room
    reveal(element);
  } else element.scrollIntoView({ block: "nearest" });
}

// The lines at a box.
function touching(id) {
  return [...svg.querySelectorAll(".edge")].filter((line) => {
    const { tails, heads } = endsOf(line);
    return tails.length && heads.length && (tails.includes(id) || heads.includes(id));
  });
}

function open(id) {
  const item = items.get(id);
  if (!item || item.opens === undefined) return false;
  const inside = placeAt.get(here.path + item.path);
  if (inside) goTo(inside);
  return inside !== undefined;
}

function out() {
  if (here.above) goTo(here.above);
  else choose(null);
}

// Every step is an address of its own, so that the browser's buttons lead back and forth.
function goTo(place) {
  const address = place.above ? `#/${encodeURIComponent(place.path)}` : "#";
  if (location.hash === address || (address === "#" && location.hash === "")) route();
  else location.hash = address;
}

function goToBox(path) {
  const address = `#@${encodeURIComponent(path)}`;
  if (location.hash === address) route();
  else location.hash = address;
}

function route() {
  const [kind, rest] = [location.hash[1], location.hash.slice(2)];
  let path = "";
  try {
    path = decodeURIComponent(rest);
  } catch {
    path = rest;
  }
  if (kind === "@" && boxAt.has(path)) {
    const { place, box } = boxAt.get(path);
    show(place, box.id);
    fit(false); // what was looked for is to be read
    mark(box.id);
    return say(`${titleOf(box)}, found in ${place.title}`);
  }
  const place = kind === "/" ? placeAt.get(path) : places[0];
  show(place || places[0]);
  say(place ? `${place.title}: ${data.views[place.view].boxes.length} boxes` : `There is no ${path} here`);
}

function mark(id) {
  const element = elements.get(id);
  if (!element || !svg) return;
  element.classList.remove("found");
  void element.getBoundingClientRect(); // or the animation would not begin anew
  element.classList.add("found");
  centre(element);
}

// The nearest box on one side: straight ahead counts double.
function neighbour(id, key) {
  const from = middle(elements.get(id));
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  let best = null, least = Infinity;
  for (const [other, element] of elements) {
    if (other === id || !element.hasAttribute("tabindex") || items.get(other).role === undefined) continue;
    const to = middle(element);
    const ahead = (to.x - from.x) * dx + (to.y - from.y) * dy;
    const aside = Math.abs((to.x - from.x) * dy) + Math.abs((to.y - from.y) * dx);
    if (ahead > 1 && ahead + 2 * aside < least) [best, least] = [other, ahead + 2 * aside];
  }
  return best;
}

function middle(element) {
  const box = element.getBoundingClientRect();
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}

// ---- the camera

function look() {
  const width = stage.clientWidth / camera.scale, height = stage.clientHeight / camera.scale;
  svg.setAttribute("viewBox", `${camera.x - width / 2} ${camera.y - height / 2} ${width} ${height}`);
}

function fit(whole, below = 0) {
  if (!svg) return;
  const wide = stage.clientWidth / size.width, high = (stage.clientHeight - below) / size.height;
  const all = Math.min(wide, high, READABLE);
  camera.scale = whole ? all : Math.max(all, Math.min(wide, READABLE), 10 / 9); // words of nine units: ten pixels
  camera.x = size.x + size.width / 2;
  const seen = stage.clientHeight / camera.scale, room = below / camera.scale;
  camera.y = seen - room >= size.height ? size.y + (size.height + room) / 2 : size.y + seen / 2; // too tall: from its top
  look();
  if (whole && !below && hidden()) fit(true, stage.getBoundingClientRect().bottom - sign().top + 4);
  if (![...elements.values()].some(inSight)) { // a wide drawing has no box in the middle of its top
    const first = [...items.keys()].map((id) => elements.get(id)).find(Boolean);
    if (first) centre(first);
  }
}

// Whether the legend's sign lies over a box.
function hidden() {
  const { right, top, left, bottom } = sign();
  return right > left && [...elements.values()].some((element) => {
    const box = element.getBoundingClientRect();
    return box.left < right + 4 && box.right > left && box.bottom > top - 2 && box.top < bottom;
  });
}

function sign() {
  return byId("legend").querySelector("summary").getBoundingClientRect();
}

function inSight(element) {
  const frame = stage.getBoundingClientRect(), box = element.getBoundingClientRect();
  return box.right > frame.left && box.left < frame.right && box.bottom > frame.top && box.top < frame.bottom;
}

function zoom(factor, at) {
  if (!svg) return;
  const frame = stage.getBoundingClientRect();
  const dx = (at ? at.x - frame.x : frame.width / 2) - frame.width / 2;
  const dy = (at ? at.y - frame.y : frame.height / 2) - frame.height / 2;
  const scale = Math.min(MOST, Math.max(LEAST, camera.scale * factor));
  camera.x += dx / camera.scale - dx / scale;
  camera.y += dy / camera.scale - dy / scale;
  camera.scale = scale;
  look();
}

function move(dx, dy) {
  if (!svg) return;
  const within = (value, from, length) => Math.min(from + length, Math.max(from, value)); // never lost from sight
  camera.x = within(camera.x - dx / camera.scale, size.x, size.width);
  camera.y = within(camera.y - dy / camera.scale, size.y, size.height);
  look();
}

function centre(element) {
  const frame = stage.getBoundingClientRect(), to = middle(element);
  move(frame.x + frame.width / 2 - to.x, frame.y + frame.height / 2 - to.y);
}

// Move no more than it takes to see an element.
function reveal(element) {
  const frame = stage.getBoundingClientRect(), box = element.getBoundingClientRect();
  const by = (from, to, low, high) => (to - from > high - low || from < low ? low - from : to > high ? high - to : 0);
  const dx = by(box.left - 24, box.right + 24, frame.left, frame.right);
  const dy = by(box.top - 24, box.bottom + 24, frame.top, frame.bottom);
  if (dx || dy) if (!inSight(element) || box.width < frame.width) move(dx, dy);
}
