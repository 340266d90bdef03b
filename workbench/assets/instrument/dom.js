// Elements, numbers and small helpers. Texts become text nodes: names of clips and labels are
// data of somebody else and are never read as HTML.

export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export function button(text, act, attributes = {}) {
  return el("button", { type: "button", onclick: act, ...attributes }, text);
}

export function choice(options, value, act, attributes = {}) {
  const select = el("select", { onchange: () => act(select.value), ...attributes });
  for (const [key, text] of options) {
    select.append(el("option", { value: key, selected: key === value }, text));
  }
  return select;
}

export const count = (n) => Math.round(n).toLocaleString("en-US");

export function number(value) {
  if (!Number.isFinite(value)) return "";
  const size = Math.abs(value);
  if (size >= 1000) return count(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

export function duration(seconds) {
  if (seconds < 90) return `${number(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${count(seconds / 3600)} h`;
}

export function shorten(text, length) {
  const whole = String(text ?? "");
  return whole.length <= length ? whole : `${whole.slice(0, length - 1)}…`;
}

export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// Only the last of many calls counts: a filter that is dragged asks once it rests.
export function debounce(act, wait_ms) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...values), wait_ms);
  };
}

const FOCUSABLE = ":is(button, input, select, a[href]):not(:disabled)";
const nameOf = (one) => one.dataset.key ?? one.getAttribute("aria-label") ?? one.textContent;

// Draws a host anew, and leaves the keyboard where it was: on what has the same name, else on
// what stands in the same place.
export function redraw(host, ...children) {
  const root = host.getRootNode();
  const at = root.activeElement;
  const place = at && at !== host && host.contains(at) ? [...host.querySelectorAll(FOCUSABLE)].indexOf(at) : -1;
  host.replaceChildren(...children);
  if (place < 0) return;
  const now = [...host.querySelectorAll(FOCUSABLE)];
  const same = now.find((one) => nameOf(one) === nameOf(at)) ?? now[Math.min(place, now.length - 1)];
  same?.focus({ preventScroll: true });
}

// Follows a pointer that is held down, until it is let go or taken away by the system.
export function follow(host, event, move, end) {
  host.setPointerCapture(event.pointerId);
  const stop = ({ type }) => {
    host.removeEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) host.removeEventListener(name, stop);
    end(type === "pointercancel");
  };
  host.addEventListener("pointermove", move);
  for (const name of ["pointerup", "pointercancel"]) host.addEventListener(name, stop);
}

// A small window under a button, closed by Escape, by another click or by its own act.
export function popover(anchor, root, ...children) {
  root.querySelector(".popover")?.close();
  const box = el("div", { class: "popover", role: "dialog" }, ...children);
  const frame = root.getBoundingClientRect();
  const place = anchor.getBoundingClientRect();
  root.append(box);
  const size = box.getBoundingClientRect();
  const left = Math.min(place.left - frame.left, frame.width - size.width - 8);
  const below = place.bottom - frame.top + 4;
  const above = place.top - frame.top - size.height - 4;
  box.style.left = `${Math.max(left, 8)}px`;
  box.style.top = `${below + size.height > frame.height ? above : below}px`;
  const inside = (event) => event.composedPath().includes(box);
  const outside = (event) => inside(event) || close();
  const escape = (event) => event.key === "Escape" && (event.stopPropagation(), close());
  function close() {
    removeEventListener("pointerdown", outside, true);
    box.remove();
    const again = () => [...root.querySelectorAll(FOCUSABLE)].find((one) => nameOf(one) === nameOf(anchor));
    (anchor.isConnected ? anchor : again())?.focus();
  }
  box.close = close;
  setTimeout(() => box.isConnected && addEventListener("pointerdown", outside, true));
  box.addEventListener("keydown", escape);
  box.querySelector(FOCUSABLE)?.focus();
  return close;
}
