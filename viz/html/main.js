// ---- what is chosen, in words

function section(title, ...content) {
  return content.length ? [make("h3", {}, title), ...content] : [];
}

function links(entries) {
  const MANY = 24;
  const list = make("ul", { class: "links" });
  for (const { label, value, go } of entries.slice(0, MANY)) {
    list.append(make("li", {}, make("button", { type: "button", onclick: go }, label),
      value ? make("span", { class: "value" }, value) : ""));
  }
  if (entries.length > MANY) list.append(make("li", { class: "note" }, `and ${entries.length - MANY} more`));
  return entries.length ? [list] : [];
}

// The boxes at the other ends of a box's edges, in a place.
function joined(place, id, incoming) {
  const view = data.views[place.view];
  const at = view.boxes.findIndex((box) => box.id === id);
  const entries = [];
  for (const [tail, head, , values] of view.edges) {
    if ((incoming ? head : tail) !== at) continue;
    const other = view.boxes[incoming ? tail : head];
    const go = () => (place === here ? choose(other.id, true) : goToBox(place.path + other.path));
    entries.push({ label: other.path.replace(/^[./]/, ""), value: values.join("\n"), go });
  }
  return entries;
}

function describe() {
  const item = chosen === null ? here.from : items.get(chosen);
  const place = chosen === null ? here.above : here;
  const parts = [];
  if (item) {
    const path = place.path + item.path;
    parts.push(make("h2", {}, titleOf(item)), make("p", { class: "path" }, path));
    if (chosen !== null && item.opens !== undefined) {
      parts.push(make("button", { type: "button", class: "open", onclick: () => open(item.id) }, "Open (Enter)"));
    }
    const table = make("table", {});
    const row = (left, right) => table.append(right === undefined
      ? make("tr", {}, make("td", { colspan: 2 }, left)) : make("tr", {}, make("td", {}, left), make("td", {}, right)));
    row("kind", roleOf(item));
    const times = item.times > 1 ? `${item.times} equal ones` : "";
    if (item.ops) row("ops", item.ops.toLocaleString("en") + (times && ` in each of ${times}`));
    else if (times) row("stands for", times);
    if (item.types) row(item.types.length > 1 ? "results" : "result", item.types.join("\n"));
    if (item.metric) row("measured", item.metric);
    if (item.status) row("compared", item.status);
    for (const [style, text, value] of (item.rows || []).slice(1)) {
      if (style === "type") continue;
      row(text, value);
      if (style === "warning") table.lastChild.firstChild.className = "warning";
    }
    parts.push(make("h3", {}, "Facts"), table);
    if (item.tip) parts.push(...section("In full", make("p", { class: "tip" }, item.tip)));
    if (item.role !== undefined) {
      let incoming = joined(place, item.id, true), outgoing = joined(place, item.id, false);
      if (item.role === "input" && place.above) incoming = joined(place.above, place.from.id, true);
      if (item.role === "output" && place.above) outgoing = joined(place.above, place.from.id, false);
      const beside = data.views[place.view].boxes.filter((box) => box.id === item.twin || box.twin === item.id);
      const twins = beside.map((box) => ({ label: box.path, go: () => (place === here ? choose(box.id, true) : goToBox(place.path + box.path)) }));
      parts.push(...section("Stands beside", ...links(twins)));
      parts.push(...section("Comes from", ...links(incoming)), ...section("Goes to", ...links(outgoing)));
    }
  } else {
    const count = data.views[here.view].boxes.length;
    parts.push(make("h2", {}, data.title), make("p", { class: "note" },
      `${count.toLocaleString("en")} ${count === 1 ? "box" : "boxes"}. Choose one to read about it; those marked + open. Press ? for the keys.`));
  }
  const notes = chosen === null ? [...(here.above ? [] : data.notes), ...(data.views[here.view].notes || [])] : [];
  for (const note of notes) parts.push(make("p", { class: "note" }, `Note: ${note}`));
  byId("details").replaceChildren(...parts);
  byId("details").scrollTop = 0;
}

function crumbs() {
  const chain = [];
  for (let place = here; place; place = place.above) chain.unshift(place);
  const nav = byId("crumbs");
  nav.replaceChildren();
  for (const place of chain) {
    if (place !== chain[0]) nav.append(make("span", { class: "step", "aria-hidden": "true" }, "\u203a"));
    const label = place.above ? place.title : data.name;
    nav.append(place === here ? make("span", { "aria-current": "page" }, label)
      : make("button", { type: "button", onclick: () => goTo(place) }, label));
  }
}

function focusStage() {
  const id = chosen !== null ? chosen : items.keys().next().value;
  const element = elements.get(id);
  if (element) element.focus({ preventScroll: true });
}

// ---- theme, list, help, legend

const dark = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
}

function tellTheme() {
  byId("theme").setAttribute("aria-pressed", String(isDark()));
}

function flipTheme() {
  root.dataset.theme = isDark() ? "light" : "dark";
  tellTheme();
}

function flipList() {
  if (byId("list").disabled) return;
  asList = !asList;
  show(here, chosen || undefined);
}

function legend() {
  if (!data.legend.length) return;
  const box = byId("legend");
  if (data.key) {
    const key = document.importNode(new DOMParser().parseFromString(data.key, "image/svg+xml").documentElement, true);
    key.setAttribute("role", "img");
    key.setAttribute("aria-label", data.legend.join(", "));
    box.append(key);
    box.hidden = false;
    box.open = true; // or it has no size
    const outer = key.getBBox();
    key.setAttribute("viewBox", `${outer.x - 2} ${outer.y - 2} ${outer.width + 4} ${outer.height + 4}`);
    key.setAttribute("width", (outer.width + 4) * READABLE);
  } else box.append(make("ul", {}, ...data.legend.map((text) => make("li", {}, text))));
  box.hidden = false;
  box.open = true; // where it covers nothing
  const edge = box.getBoundingClientRect().right;
  const covered = [...elements.values()].some((element) => element.getBoundingClientRect().left < edge + 8);
  box.open = innerWidth > 760 && innerHeight > 600 && !covered && !asList && svg !== null;
}

// ---- keys

const STEP = 60;

document.addEventListener("keydown", (event) => {
  if (byId("keys").open || event.altKey || event.ctrlKey || event.metaKey || event.target === field) return;
  const arrow = /^Arrow/.test(event.key);
  const on = document.activeElement;
  const free = !on || on === document.body || stage.contains(on);
  const id = free && on ? idOf(on) : null;
  if (event.key === "/") field.focus();
  else if (event.key === "?") byId("keys").showModal();
  else if (event.key === "t") flipTheme();
  else if (event.key === "l") flipList();
  else if (event.key === "x") flipText();
  else if (event.key === "+" || event.key === "=") zoom(1.25);
  else if (event.key === "-") zoom(0.8);
  else if (event.key === "0") fit(true);
  else if (event.key === "1") fit(false);
  else if (event.key === "Escape" || event.key === "Backspace") out();
  else if (free && event.key === "Enter" && id !== null) { if (!open(id)) choose(id, true); }
  else if (free && event.key === " " && id !== null) choose(id, true);
  else if (free && arrow && id !== null && !event.shiftKey && svg) {
    const next = neighbour(id, event.key);
    if (next !== null) choose(next, true);
  } else if (free && arrow && svg) {
    const [dx, dy] = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] }[event.key];
    move(dx, dy);
  } else if (free && (event.key === "ArrowDown" || event.key === "ArrowUp") && id !== null) {
    const order = [...elements.keys()];
    choose(order[Math.min(order.length - 1, Math.max(0, order.indexOf(id) + (event.key === "ArrowDown" ? 1 : -1)))], true);
  } else return;
  event.preventDefault();
});

stage.addEventListener("focusin", (event) => {
  const id = idOf(event.target);
  if (id !== null && id !== chosen && !pressed) choose(id, false);
});

// ---- pointers: click chooses, a second click opens, drag moves, two pinch

const pointers = new Map();
let pressed = null;

stage.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (pointers.size === 1) {
    pressed = { x: event.clientX, y: event.clientY, id: idOf(event.target), chosen, moved: false, target: event.target };
  } else if (pressed) pressed.moved = true;
});

stage.addEventListener("pointermove", (event) => {
  const last = pointers.get(event.pointerId);
  if (!last || !svg) return;
  const now = { x: event.clientX, y: event.clientY };
  if (pressed && !pressed.moved && Math.hypot(now.x - pressed.x, now.y - pressed.y) > 4) {
    pressed.moved = true;
    stage.setPointerCapture(event.pointerId);
    svg.classList.add("moving");
  }
  if (pointers.size === 2) {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    const apart = (a) => Math.hypot(a.x - other.x, a.y - other.y);
    if (apart(last) > 0) zoom(apart(now) / apart(last), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    move((now.x - last.x) / 2, (now.y - last.y) / 2);
  } else if (pressed && pressed.moved) move(now.x - last.x, now.y - last.y);
  pointers.set(event.pointerId, now);
});

function released(event) {
  if (!pointers.delete(event.pointerId) || pointers.size) return;
  if (svg) svg.classList.remove("moving");
  const was = pressed;
  pressed = null;
  if (!was || was.moved || event.type !== "pointerup") return;
  const again = was.chosen !== null && was.chosen === was.id;
  const onMark = was.target.closest && was.target.closest(".opener");
  if (was.id === null) choose(null);
  else if ((again || onMark) && open(was.id)) return;
  else choose(was.id, true);
}

for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, released);

stage.addEventListener("wheel", (event) => {
  if (!svg) return;
  event.preventDefault();
  const pixels = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? stage.clientHeight : 1;
  if (event.shiftKey && !event.ctrlKey) move(-event.deltaY * pixels, 0);
  else zoom(Math.exp(-event.deltaY * pixels * (event.ctrlKey ? 0.01 : 0.0016)), { x: event.clientX, y: event.clientY });
}, { passive: false });

// ---- begin

byId("zoom-in").addEventListener("click", () => zoom(1.25));
byId("zoom-out").addEventListener("click", () => zoom(0.8));
byId("zoom-fit").addEventListener("click", () => fit(true));
byId("list").addEventListener("click", flipList);
byId("code").addEventListener("click", () => flipText());
byId("theme").addEventListener("click", flipTheme);
byId("help").addEventListener("click", () => byId("keys").showModal());
byId("keys-close").addEventListener("click", () => byId("keys").close());
dark.addEventListener("change", tellTheme);
addEventListener("hashchange", route);
new ResizeObserver(() => { if (svg) look(); }).observe(stage);
addEventListener("beforeprint", () => { if (svg) svg.setAttribute("viewBox", svg.dataset.size); });
addEventListener("afterprint", () => { if (svg) look(); });

root.classList.add("scripted");
tellTheme();
prepareText();
showText(innerWidth >= WIDE); // before the drawing is fitted: an address may lead to a box
legend(); // likewise: in a narrow window it takes some of the room
route();
markLines();
