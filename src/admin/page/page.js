"use strict";
const POLL_MS = 1000, PATIENCE_MS = 4000, POINTS = 300, ROWS = 250, TOKEN = "evenkeel-token";
const $ = (id) => document.getElementById(id);
const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };

let points = [], latest = null, lastGood = null, lostSince = null, seen = new Map(), locked = false, timer = 0;

/* Numbers as people read them. */
const whole = (n) => Math.round(n).toLocaleString("en");
const rate = (n) => (n >= 100 || Number.isInteger(n) ? whole(n) : n.toFixed(1));
const time = (ms) => {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  return ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
};
const percent = (n) => (n === null ? "–" : `${n.toFixed(0)} %`);
const span = (seconds) => {
  const s = Math.max(0, Math.round(seconds));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
};
const clock = (date) => date.toLocaleTimeString("en", { hour12: false });

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const say = (text) => { $("said").textContent = text; };

/* Asking, with the token if there is one, and never for long. */
async function ask(path, options = {}) {
  const headers = { ...options.headers }, token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, { ...options, headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  const text = await response.text();
  let answer = {};
  try { answer = JSON.parse(text); } catch { answer = { error: text.trim() }; }
  if (response.status === 401) lock(answer.error, token);
  if (!response.ok) throw Object.assign(new Error(answer.error || response.statusText), { status: response.status });
  return answer;
}

function lock(why, token) {
  locked = true;
  $("main").hidden = true;
  // Whoever asks for a token is in contact.
  regain();
  pill("token needed", false);
  document.title = "Token needed – Evenkeel";
  set($("login-why"), token ? why : "");
  if (token) sessionStorage.removeItem(TOKEN);
  if ($("login").hidden) {
    $("login").hidden = false;
    $("token").focus();
  }
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $("token").value.trim());
  $("token").value = "";
  locked = false;
  poll();
});

/* One look each second. */
async function poll() {
  clearTimeout(timer);
  if (locked) return;
  try {
    const stale = !lastGood || Date.now() - lastGood > 3 * POLL_MS;
    const status = await ask("/api/status");
    const newest = points.at(-1);
    // What was slow to come is not drawn as a straight line.
    const since = newest && status.last ? status.last.time - newest.time : 0;
    // Nor are times of a clock that was set anew beside those of before.
    if (stale || !newest || since > 1.5 || since < 0) points = await ask("/api/history");
    if (status.last && status.last.time > (points.at(-1)?.time ?? 0)) points.push(status.last);
    points = points.slice(-POINTS);
    found();
    draw(status);
  } catch (error) {
    if (!error.status) lose();
    else if (error.status !== 401) lose(error.message);
  }
  timer = setTimeout(poll, POLL_MS);
}

function found() {
  lastGood = Date.now();
  $("login").hidden = true;
  $("main").hidden = false;
  regain();
}

function regain() {
  if (!lostSince) return;
  lostSince = null;
  $("lost").hidden = true;
  document.body.classList.remove("lost");
  say("Contact is back.");
}

function lose(why) {
  const first = !lostSince;
  lostSince ??= new Date(lastGood ?? Date.now());
  document.body.classList.add("lost");
  const reason = why ? ` (${why})` : "";
  // Said once: an alert that changes each second is read out each second.
  if (first) set($("lost"), `No contact with Evenkeel since ${clock(lostSince)}${reason}. What is shown is from then.`);
  $("lost").hidden = false;
  pill("no contact", false);
  document.title = "No contact – Evenkeel";
}

function pill(text, good) {
  set($("state"), text);
  $("state").className = `pill ${good ? "good" : "bad"}`;
}

function draw(status) {
  latest = status;
  const { process, workers } = status, sum = (name) => workers.reduce((all, worker) => all + worker[name], 0);
  pill(process.draining ? "draining" : process.ready ? "ready" : `not ready: ${process.reasons.join("; ")}`, process.ready);
  set($("process"), `version ${process.version}, process ${process.pid}, up ${span(process.uptime_seconds)}`);
  document.title = `${rate(status.requests_per_second)}/s – Evenkeel`;
  set($("rate"), rate(status.requests_per_second));
  set($("p50"), time(status.latency?.p50_ms));
  set($("p99"), time(status.latency?.p99_ms));
  set($("flights"), whole(sum("in_flight")));
  set($("connections"), whole(sum("connections")));
  const failures = points.at(-1)?.failures ?? 0;
  set($("failures"), rate(failures));
  $("failures").parentNode.className = failures > 0 ? "some" : "";
  const { requests, tunnels } = status.counts;
  unit = tunnels ? (requests ? UNITS.both : UNITS.tunnels) : UNITS.requests;
  drawCharts();
  drawWorkers(workers);
  drawErrors(status.errors);
  drawPools(status.pools);
  for (const name of ["unit", "short"]) document.querySelectorAll(`[data-${name}]`).forEach((node) => set(node, unit[name] + node.dataset[name]));
}

/* What rates count: requests, connections that are balanced as a whole, or both. */
const UNITS = {
  requests: { unit: "Requests", short: "Requests" },
  tunnels: { unit: "TCP connections", short: "TCP" },
  both: { unit: "Requests and TCP connections", short: "Requests + TCP" },
};
let unit = UNITS.requests;

/* Lines over time, drawn by hand. Where a pointer rests, the legend says what was then. */
const CHARTS = [
  { id: "rates", lines: [["requests", "requests"], ["failures", "failed"]], least: 1, label: rate, what: () => `${unit.unit} per second` },
  { id: "latencies", lines: [["p50_ms", "p50"], ["p90_ms", "p90"], ["p99_ms", "p99"]], least: 0, label: time, what: () => "Latency" },
];
let pointed = null;

function drawCharts() {
  CHARTS.forEach(chart);
}

function chart({ id, lines, least, label, what }) {
  const svg = $(id), width = svg.clientWidth || 600, height = svg.clientHeight || 192, left = 2, top = 16, bottom = 20;
  const end = points.at(-1)?.time ?? 0, shown = Math.min(POINTS, Math.max(60, end - (points[0]?.time ?? end))), begin = end - shown;
  const values = points.flatMap((point) => lines.map(([name]) => point[name] ?? 0));
  const most = Math.max(least, ...values), scale = nice(most || 1);
  const x = (at) => left + ((at - begin) / shown) * (width - 2 * left), y = (value) => top + (1 - value / scale) * (height - top - bottom);
  const parts = [];
  for (const share of [0, 0.5, 1]) {
    const at = y(scale * share);
    parts.push(`<line class="grid" x1="0" x2="${width}" y1="${at}" y2="${at}"/>`);
    // Where nothing was, there is no scale.
    if (share && most) parts.push(`<text x="${left}" y="${at - 4}">${label(scale * share)}</text>`);
  }
  for (const share of [0.8, 0.4]) parts.push(`<text x="${x(end - share * shown)}" y="${height - 4}" text-anchor="middle">${span(share * shown)} ago</text>`);
  parts.push(`<text x="${width}" y="${height - 4}" text-anchor="end">now</text>`);
  lines.forEach(([name, style], i) => {
    const runs = unbroken(name);
    const line = (run) => run.map((point, j) => `${j ? "L" : "M"}${x(point.time).toFixed(1)} ${y(point[name]).toFixed(1)}`).join("") + (run.length === 1 ? "h.1" : "");
    const under = (run) => `${line(run)}L${x(run.at(-1).time).toFixed(1)} ${y(0)}L${x(run[0].time).toFixed(1)} ${y(0)}Z`;
    if (!i) parts.push(`<path class="under" d="${runs.map(under).join("")}"/>`);
    // A line of nothing but zeros only hides the one below.
    if (!i || points.some((point) => point[name] > 0)) parts.push(`<path class="${style}" d="${runs.map(line).join("")}"/>`);
  });
  const moment = pointed?.id === id ? begin + ((pointed.x - left) / (width - 2 * left)) * shown : null;
  const there = moment === null ? points.at(-1) : points.reduce((best, point) => (Math.abs(point.time - moment) < Math.abs(best.time - moment) ? point : best), points[0]);
  if (moment !== null && there) parts.push(`<line class="at" x1="${x(there.time)}" x2="${x(there.time)}" y1="${top}" y2="${y(0)}"/>`);
  for (const [name, style] of lines) set(svg.parentNode.querySelector(`.key.${style} b`), label(there?.[name] ?? (name.endsWith("_ms") ? null : 0)));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  // Only numbers and words of ours are in it.
  svg.innerHTML = parts.join("");
  const last = points.at(-1);
  svg.setAttribute("aria-label", `${what()} of the last ${span(shown)}; now ${lines.map(([name]) => `${name.replace("_ms", "")} ${label(last?.[name] ?? 0)}`).join(", ")}`);
}

/* The points that have such a value, in runs without a gap. */
function unbroken(name) {
  const runs = [];
  let before = null;
  for (const point of points) {
    if (point[name] === null || point[name] === undefined) { before = null; continue; }
    if (before === null || point.time - before > 5) runs.push([]);
    runs.at(-1).push(point);
    before = point.time;
  }
  return runs;
}

for (const { id } of CHARTS) {
  $(id).addEventListener("pointermove", (event) => { pointed = { id, x: event.offsetX }; drawCharts(); });
  $(id).addEventListener("pointerleave", () => { pointed = null; drawCharts(); });
}
addEventListener("resize", drawCharts);

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value);
}

/* Tables are changed in place, so that focus and selection stay. */
function rows(body, keys, make, change) {
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  keys.forEach((key, i) => {
    let row = known.get(key);
    if (!row) {
      row = make(key);
      row.dataset.key = key;
    }
    known.delete(key);
    if (body.rows[i] !== row) body.insertBefore(row, body.rows[i] ?? null);
    change(row, key);
  });
  known.forEach((row) => row.remove());
}

function cells(row, values) {
  values.forEach((value, i) => set(row.cells[i], value));
}

const plainRow = (count) => (key) => {
  const row = element("tr", {}, element("th", { scope: "row" }, key));
  for (let i = 1; i < count; i++) row.append(element("td"));
  return row;
};

function bar(cell, percent) {
  const inside = cell.querySelector("i") ?? cell.appendChild(element("span", { class: "bar" }, element("i"))).firstChild;
  inside.style.width = `${Math.min(100, percent ?? 0)}%`;
}

function drawWorkers(workers) {
  rows($("workers").tBodies[0], workers.map((_, i) => String(i)), plainRow(6), (row, key) => {
    const worker = workers[key];
    cells(row, [key, rate(worker.requests_per_second), whole(worker.connections), null, percent(worker.cpu_percent), time(worker.lag_p99_ms)].map((v, i) => v ?? row.cells[i].textContent));
    [...row.cells].forEach((cell, i) => { cell.dataset.label = $("workers").tHead.rows[0].cells[i].textContent; });
    label(row.cells[3], percent(worker.busy_percent));
    bar(row.cells[3], worker.busy_percent);
  });
}

/* The text of a cell that holds a bar too. */
function label(cell, text) {
  const node = cell.querySelector("span.value") ?? cell.insertBefore(element("span", { class: "value" }), cell.firstChild);
  set(node, text);
}

function drawErrors(errors) {
  const causes = Object.keys(errors).sort((a, b) => errors[b] - errors[a]);
  $("none").hidden = causes.length > 0;
  $("errors").hidden = causes.length === 0;
  rows($("errors").tBodies[0], causes, plainRow(2), (row, cause) => cells(row, [cause, whole(errors[cause])]));
}

/* How many backends are in which state; a press shows those alone, another one all again. */
function drawStanding(pools) {
  const all = pools.flatMap((pool) => pool.backends), place = $("standing");
  for (const state of STATES) {
    let button = place.querySelector(`[data-state="${state}"]`);
    if (!button) {
      button = element("button", { type: "button", class: state, "data-state": state });
      button.addEventListener("click", () => {
        $("filter").value = wanted() === state ? "" : state;
        drawPools(latest.pools);
      });
      place.append(button, " ");
    }
    const count = all.filter((backend) => backend.state === state).length;
    set(button, `${whole(count)} ${state}`);
    button.hidden = !count && wanted() !== state;
    button.setAttribute("aria-pressed", wanted() === state);
  }
}

function drawPools(pools) {
  drawStanding(pools);
  const sections = new Map([...$("pools").querySelectorAll("section")].map((section) => [section.dataset.pool, section]));
  for (const pool of pools) {
    let section = sections.get(pool.name);
    if (!section) $("pools").append((section = poolSection(pool.name)));
    sections.delete(pool.name);
    const facts = [
      pool.algorithm,
      `${pool.eligible} of ${pool.backends.length} eligible`,
      `${rate(pool.requests_per_second)} ${unit.unit.replace(/^R/, "r")}/s`,
      `median ${time(pool.latency?.p50_ms)}, 99 % ${time(pool.latency?.p99_ms)}`,
      `queue ${pool.queue.length} of ${pool.queue.limit}`,
      `${whole(pool.budget.retries_left)} retries left`,
    ];
    const places = section.querySelector(".facts");
    facts.forEach((fact, i) => set(places.children[i] ?? places.appendChild(element("span")), fact));
    section.hidden = !drawBackends(section, pool) && wanted() !== "";
  }
  sections.forEach((section) => section.remove());
  $("unmatched").hidden = $("pools").querySelector("section:not([hidden])") !== null;
}

const HEADS = ["Backend", "State", "Share", "Requests/s", "In flight", "Failures", "First byte", "Weight", "Actions"];

function poolSection(name) {
  const heads = HEADS.map((head) => element("th", { scope: "col", ...(head === "State" && { class: "left" }), ...(head === "Requests/s" && { "data-short": "/s" }) }, head));
  return element("section", { "data-pool": name, "aria-label": `Pool ${name}` },
    element("h2", {}, `Pool ${name}`), element("p", { class: "facts" }),
    element("table", { class: "backends" }, element("thead", {}, element("tr", {}, ...heads)), element("tbody")),
    element("p", { class: "quiet more", hidden: "" }));
}

const STATES = ["up", "down", "out", "half-open", "draining", "disabled"];
const wanted = () => $("filter").value.trim().toLowerCase();

/* False when the filter leaves none. */
function drawBackends(section, pool) {
  const text = wanted();
  // A state is meant as a whole: "up" is in many names.
  const matches = (backend) => (STATES.includes(text) ? backend.state === text : `${backend.id} ${backend.state}`.includes(text));
  let found = pool.backends.filter(matches);
  // Where not all have room, those that need a look come first.
  if (found.length > ROWS) found = [...found.filter((backend) => backend.state !== "up"), ...found.filter((backend) => backend.state === "up")];
  const shown = new Map(found.slice(0, ROWS).map((backend) => [backend.id, backend]));
  const make = (id) => backendRow(pool.name, id);
  rows(section.querySelector("tbody"), [...shown.keys()], make, (row, id) => drawBackend(row, shown.get(id), pool.name));
  const more = section.querySelector(".more");
  more.hidden = found.length <= ROWS;
  set(more, `${found.length - ROWS} more; the filter finds them.`);
  return found.length > 0;
}

function backendRow(pool, id) {
  const row = element("tr", {}, element("th", { scope: "row" }, id), element("td", { class: "state" }, element("b"), " ", element("small")));
  for (const head of HEADS.slice(2, 7)) row.append(element("td", { "data-label": head }));
  const weight = element("input", { class: "weight", type: "number", min: 1, max: 256, "aria-label": `Weight of ${id}` });
  weight.addEventListener("change", () => {
    if (weight.value && weight.checkValidity()) command(pool, id, "weight", { weight: Number(weight.value) }, weight);
    else notice(`The weight of ${id} stays as it is: a weight is a whole number from 1 to ${weight.max}.`);
  });
  row.append(element("td", { "data-label": "Weight" }, weight));
  const actions = element("td", { class: "actions" });
  for (const action of ["drain", "disable", "enable"]) {
    const name = action[0].toUpperCase() + action.slice(1);
    const button = element("button", { "data-action": action, "aria-label": `${name} ${id}` }, name);
    button.addEventListener("click", () => command(pool, id, action, null, button));
    actions.append(button, " ");
  }
  row.append(actions);
  return row;
}

function drawBackend(row, backend, pool) {
  const [, state, share, requests, flights, failures, first, weight] = row.cells;
  const badge = state.querySelector("b"), since = span(Date.now() / 1000 - backend.since);
  badge.className = backend.state;
  set(badge, backend.state + (backend.backup ? " (backup)" : ""));
  set(state.querySelector("small"), [backend.why, `for ${since}`].filter(Boolean).join(", "));
  label(share, backend.share_percent === null ? "–" : `${backend.share_percent.toFixed(1)} %`);
  bar(share, backend.share_percent);
  set(requests, rate(backend.requests_per_second));
  requests.dataset.label = `${unit.short}/s`;
  set(flights, whole(backend.in_flight));
  set(failures, whole(backend.failures));
  set(first, time(backend.first_byte_mean_ms));
  const input = weight.firstChild;
  if (document.activeElement !== input) input.value = backend.weight;
  const enabled = !["draining", "disabled"].includes(backend.state);
  const applies = { drain: enabled, disable: backend.state !== "disabled", enable: !enabled };
  for (const button of row.querySelectorAll("button")) {
    const hide = !applies[button.dataset.action];
    if (hide && document.activeElement === button) {
      button.hidden = true;
      row.querySelector(`button[data-action="${enabled ? "drain" : "enable"}"]`).hidden = false;
      row.querySelector(`button[data-action="${enabled ? "drain" : "enable"}"]`).focus();
    }
    button.hidden = hide;
  }
  const key = `${pool} ${backend.id}`;
  if (seen.has(key) && seen.get(key) !== backend.state) say(`${backend.id} is now ${backend.state}${backend.why ? `: ${backend.why}` : ""}.`);
  seen.set(key, backend.state);
}

/* Commands. */
async function send(path, body, control) {
  if (control?.getAttribute("aria-disabled") === "true") return null;
  control?.setAttribute("aria-disabled", "true");
  try {
    const headers = { "Content-Type": "application/json" };
    return await ask(path, { method: "POST", headers, body: body ? JSON.stringify(body) : "" });
  } catch (error) {
    notice(error.status ? error.message : "No contact: nothing was changed, or it is not known.");
    return null;
  } finally {
    control?.removeAttribute("aria-disabled");
  }
}

async function command(pool, id, action, body, control) {
  const path = ["/api/backends", pool, id, action].map((part, i) => (i ? encodeURIComponent(part) : part)).join("/");
  if (await send(path, body, control)) {
    if (action === "weight") say(`${id} now has weight ${body.weight}.`);
    poll();
  }
}

function notice(text) {
  set($("sure-what"), text);
  set($("sure").querySelector('[value="no"]'), "Close");
  $("sure").querySelector('[value="yes"]').hidden = true;
  $("sure").onclose = null;
  $("sure").showModal();
}

function confirmed(question, then) {
  set($("sure-what"), question);
  set($("sure").querySelector('[value="no"]'), "Go back");
  $("sure").querySelector('[value="yes"]').hidden = false;
  $("sure").returnValue = "no";
  $("sure").onclose = () => { if ($("sure").returnValue === "yes") then(); };
  $("sure").showModal();
}

$("reload").addEventListener("click", async () => {
  const answer = await send("/api/reload", null, $("reload"));
  if (answer) notice(answer.done);
});
$("drain").addEventListener("click", () => confirmed(
  "Evenkeel will take no new connections, finish what it has, and end. Go on?",
  async () => {
    const answer = await send("/api/drain", null, $("drain"));
    if (answer) say(answer.done);
  }));
$("filter").addEventListener("input", () => { if (latest) drawPools(latest.pools); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
poll();
