// One job: its facts, and what it writes while it writes it.

import { Problem, Refused, blob, follow, get } from "./api.js";
import { $, badge, make, moment, show } from "./dom.js";
import { name } from "./fleet.js";
import { phase } from "./story.js";

const KEPT = 400_000; // characters of output
const PAUSE = 2000; // ms before a broken stream is begun again

let job = null;
let stream = "stdout";
let tail = null;
let opener = null;

export async function open(id, from) {
  const found = await get(`jobs/${encodeURIComponent(id)}`);
  job = found;
  opener = from;
  render();
  $("#job").hidden = false;
  $("#job-title").focus({ preventScroll: true });
  restart();
}

export function close() {
  tail?.abort();
  const again = job && $(`[data-job="${CSS.escape(job.id)}"]`); // what opened it may have been drawn anew
  job = tail = null;
  $("#job").hidden = true;
  (opener?.isConnected ? opener : again)?.focus({ preventScroll: true });
}

/** Take the job as it is now; when it begins, so does its output. */
export function put(changed) {
  if (changed.id !== job?.id) return;
  const begins = job.status !== "running" && changed.status === "running";
  const ends = !job.result && changed.result && !tail;
  job = changed;
  render();
  if (begins || ends) restart();
}

export function render() {
  if (!job) return;
  $("#job-title").textContent = job.id;
  const { lease, result, description } = job;
  const place = result ?? lease;
  const facts = [
    ["Status", badge(job.status)],
    ["Phase", job.status === "running" && phase(job.id)],
    ["Command", make("code", {}, [description.command, description.arguments].filter(Boolean).join(" "))],
    ["Waits for", job.status === "waiting" && description.ours_only && "an agent of ours: others know only Chirp"],
    ["VM", place && (place.machine_id ? name(place.machine_id) : place.host || place.agent)],
    ["Tries", `${job.tries} of ${job.max_tries}`],
    ["Submitted", moment(job.submitted)],
    ["Changed", moment(job.changed)],
    ["Exit", result && exit(result.exit_status)],
    ["Took", result?.seconds && `${result.seconds.toFixed(1)} s`],
    [["waiting", "running"].includes(job.status) ? "Before" : "Reason", job.reason],
  ].filter(([, value]) => value);
  show($("#facts"), facts.map(([label, value]) => make("div", {}, make("dt", {}, label), make("dd", {}, value))));
  $("#download").hidden = !result;
}

/** A raw wait status, as a shell would tell it. */
function exit(status) {
  return status & 127 ? `signal ${status & 127}` : `code ${status >> 8}`;
}

function restart() {
  tail?.abort();
  $("#log").textContent = "";
  for (const chip of document.querySelectorAll("#job [data-stream]")) {
    chip.setAttribute("aria-pressed", String(chip.dataset.stream === stream));
  }
  tail = new AbortController();
  run(job.id, stream, tail);
}

async function run(id, which, control) {
  const text = new TextDecoder();
  let offset = 0;
  while (!control.signal.aborted) {
    try {
      say("reading …");
      const path = `jobs/${encodeURIComponent(id)}/log?stream=${which}&offset=${offset}`;
      for await (const { kind, data } of follow(path, control.signal)) {
        if (kind === "open") say("live");
        if (kind === "problem") return finish(control, data.error);
        if (kind !== "output") continue;
        const bytes = Uint8Array.from(atob(data.data), (character) => character.charCodeAt(0));
        write(text.decode(bytes, { stream: !data.end }));
        offset = data.offset + bytes.length;
        if (data.end) return finish(control, offset ? "complete" : "nothing was written");
      }
    } catch (error) {
      if (control.signal.aborted) return;
      if (error instanceof Problem) return finish(control, error.message);
      if (error instanceof Refused) return;
    }
    say("reconnecting …");
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

function finish(control, word) {
  if (control !== tail) return;
  tail = null;
  say(word);
}

function say(word) {
  $("#tailing").textContent = word;
}

/** Add to the log, and stay at its end if the reader is there. */
function write(text) {
  const log = $("#log");
  const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  log.append(text.replace(/[^\P{Cc}\n\t]/gu, ""));
  let length = log.textContent.length;
  while (length > KEPT && log.childNodes.length > 1) {
    length -= log.firstChild.length;
    log.firstChild.remove();
  }
  if (atEnd) log.scrollTop = log.scrollHeight;
}

async function download() {
  try {
    const url = URL.createObjectURL(await blob(`jobs/${encodeURIComponent(job.id)}/output`));
    make("a", { href: url, download: `${job.id}.tgz` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    say(error.message);
  }
}

$("#close").addEventListener("click", close);
$("#download").addEventListener("click", download);
$("#job").addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
$("#job .chips").addEventListener("click", (event) => {
  if (event.target.dataset.stream) {
    stream = event.target.dataset.stream;
    restart();
  }
});
