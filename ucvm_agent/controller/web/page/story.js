// The events of all VMs, the last one first.

import { $, clock, make, moment, show } from "./dom.js";
import { name } from "./fleet.js";

const KEPT = 100;
const TONES = { ready: "good", degraded: "bad", failed: "bad" };

let entries = [];

export function set(all) {
  entries = [...all].reverse();
}

/** The phase in which a job was when its VM last told of it; empty if that is too long ago. */
export function phase(job) {
  return entries.find(({ event }) => event.body.kind === "job" && event.body.job_id === job)?.event.body.phase ?? "";
}

export function put(entry) {
  if (entries[0]?.number >= entry.number) return;
  entries = [entry, ...entries].slice(0, KEPT);
}

/** A VM that is gone takes its events with it. */
export function drop(id) {
  entries = entries.filter(({ event }) => event.machine_id !== id);
}

export function render() {
  show($("#events .story"), entries.map(line));
  $("#events .empty").hidden = entries.length > 0;
}

function line({ number, host, event }) {
  const [text, tone] = tell(event.body);
  return make("li", { "data-key": String(number), "data-tone": tone },
    make("span", { class: "when", title: moment(event.time) }, clock(event.time)),
    make("span", { class: "who", title: event.machine_id }, host.split(".")[0] || name(event.machine_id)),
    make("span", { class: "what" }, text));
}

const because = (text, reason) => (reason ? `${text}: ${reason}` : text);

/** What an event says, and whether it is good, bad or neither. */
function tell(body) {
  switch (body.kind) {
    case "state":
      return [because(body.state, body.reason), TONES[body.state] ?? ""];
    case "context":
      return [`context from ${body.source}` + (body.errors ? `, ${body.errors} errors` : ""), body.errors ? "bad" : ""];
    case "action":
      return [because(`${body.contextualizer}: ${body.action} ${body.target} ${body.result}`, body.reason),
        body.result === "failed" ? "bad" : ""];
    case "contextualized":
      return [`contextualized: ${body.changed} changed, ${body.failed} failed`, body.failed ? "bad" : "good"];
    case "job":
      return [because(`job ${body.job_id} ${body.phase}`, body.reason),
        ["refused", "lost"].includes(body.phase) ? "bad" : ""];
    default:
      return [body.message ?? body.kind, ""];
  }
}
