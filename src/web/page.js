"use strict";
// Asks for /api/state every two seconds and shows it. Text goes in as text, never as markup: payloads are not ours.

const PERIOD_MS = 2000;
const $ = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function fill(table, rows, cells, none) {
  const body = $(table).tBodies[0];
  if (rows.length === 0) {
    const cell = element("td", none, "none");
    cell.colSpan = 99;
    cell.style.textAlign = "left";
    const row = element("tr");
    row.append(cell);
    return body.replaceChildren(row);
  }
  body.replaceChildren(...rows.map((one) => {
    const row = element("tr");
    row.append(...cells(one));
    return row;
  }));
}

const count = (n, className) => element("td", n.toLocaleString("en"), n === 0 ? "zero" : className);

function age(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const s = Math.max(0, seconds);
  if (s < 1) return Math.round(s * 1000) + " ms";
  if (s < 120) return s.toFixed(s < 10 ? 1 : 0) + " s";
  if (s < 7200) return Math.round(s / 60) + " min";
  return s < 172800 ? Math.round(s / 3600) + " h" : Math.round(s / 86400) + " d";
}

const since = (text) => age((Date.now() - Date.parse(text)) / 1000) + " ago";

function queueCells(q) {
  return [
    element("td", q.queue_name),
    count(q.pending), count(q.processing), count(q.scheduled), count(q.parked), count(q.dead, "bad"),
    element("td", age(q.oldest_pending_age_s), q.oldest_pending_age_s > 5 ? "wait" : "zero"),
    q.paused ? element("td", "paused", "wait") : element("td", "open", "zero"),
  ];
}

function deadCells(d) {
  return [
    element("td", d.id), element("td", d.queue_name), element("td", d.kind), element("td", d.error_kind),
    element("td", d.error, "error"), element("td", since(d.created_at), "zero"),
  ];
}

function alertCells(a) {
  return [
    element("td", a.level, a.level === "page" ? "bad" : "wait"), element("td", a.alert), element("td", a.subject),
    element("td", a.source), element("td", a.detail, "error"), element("td", since(a.raised_at), "zero"),
  ];
}

function branch(nodes) {
  const list = element("ul");
  for (const node of nodes) {
    const item = element("li");
    item.append(element("span", node.id, node.running ? "" : "bad"));
    if (node.note) item.append(element("small", "  " + node.note));
    if (node.restarts > 0) item.append(element("small", "  restarted " + node.restarts + "×"));
    if (node.children.length > 0) item.append(branch(node.children));
    list.append(item);
  }
  return list;
}

function instance(one) {
  const box = element("div");
  box.append(element("h3", one.name));
  box.append(element("p", "session " + one.session_id + " · " + (one.host ?? "?") + ", pid " + (one.pid ?? "?") +
    " · up " + since(one.started_at).replace(" ago", "") + " · beat " + since(one.heartbeat_at)));
  box.append(one.tree ? branch(one.tree) : element("p", "its tree is not saved yet"));
  return box;
}

function show(state) {
  fill("queues", state.queues, queueCells, "No queue yet: pgflow queue create NAME");
  fill("alerts", state.alerts, alertCells, "None.");
  fill("dlq", state.dlq, deadCells, "None.");
  const live = state.instances.map(instance);
  $("instances").replaceChildren(...(live.length ? live : [element("p", "Nobody is live.", "none")]));
  const sum = (key) => state.queues.reduce((n, q) => n + q[key], 0).toLocaleString("en");
  $("totals").textContent = sum("pending") + " pending · " + sum("processing") + " processing · " + sum("dead") + " dead";
}

async function look() {
  try {
    const answer = await fetch("api/state", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    const state = await answer.json();
    if (!answer.ok) throw new Error(state.error);
    show(state);
    $("state").textContent = new Date().toLocaleTimeString();
    $("state").className = "good";
  } catch (error) {
    $("state").textContent = error.message;
    $("state").className = "bad";
  }
  setTimeout(look, PERIOD_MS);
}

look();
