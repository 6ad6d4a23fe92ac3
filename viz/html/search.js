const field = byId("search"), results = byId("results");
const SHOWN = 60;
let index = null; // made when first needed
let found = [];
let current = -1;

function indexed() {
  const words = data.views.map((view) => itemsOf(view).map((item) =>
    [...(item.rows || [[0, item.title]]).map(rowText), ...(item.types || []), item.tip || ""].join("\n")));
  const seen = new Set();
  index = [];
  for (const place of places) {
    itemsOf(data.views[place.view]).forEach((item, i) => {
      const path = place.path + item.path;
      if (seen.has(path)) return;
      seen.add(path);
      const said = words[place.view][i];
      index.push({ path, place, item, said, text: `${path}\n${said}`.toLowerCase() });
    });
  }
}

// Every word must occur; a name that is the word comes first, then paths that hold it, then the rest.
function search(text) {
  if (!index) indexed();
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const ranked = [[], [], [], []];
  for (const entry of index) {
    if (!words.every((word) => entry.text.includes(word))) continue;
    const path = entry.path.toLowerCase(), last = path.split(/[./]/).pop();
    const rank = path === words[0] || last === words[0] || titleOf(entry.item).toLowerCase() === words[0] ? 0
      : last.startsWith(words[0]) ? 1 : words.every((word) => path.includes(word)) ? 2 : 3;
    ranked[rank].push(entry);
  }
  return ranked.flat();
}

function marked(text, words) {
  const pieces = [];
  const lower = text.toLowerCase();
  let from = 0;
  while (from < text.length) {
    const next = words.map((word) => [lower.indexOf(word, from), word.length]).filter(([at]) => at >= 0)
      .sort((a, b) => a[0] - b[0] || b[1] - a[1])[0];
    if (!next || lower.length !== text.length) break;
    pieces.push(text.slice(from, next[0]), make("mark", {}, text.slice(next[0], next[0] + next[1])));
    from = next[0] + next[1];
  }
  return [...pieces, text.slice(from)];
}

function showResults() {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  found = search(field.value);
  current = found.length ? 0 : -1;
  const lines = found.slice(0, SHOWN).map((entry, i) => {
    const said = entry.said.split("\n").filter((line) => line !== titleOf(entry.item));
    const hit = said.find((line) => words.some((word) => line.toLowerCase().includes(word)));
    const why = [...new Set([titleOf(entry.item), ...(entry.item.types || []), hit || ""])].filter(Boolean).join("  ");
    return make("li", { role: "option", id: `found-${i}`, "aria-selected": String(i === 0), onclick: () => jump(i) },
      make("div", { class: "path" }, ...marked(entry.path, words)), make("div", { class: "why" }, ...marked(why, words)));
  });
  if (found.length > SHOWN) lines.push(make("li", { class: "note", role: "presentation" }, `and ${(found.length - SHOWN).toLocaleString("en")} more: another word narrows it`));
  if (words.length && !found.length) lines.push(make("li", { class: "note", role: "presentation" }, "Nothing has all of these words."));
  results.replaceChildren(...lines);
  results.hidden = !words.length;
  field.setAttribute("aria-expanded", String(words.length > 0));
  point(current);
  if (words.length) say(`${found.length.toLocaleString("en")} found`);
}

function point(i) {
  const options = results.querySelectorAll("[role=option]");
  options.forEach((option, at) => option.setAttribute("aria-selected", String(at === i)));
  current = i;
  if (i >= 0 && options[i]) {
    field.setAttribute("aria-activedescendant", options[i].id);
    options[i].scrollIntoView({ block: "nearest" });
  } else field.removeAttribute("aria-activedescendant");
}

function jump(i) {
  const entry = found[i];
  if (!entry) return;
  closeResults();
  goToBox(entry.path);
}

function closeResults() {
  results.hidden = true;
  field.setAttribute("aria-expanded", "false");
  field.removeAttribute("aria-activedescendant");
}

field.addEventListener("input", showResults);
field.addEventListener("focus", () => { if (field.value) showResults(); });
field.addEventListener("blur", (event) => {
  if (!event.relatedTarget || !results.contains(event.relatedTarget)) closeResults();
});
results.addEventListener("pointerdown", (event) => event.preventDefault()); // or the field would lose its focus first
field.addEventListener("keydown", (event) => {
  const last = Math.min(found.length, SHOWN) - 1;
  if (event.key === "ArrowDown") point(Math.min(current + 1, last));
  else if (event.key === "ArrowUp") point(Math.max(current - 1, Math.min(0, last)));
  else if (event.key === "Enter") jump(current);
  else if (event.key === "Escape") {
    field.value = "";
    closeResults();
    focusStage();
  } else return;
  event.preventDefault();
  event.stopPropagation();
});
