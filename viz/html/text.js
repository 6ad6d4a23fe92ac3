// ---- the graph's text beside the drawing: a line shows its boxes, a box its lines

const panel = byId("text");
const rows = []; // the element of each line
const WIDE = 1400; // pixels from which the text is there from the beginning
const CLEAR = 0.8; // pixels for a unit of the drawing, from which a box that is looked for can be read
let asText = false;

// The boxes of a place in which a line is computed.
const boxesOf = (place, line) => data.views[place.view].boxes.filter((box) => (box.lines || []).includes(line));

function prepareText() {
  byId("code").hidden = data.text.length === 0;
  const computed = new Set(data.views.flatMap((view) => view.boxes.flatMap((box) => box.lines || [])));
  const list = make("ol", { class: "code" });
  data.text.forEach((text, line) => {
    const row = make("li", {});
    if (computed.has(line)) row.append(make("button", { type: "button", onclick: () => chooseLine(line) }, text));
    else row.append(make("span", {}, text || " "));
    rows.push(row);
    list.append(row);
  });
  panel.append(list);
}

function showText(open) {
  asText = data.text.length > 0 && open;
  panel.hidden = !asText;
  byId("code").setAttribute("aria-pressed", String(asText));
  document.querySelector("main").classList.toggle("with-text", asText);
}

function flipText() {
  showText(!asText);
  fit(true);
  markLines();
}

// Boxes of a line, marked; where this drawing has none, the outermost one that has.
function chooseLine(line) {
  let found = boxesOf(here, line);
  if (!found.length) {
    const place = places.find((other) => boxesOf(other, line).length);
    if (!place) return;
    goTo(place);
    show(place);
    found = boxesOf(place, line);
  }
  choose(found[0].id, false);
  if (svg && elements.has(found[0].id)) {
    camera.scale = Math.max(camera.scale, CLEAR);
    look();
    centre(elements.get(found[0].id));
  }
  lit(found.map((box) => box.id));
  for (const row of rows) row.classList.toggle("lit", row === rows[line]);
  say(`line ${line + 1}: ${found.map(titleOf).join(", ")}`);
}

function lit(ids) {
  for (const element of elements.values()) element.classList.remove("lit");
  for (const id of ids) if (elements.has(id)) elements.get(id).classList.add("lit");
}

// The lines of the chosen box.
function markLines() {
  if (!asText) return;
  const item = chosen === null ? null : items.get(chosen);
  const lines = new Set((item && item.lines) || []);
  rows.forEach((row, line) => row.classList.toggle("lit", lines.has(line)));
  lit([]);
  const first = [...lines].sort((a, b) => a - b)[0];
  if (first === undefined) return;
  const row = rows[first].getBoundingClientRect(), frame = panel.getBoundingClientRect();
  if (row.top < frame.top || row.bottom > frame.bottom) panel.scrollTop += row.top - frame.top - frame.height / 3;
}
