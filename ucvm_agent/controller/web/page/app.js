// The page: asks for the token, reads everything once, and then follows what changes.

import { Refused, follow, get, token } from "./api.js";
import * as chart from "./chart.js";
import { $, clock, make, show, tick } from "./dom.js";
import * as fleet from "./fleet.js";
import * as job from "./job.js";
import * as jobs from "./jobs.js";
import * as story from "./story.js";

const FRAME = 100; // ms at least between two drawings
const FIGURES = 1000; // ms at least between two looks at the figures
const MOMENT = 15_000; // ms between looks at what changes by time alone
const LONGEST = 15; // s between two attempts to connect

let drawing = false;
let counting = false;

// Drawing: not more often than a person can see, however fast things change

function redraw() {
  if (drawing) return;
  drawing = true;
  setTimeout(draw, FRAME);
}

function draw() {
  drawing = false;
  fleet.render();
  jobs.render();
  job.render();
  story.render();
}

async function count() {
  if (counting) return;
  counting = true;
  await new Promise((resolve) => setTimeout(resolve, FIGURES));
  counting = false;
  await readFigures().catch(() => {}); // whoever follows the feed notices, too
}

async function readFigures() {
  const [summary, throughput] = await Promise.all([get("summary"), get("throughput?seconds=3600&count=24")]);
  jobs.count(summary);
  chart.draw(throughput.spans);
  $("#instance").textContent = summary.controller;
  $("#deaf").hidden = summary.connected;
  const trouble = (summary.states.failed ?? 0) + (summary.states.degraded ?? 0);
  const figures = [
    ["VMs online", `${summary.online}`, `of ${summary.machines}`],
    ["in trouble", trouble, "VMs", trouble ? "bad" : ""],
    ["waiting", summary.waiting, "jobs"],
    ["running", summary.running, "jobs", summary.running ? "busy" : ""],
    ["done", summary.done, "jobs", summary.done ? "good" : ""],
    ["failed", summary.failed, "jobs", summary.failed ? "bad" : ""],
  ];
  show($("#figures"), figures.map(([label, value, unit, tone]) => make("div", { "data-tone": tone || undefined },
    make("dt", {}, label), make("dd", {}, value.toLocaleString("en"), " ", make("small", {}, unit)))));
  redraw();
}

// Reading and following

async function readAll() {
  const [machines, events] = await Promise.all([get("vms"), get("events?limit=100"), jobs.load(), readFigures()]);
  fleet.set(machines.vms);
  story.set(events.events);
  draw();
}

function take({ kind, data }) {
  if (kind === "vm") fleet.put(data);
  else if (kind === "event") story.put(data);
  else if (kind === "gone") {
    fleet.drop(data.machine_id);
    story.drop(data.machine_id);
  }
  else if (kind === "job") {
    jobs.put(data);
    job.put(data);
  }
  redraw();
  count();
}

/** Follow the feed until it ends. What comes while everything is read is taken after it. */
async function connect(connected) {
  for await (const change of follow("feed")) {
    if (change.kind === "open" || change.kind === "missed") {
      await readAll();
      link("live", "live");
      connected();
    } else take(change);
  }
}

async function live() {
  let wait = 1;
  for (;;) {
    try {
      await connect(() => { wait = 1; });
    } catch (error) {
      if (error instanceof Refused) return ask("This is not the token of this controller.");
    }
    if (!token.get()) return;
    stale();
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    wait = Math.min(wait * 2, LONGEST);
  }
}

function link(state, text) {
  const shown = $("#link");
  shown.dataset.state = document.body.dataset.link = state;
  shown.textContent = text;
}

function stale() {
  if ($("#link").dataset.state !== "stale") link("stale", `stale since ${clock(new Date())}, reconnecting`);
}

// The door

function ask(refusal = "") {
  token.forget();
  job.close();
  $("#refusal").textContent = refusal;
  $("#board").hidden = $("#leave").hidden = true;
  $("#door").hidden = false;
  link("off", "not connected");
  $("#token").focus();
}

function enter() {
  $("#door").hidden = true;
  $("#board").hidden = $("#leave").hidden = false;
  link("wait", "connecting");
  live();
}

$("#door").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set($("#token").value.trim());
  $("#token").value = "";
  enter();
});
$("#leave").addEventListener("click", () => {
  token.forget();
  location.reload();
});
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-job]");
  if (button) job.open(button.dataset.job, button).catch(() => {});
});
setInterval(() => tick(), MOMENT);
setInterval(() => { if ($("#link").dataset.state === "live") count(); }, MOMENT);
if (token.get()) enter();
else ask();
