// The API as the page uses it. The token is kept for this tab only, and is never part of a URL.

const KEY = "ucvm-token";
const API = "api/v1/";
const SILENCE = 25_000; // ms; a stream gives a sign of life every ten seconds

export class Refused extends Error {}

export class Problem extends Error {
  constructor(status, body) {
    super(body.hint ? `${body.error} (${body.hint})` : body.error);
    this.status = status;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

async function ask(path, signal) {
  const headers = { Authorization: `Bearer ${token.get()}` };
  const response = await fetch(API + path, { headers, signal, cache: "no-store" });
  if (response.status === 401) throw new Refused();
  if (!response.ok) throw new Problem(response.status, await response.json());
  return response;
}

export async function get(path) {
  return (await ask(path, AbortSignal.timeout(SILENCE))).json();
}

export async function blob(path) {
  return (await ask(path)).blob();
}

/** Yield `{kind, data}` from a stream of server-sent events until it ends; throws if it falls silent. */
export async function* follow(path, signal) {
  const silent = new AbortController();
  let watch = setTimeout(() => silent.abort(), SILENCE);
  try {
    const response = await ask(path, AbortSignal.any([silent.signal, ...(signal ? [signal] : [])]));
    yield { kind: "open", data: null };
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(() => silent.abort(), SILENCE);
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event) yield event;
      }
    }
  } finally {
    clearTimeout(watch);
    silent.abort();
  }
}

function parse(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return fields.event ? { kind: fields.event, data: JSON.parse(fields.data) } : null;
}
