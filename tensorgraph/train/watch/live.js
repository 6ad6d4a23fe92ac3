// ---- the key: from the fragment, which is taken out of the address at once; kept for this tab alone
const by = (id) => document.getElementById(id);
let key = location.hash.slice(1) || sessionStorage.getItem("key") || "";
if (location.hash) history.replaceState(null, "", "/");

function ask(path, body) {
  return fetch(path, {
    method: body ? "POST" : "GET", cache: "no-store", credentials: "omit", redirect: "error",
    headers: { "X-Tensorgraph-Key": key, ...(body ? { "Content-Type": "application/json" } : {}) },
    body: body && JSON.stringify(body),
  });
}

// ---- steering
let paused = null;

function say(text, refused) {
  by("answer").textContent = text;
  by("answer").classList.toggle("refused", Boolean(refused));
}

async function command(body) {
  say("…");
  try {
    const answer = await ask("/command", body);
    if (!answer.headers.get("Content-Type").startsWith("application/json")) {
      say((await answer.text()).trim(), true);
      return;
    }
    const said = await answer.json();
    say(said.done ? `Done: ${said.done}` : said.waiting ?? `Refused: ${said.refused}`, said.refused !== undefined);
  } catch {
    say("The server does not answer.", true);
  }
}

// What cannot be undone by a click wants a second one within four seconds.
function sure(button) {
  if (!button.dataset.sure || button.classList.contains("sure")) return true;
  const words = button.textContent;
  button.textContent = button.dataset.sure;
  button.classList.add("sure");
  setTimeout(() => { button.textContent = words; button.classList.remove("sure"); }, 4000);
  return false;
}

for (const button of document.querySelectorAll("[data-command]")) {
  button.addEventListener("click", () => {
    if (!sure(button)) return;
    const body = { command: button.dataset.command };
    const name = by("checkpoint-name").value.trim(), to = by("to").value;
    if (body.command === "checkpoint" && name) body.name = name;
    if (body.command === "rollback" && to) body.to = Number(to);
    command(body);
  });
}

function setting(name) {
  const id = `set-${name}`;
  const input = make("input", { id, type: "text", inputMode: "decimal", autocomplete: "off" });
  const change = (factor) => make("button", {
    type: "button", title: factor > 1 ? "twice of it" : "half of it",
    onclick: () => { input.value = String(Number((Number(input.value || input.placeholder) * factor).toPrecision(10))); input.focus(); },
  }, factor > 1 ? "×2" : "÷2");
  const form = make("form", {},
    make("label", { htmlFor: id }, name, make("span", { className: "now" })),
    input, change(0.5), change(2), make("button", { type: "submit" }, "Set"));
  form.dataset.name = name;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = input.value.trim(), value = Number(text);
    if (text === "" || !Number.isFinite(value)) { say(`${name} must be a number, such as ${input.placeholder}`, true); return; }
    command({ command: "set", name, value }).then(() => { input.value = ""; });
  });
  return form;
}

// ---- what is shown
function put(id, html) {
  by(id).replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
}

function show(state) {
  by("name").textContent = state.name;
  document.title = `${state.status}: ${state.name}`;
  by("status").textContent = state.status;
  by("status").dataset.status = state.status;
  by("pace").textContent = state.pace;
  by("outcome").textContent = state.outcome;
  by("bar").setAttribute("aria-valuemax", state.total);
  by("bar").setAttribute("aria-valuenow", state.step);
  by("bar").firstElementChild.style.width = state.total ? `${Math.min(100, (100 * state.step) / state.total)}%` : "0";
  const live = state.status === "running" || state.status === "paused";
  for (const button of by("steer").querySelectorAll("button, input, select")) button.disabled = !live;
  by("pause").disabled ||= state.status === "paused";
  by("resume").disabled ||= state.status !== "paused";
  const names = state.settable.map((one) => one.name);
  if (JSON.stringify(names) !== by("settings").dataset.names) {
    by("settings").replaceChildren(...names.map(setting));
    by("settings").dataset.names = JSON.stringify(names);
  }
  state.settable.forEach((one, i) => {
    const form = by("settings").children[i];
    form.querySelector(".now").textContent = `now ${one.value}`;
    form.querySelector("input").placeholder = one.value;
    for (const part of form.elements) part.disabled = !live;
  });
  if (JSON.stringify(state.checkpoints) !== by("to").dataset.numbers) {
    const chosen = by("to").value;
    const options = state.checkpoints.toReversed().map((one) => make("option", { value: one.number }, one.words));
    by("to").replaceChildren(make("option", { value: "" }, "the last one"), ...options);
    if (state.checkpoints.some((one) => one.number === chosen)) by("to").value = chosen;
    by("to").dataset.numbers = JSON.stringify(state.checkpoints);
  }
  charts = state.data;
  const focused = document.activeElement?.closest?.(".chart")?.dataset.chart;
  const pointed = document.querySelector(".chart .hair")?.closest(".chart");
  const at = pointed && [pointed.dataset.chart, Number(pointed.dataset.at)];
  for (const id of ["facts", "charts", "marks"]) put(id, state[id]);
  tip.hidden = true;
  if (focused !== undefined) document.querySelector(`.chart[data-chart="${focused}"]`)?.focus();
  const again = at && document.querySelector(`.chart[data-chart="${at[0]}"]`);
  if (again) point(again, at[1]);
  by("main").hidden = false;
  by("unlock").hidden = true;
}

function lost(words) {
  by("status").textContent = words;
  by("status").dataset.status = "lost";
  for (const part of by("steer").querySelectorAll("button, input, select")) part.disabled = true;
}

// ---- news: each request waits at the server until there is some
async function follow() {
  let since = "";
  for (;;) {
    try {
      const answer = await ask(`/state?since=${since}`);
      if (answer.status === 401) {
        sessionStorage.removeItem("key");
        by("unlock").hidden = false;
        by("main").hidden = true;
        by("key").focus();
        return;
      }
      if (!answer.ok) throw new Error(await answer.text());
      const state = await answer.json();
      sessionStorage.setItem("key", key);
      if (state.at !== since) show(state);
      since = state.at;
      await new Promise((done) => setTimeout(done, 250));
    } catch (error) {
      lost(error instanceof SyntaxError || error instanceof TypeError ? "the server does not answer" : error.message.trim());
      since = "";
      await new Promise((done) => setTimeout(done, 2000));
    }
  }
}

by("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  key = by("key").value.trim();
  by("key").value = "";
  follow();
});
follow();
