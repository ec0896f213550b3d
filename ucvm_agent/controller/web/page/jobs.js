// The jobs: those that were submitted last first, a page at a time.

import { get } from "./api.js";
import { $, badge, chips, make, show, since } from "./dom.js";
import { cell, name } from "./fleet.js";

const PAGE = 30;
const STATUSES = ["waiting", "running", "done", "failed", "cancelled"];

let jobs = [];
let room = PAGE; // jobs that are shown at most
let next = "";
let chosen = "";
let counts = {};

export async function load() {
  room = PAGE;
  const page = await get(`jobs?limit=${PAGE}${filter()}`);
  jobs = page.jobs;
  next = page.next;
}

async function more() {
  const page = await get(`jobs?limit=${PAGE}${filter()}&before=${encodeURIComponent(next)}`);
  jobs.push(...page.jobs);
  room = jobs.length;
  next = page.next;
  render();
}

const filter = () => (chosen ? `&status=${chosen}` : "");

/** Take a job as it is now; one that was not shown is new, or has come into the view. */
export function put(job) {
  const index = jobs.findIndex((known) => known.id === job.id);
  const wanted = !chosen || job.status === chosen;
  if (index >= 0 && wanted) jobs[index] = job;
  else if (index >= 0) jobs.splice(index, 1);
  else if (wanted && (!next || job.submitted >= (jobs.at(-1)?.submitted ?? ""))) insert(job);
}

function insert(job) {
  const index = jobs.findIndex((known) => known.submitted <= job.submitted);
  jobs.splice(index < 0 ? jobs.length : index, 0, job);
  if (jobs.length <= room) return;
  jobs.length = room;
  next = jobs.at(-1).id;
}

export function count(summary) {
  counts = summary;
}

export function render() {
  const all = STATUSES.reduce((sum, status) => sum + (counts[status] ?? 0), 0);
  chips($("#jobs .chips"), [["", "all", all], ...STATUSES.map((status) => [status, status, counts[status] ?? 0])],
    chosen, choose);
  show($("#jobs tbody"), jobs.map(row));
  $("#jobs table").hidden = !jobs.length;
  $("#jobs .empty").hidden = jobs.length > 0;
  $("#jobs .more").hidden = !next;
}

async function choose(value) {
  chosen = value;
  await load();
  render();
}

/** Why it has ended so; where it has not, why an earlier try of it came to nothing. */
function reason(job) {
  const open = job.status === "waiting" || job.status === "running";
  return job.reason && open ? `before: ${job.reason}` : job.reason;
}

function row(job) {
  const { command, arguments: args } = job.description;
  const place = job.result ?? job.lease;
  const where = place ? (place.machine_id ? name(place.machine_id) : place.host || place.agent) : "";
  const tries = job.tries > 1 ? make("span", { class: "quiet" }, `try ${job.tries} of ${job.max_tries}`) : "";
  return make("tr", { role: "row", "data-key": job.id },
    cell("Status", badge(job.status), tries),
    cell("Job", make("button", { type: "button", class: "ref", "data-job": job.id }, job.id)),
    cell("Command", make("span", { class: "command" }, [command, args].filter(Boolean).join(" ")),
      make("span", { class: job.status === "failed" ? "fault" : "quiet" }, reason(job))),
    cell("VM", make("span", {}, where)),
    cell("Changed", since(job.changed)));
}

$("#jobs .more").addEventListener("click", more);
