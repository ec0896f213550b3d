// Making elements. Everything that comes from elsewhere becomes text, never markup.

export const $ = (selector, within = document) => within.querySelector(selector);

/** Make an element; properties whose value is undefined are left out. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (name === "onclick") element.addEventListener("click", value);
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** Show these elements; those that are there already and equal stay, and with them focus and selection. */
export function show(parent, elements) {
  tick(parent); // a row that is only older is an equal one
  const key = (element, index) => element.dataset.key ?? String(index);
  const there = new Map([...parent.children].map((child, index) => [key(child, index), child]));
  const wanted = elements.map((element, index) => {
    const old = there.get(key(element, index));
    return old?.isEqualNode(element) ? old : element;
  });
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset : {};
  const kept = new Set(wanted);
  for (const child of there.values()) if (!kept.has(child)) child.remove();
  wanted.forEach((element, index) => {
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
  for (const [name, value] of Object.entries(focused)) {
    if (document.activeElement === document.body) $(`[data-${name}="${CSS.escape(value)}"]`, parent)?.focus();
  }
}

const UNITS = [["day", 86400], ["h", 3600], ["min", 60]];

export function ago(iso) {
  const seconds = Math.max(0, (Date.now() - Date.parse(iso)) / 1000);
  for (const [unit, size] of UNITS) {
    const count = Math.floor(seconds / size);
    if (count >= 1) return `${count} ${unit}${unit === "day" && count > 1 ? "s" : ""}`;
  }
  return `${Math.floor(seconds)} s`;
}

export const clock = (iso) => new Date(iso).toLocaleTimeString([], { hour12: false });
export const moment = (iso) => new Date(iso).toLocaleString([], { hour12: false });

/** A time as its distance from now, which `tick` keeps right. */
export function since(iso) {
  return iso ? make("time", { datetime: iso, title: moment(iso) }, ago(iso)) : "";
}

export function tick(within = document) {
  for (const element of within.querySelectorAll("time[title]")) element.textContent = ago(element.dateTime);
}

/** A state or status, told by its word; the colour only helps. */
export function badge(word) {
  return make("span", { class: "badge", "data-state": word }, word);
}

export function chips(parent, entries, chosen, choose) {
  show(parent, entries.map(([value, label, count]) => make(
    "button",
    { type: "button", class: "chip", "data-value": value, "aria-pressed": String(value === chosen) },
    label, " ", make("b", {}, String(count)),
  )));
  parent.onclick = (event) => {
    const button = event.target.closest("[data-value]");
    if (button) choose(button.dataset.value);
  };
}
