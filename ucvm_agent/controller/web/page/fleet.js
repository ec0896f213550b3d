// The fleet: what needs a person comes first.

import { $, badge, chips, make, show, since } from "./dom.js";

const STATES = [
  "failed", "degraded", "new", "booting", "discovering", "contextualizing", "draining", "working", "ready",
  "offline", "stopped",
];
const SHOWN_JOBS = 4;
const SHORT = 8; // characters of an id
const SHOWN = 500;

const machines = new Map();
let chosen = "";

export function set(all) {
  machines.clear();
  for (const machine of all) machines.set(machine.machine_id, machine);
}

export function put(machine) {
  machines.set(machine.machine_id, machine);
}

export function drop(id) {
  machines.delete(id);
}

/** What people call a VM, in short. */
export function name(id) {
  return machines.get(id)?.host.split(".")[0] || id.slice(0, SHORT);
}

export function render() {
  const all = [...machines.values()].sort(order);
  const counts = new Map();
  for (const machine of all) counts.set(state(machine), (counts.get(state(machine)) ?? 0) + 1);
  if (chosen && !counts.has(chosen)) chosen = "";
  const kinds = STATES.filter((word) => counts.has(word));
  chips($("#fleet .chips"), [["", "all", all.length], ...kinds.map((word) => [word, word, counts.get(word)])],
    chosen, (value) => { chosen = value; render(); });
  const rows = all.filter((machine) => !chosen || state(machine) === chosen).slice(0, SHOWN);
  show($("#fleet tbody"), rows.map(row));
  $("#fleet table").hidden = !rows.length;
  $("#fleet .empty").hidden = rows.length > 0;
}

/** A VM that is away is away, whatever it said last; one that has stopped said so. */
function state(machine) {
  if (!machine.online && machine.state !== "stopped") return "offline";
  return machine.state ?? "new";
}

function order(a, b) {
  const rank = (machine) => STATES.indexOf(state(machine));
  return rank(a) - rank(b) || (a.host || a.machine_id).localeCompare(b.host || b.machine_id, "en", { numeric: true });
}

function row(machine) {
  const faulty = machine.state === "failed" || machine.state === "degraded";
  const jobs = machine.jobs.slice(0, SHOWN_JOBS).map((id) => jobLink(id));
  if (machine.jobs.length > SHOWN_JOBS) jobs.push(make("span", { class: "quiet" }, `+${machine.jobs.length - SHOWN_JOBS}`));
  const word = state(machine);
  const was = word === "offline" && machine.state ? make("span", { class: "quiet" }, `was ${machine.state}`) : "";
  return make("tr", { role: "row", "data-key": machine.machine_id },
    cell("State", badge(word), was),
    cell("VM", make("span", { class: "name", title: machine.machine_id }, machine.host || machine.machine_id)),
    cell("Since", word === "offline" ? since(machine.seen) : since(machine.since)),
    cell("Jobs", make("span", { class: "links" }, jobs)),
    cell("Reason", make("span", { class: faulty ? "fault" : "quiet" }, reason(machine))));
}

/** Why it is as it is; where nothing is wrong now, why it was degraded or failed last. */
function reason(machine) {
  return machine.reason || (machine.failure && `before: ${machine.failure}`);
}

export function cell(label, ...children) {
  return make("td", { role: "cell", "data-label": label }, children);
}

export function jobLink(id) {
  return make("button", { type: "button", class: "ref", "data-job": id, title: id }, id.length > 20 ? id.slice(0, SHORT) : id);
}
