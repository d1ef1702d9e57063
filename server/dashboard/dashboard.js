/* dashboard.js - the page at "/": asks the HTTP API what there is and shows it, again every
 * two seconds while it is looked at. Everything that comes from outside becomes a text node. */
"use strict";

const PAUSE_MS = 2000;
const PAGE_RUNS = 50;
const PAGE_EVENTS = 200;
const STATES = ["queued", "running", "sleeping", "awaiting_signal", "awaiting_retry", "awaiting_child",
  "scheduled", "paused", "cancelling", "blocked", "stalled",
  "completed", "failed", "cancelled", "timed_out", "terminated"];
const main = document.getElementById("main");
const link = document.getElementById("link");
let turn = 0; /* raised when the page changes: answers for an earlier one are dropped */

/* ---- making nodes ---- */

function make(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function value(of) {
  return make("pre", {}, JSON.stringify(of, null, 2));
}

function when(text) {
  return text ? make("time", { dateTime: text, title: text }, new Date(text).toLocaleString()) : "";
}

function state(name) {
  return make("span", { className: STATES.includes(name) ? name : "" }, name);
}

function run_link(id) {
  return make("a", { href: "#/runs/" + encodeURIComponent(id) }, id);
}

function table(heads, rows, none) {
  if (rows.length === 0)
    return make("p", {}, none);
  return make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell))))));
}

function facts(pairs) {
  return make("dl", {}, ...pairs.filter(([, fact]) => fact !== null && fact !== undefined && fact !== "")
    .flatMap(([name, fact]) => [make("dt", {}, name), make("dd", {}, fact)]));
}

/* ---- asking ---- */

/* Of a server that asks for one: kept as long as this tab. null: whoever reads this has none. */
let token = sessionStorage.getItem("aiki-token") ?? "";

async function get(path) {
  const presented = token;
  const headers = { Accept: "application/json" };
  if (presented)
    headers.Authorization = "Bearer " + presented;
  const answer = await fetch(path, { headers });
  if (answer.status !== 401 || token === null)
    return answer;
  if (token === presented) { /* else it was asked for meanwhile */
    token = prompt("This server asks for a token:")?.trim() || null;
    if (token === null)
      sessionStorage.removeItem("aiki-token");
    else
      sessionStorage.setItem("aiki-token", token);
  }
  return token === null ? answer : get(path);
}

async function ask(path) {
  const answer = await get(path);
  const document = await answer.json();
  if (!answer.ok)
    throw new Error(document.error ? `${document.error.code}: ${document.error.message}` : answer.statusText);
  return document;
}

/* ---- pages: each gives the nodes to show ---- */

function select(name, options, chosen) {
  const box = make("select", { name }, make("option", { value: "" }, "any " + name),
    ...options.map((option) => make("option", { value: option, selected: option === chosen }, option)));
  box.addEventListener("change", () => box.form.requestSubmit());
  return box;
}

function runs_form(query) {
  const form = make("form", {}, select("state", STATES, query.get("state")),
    make("input", { name: "workflow", placeholder: "workflow", value: query.get("workflow") || "" }),
    make("input", { name: "key", placeholder: "key", value: query.get("key") || "" }),
    make("button", {}, "Show"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = new URLSearchParams();
    for (const [name, text] of new FormData(form))
      if (text)
        wanted.set(name, text);
    location.hash = "#/runs" + (String(wanted) === "" ? "" : "?" + wanted);
  });
  return form;
}

async function runs_page(query) {
  const wanted = new URLSearchParams(query);
  wanted.set("limit", PAGE_RUNS);
  const { runs, next } = await ask("/v1/runs?" + wanted);
  const rows = runs.map((run) => [run_link(run.id), `${run.workflow} ${run.version}`, state(run.state),
    run.key || "", when(run.created_at), when(run.updated_at)]);
  const more = new URLSearchParams(query);
  if (next)
    more.set("before", next);
  return [make("h1", {}, "Runs"), runs_form(query),
    table(["Run", "Workflow", "State", "Key", "Started", "Changed"], rows, "No run is like that."),
    next ? make("p", {}, make("a", { href: "#/runs?" + more }, "Older runs")) : null];
}

function event_row(event) {
  const { seq, at, kind, hash, epoch, ...rest } = event;
  const shown = Object.fromEntries(Object.entries(rest).filter(([, part]) => part !== null && part !== ""));
  return [String(seq), when(at), kind, Object.keys(shown).length > 0 ? value(shown) : ""];
}

async function run_page(id, query) {
  const path = "/v1/runs/" + encodeURIComponent(id);
  const after = query.get("after") || 0;
  const [run, history] = await Promise.all([ask(path),
    ask(`${path}/history?limit=${PAGE_EVENTS}&after=${after}`)]);
  return [make("h1", {}, `${run.workflow} ${run.version} `, state(run.state)),
    facts([["Run", run.id], ["Key", run.key], ["Started by", run.actor], ["Started", when(run.created_at)],
      ["Changed", when(run.updated_at)], ["Due", when(run.wake_at)],
      ["Owner", run.owner ? value(run.owner) : ""]]),
    make("h2", {}, "Input"), value(run.input),
    run.waits && run.waits.length > 0 ? make("h2", {}, "Waits for") : null,
    run.waits && run.waits.length > 0 ? value(run.waits) : null,
    run.error ? make("h2", {}, "Error") : null, run.error ? value(run.error) : null,
    run.state === "completed" ? make("h2", {}, "Output") : null,
    run.state === "completed" ? value(run.output) : null,
    make("h2", {}, "History"),
    table(["#", "When", "What", ""], history.events.map(event_row), "Nothing is on record yet."),
    history.next ? make("p", {}, make("a", { href: `#/runs/${encodeURIComponent(id)}?after=${history.next}` },
      "Later events")) : null];
}

async function workflows_page() {
  const { workflows } = await ask("/v1/workflows");
  const rows = workflows.map((flow) => [
    make("a", { href: "#/runs?" + new URLSearchParams({ workflow: flow.name, version: flow.version }) }, flow.name),
    flow.version, flow.plugin || "", String(flow.workers),
    Object.entries(flow.runs || {}).map(([name, count]) => `${count} ${name}`).join(", ")]);
  return [make("h1", {}, "Workflows"),
    table(["Workflow", "Version", "Plugin", "Workers", "Runs"], rows, "No plugin was ever served.")];
}

/* Documents whose rows are simple: one column a field. */
function plain_page(title, path, list, none) {
  return async () => {
    const rows = (await ask(path))[list];
    const heads = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const cell = (part) => part === null || part === undefined ? ""
      : typeof part === "object" ? value(part) : String(part);
    return [make("h1", {}, title), table(heads, rows.map((row) => heads.map((head) => cell(row[head]))), none)];
  };
}

async function server_page() {
  return [make("h1", {}, "Server"), value(await ask("/v1/server"))];
}

const workers_page = plain_page("Workers", "/v1/workers", "workers", "No runtime is connected.");
const plugins_page = plain_page("Plugins", "/v1/plugins", "plugins", "No plugin is served.");

function page() {
  const [path, query] = (location.hash.slice(1) || "/runs").split("?");
  const parts = path.split("/").filter((part) => part !== "");
  const wanted = new URLSearchParams(query || "");
  switch (parts[0]) {
  case "workflows": return workflows_page();
  case "workers": return workers_page();
  case "plugins": return plugins_page();
  case "server": return server_page();
  default: return parts.length > 1 ? run_page(decodeURIComponent(parts[1]), wanted) : runs_page(wanted);
  }
}

/* ---- going on ---- */

function mark_place() {
  const place = "#/" + ((location.hash.slice(2) || "runs").split(/[/?]/)[0]);
  for (const entry of document.querySelectorAll("nav a"))
    entry.classList.toggle("here", entry.getAttribute("href") === place);
}

async function show(mine) {
  try {
    const nodes = await page();
    if (mine !== turn)
      return;
    if (!main.contains(document.activeElement) || document.activeElement.tagName === "A")
      main.replaceChildren(...nodes.filter((node) => node !== null));
    link.textContent = "";
    link.className = "";
  } catch (error) {
    if (mine !== turn)
      return;
    link.textContent = error.message;
    link.className = "lost";
  }
  setTimeout(() => mine === turn && (document.hidden ? wait_for_eyes(mine) : show(mine)), PAUSE_MS);
}

function wait_for_eyes(mine) {
  document.addEventListener("visibilitychange", () => mine === turn && show(mine), { once: true });
}

function go() {
  turn++;
  mark_place();
  main.replaceChildren();
  show(turn);
}

window.addEventListener("hashchange", go);
go();
