// One map: a camera over the points, labels and outlines on a second canvas, and what a pointer
// or the keyboard does. While one moves, only so many points are drawn as keep the motion smooth
// (found by watching the clock); at rest all of them.

import { count, el, follow } from "./dom.js";
import { Nearest } from "./nearest.js";
import { colourBytes, texture } from "./palette.js";
import { Points } from "./points.js";

const REST_MS = 160;
const CLICK_PX = 4;
const REACH_PX = 14;
const NONE = 65535;
const MAX_CORNERS = 60;
const TOP_PX = 46;
const BOTTOM_PX = 58; // of the controls that lie over the map
const NOT_MOVING = "arrows move, plus and minus zoom, 0 shows all, Enter hears the point in the " +
  "middle, Shift and Enter select what is in view, L draws an outline";

export class MapPane {
  // `acts`: onPick(row), onHover(row or -1, x, y), onOutline(corners, isAdding), onView(view).
  constructor(acts) {
    this.acts = acts;
    this.canvas = el("canvas", { class: "points" });
    this.over = el("canvas", { class: "over" });
    this.title = el("div", { class: "pane-title" });
    this.host = el(
      "div",
      { class: "pane", tabindex: "0", role: "application", "aria-label": "Map" },
      this.canvas, this.over, this.title,
    );
    this.points = new Points(this.canvas);
    Object.assign(this, {
      from: null, to: null, blend: 1, view: null, fit: [0.5, 0.5, 1, 1], bits: null, focus: -1,
      marks: [], labels: [], outlines: [], drawn: [], tool: "pan", budget: 60_000, moved_ms: 0,
      isDark: false, nearest: null, isAsked: false, isStale: true,
    });
    this.listen();
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(this.host);
  }

  listen() {
    const { host } = this;
    host.addEventListener("pointerdown", (event) => this.press(event));
    host.addEventListener("pointermove", (event) => this.hover(event));
    host.addEventListener("pointerleave", () => this.acts.onHover(-1));
    host.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    host.addEventListener("dblclick", () => this.look(null));
    host.addEventListener("keydown", (event) => this.key(event));
  }

  // --- what is shown -------------------------------------------------------------------------

  show(from, to = from, blend = 1) {
    const isNew = from !== this.from || to !== this.to;
    if (isNew) {
      this.points.place(from, to);
      this.nearest = null;
      [this.from, this.to] = [from, to];
    }
    this.blend = blend;
    const [a, b] = [bounds(from), bounds(to)];
    this.fit = a.map((value, i) => value + (b[i] - value) * blend);
    this.host.setAttribute("aria-label", `Map of ${count(from.n)} segments: ${NOT_MOVING}`);
    this.ask(!isNew);
  }

  colour(codes, colours) {
    this.points.codes(codes);
    this.colours = colours;
    this.points.colours(texture(colours, this.isDark));
    this.ask();
  }

  select(bits) {
    this.bits = bits;
    this.points.select(bits);
    this.ask();
  }

  // What lies over the points: they themselves stay as they are drawn.
  put(changes) {
    Object.assign(this, changes);
    this.frame();
  }

  theme(isDark, colours) {
    this.isDark = isDark;
    this.theme_colours = colours;
    if (this.colours) this.points.colours(texture(this.colours, isDark));
    this.ask();
  }

  isSelected(row) {
    return !this.bits || ((this.bits[row >> 3] >> (row & 7)) & 1) === 1;
  }

  // --- the camera: centre and pixels per unit of the map -------------------------------------

  camera() {
    const [width, height] = [this.host.clientWidth, this.host.clientHeight];
    const [x, y, zoom] = this.view ?? [this.fit[0], this.fit[1], 1];
    const free = Math.max(height - TOP_PX - BOTTOM_PX, 50);
    const room = Math.min((width - 24) / this.fit[2], free / this.fit[3]);
    return { x, y, zoom, width, height, middle: TOP_PX + free / 2, unit: room * 0.96 * zoom };
  }

  screen(x, y) {
    const at = this.camera();
    return [at.width / 2 + (x - at.x) * at.unit, at.middle - (y - at.y) * at.unit];
  }

  place(left, top) {
    const at = this.camera();
    return [at.x + (left - at.width / 2) / at.unit, at.y - (top - at.middle) / at.unit];
  }

  look(view) {
    this.view = view;
    this.ask(true);
    this.acts.onView(view);
  }

  pan(dx, dy) {
    const at = this.camera();
    this.look([at.x - dx / at.unit, at.y + dy / at.unit, at.zoom]);
  }

  zoom(factor, left, top) {
    const at = this.camera();
    const zoom = Math.max(0.5, Math.min(400, at.zoom * factor));
    const kept = 1 - at.zoom / zoom;
    const [x, y] = this.place(left ?? at.width / 2, top ?? at.middle);
    this.look([at.x + (x - at.x) * kept, at.y + (y - at.y) * kept, zoom]);
  }

  // --- pointer and keyboard ------------------------------------------------------------------

  spot(event) {
    const frame = this.host.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  press(event) {
    if (event.button !== 0 || event.target.closest(".control")) return;
    const start = this.spot(event);
    const isOutline = this.tool === "lasso" || event.shiftKey;
    const trace = [this.place(...start)];
    let [last, far] = [start, 0];
    const move = (next) => {
      const now = this.spot(next);
      far = Math.max(far, Math.hypot(now[0] - start[0], now[1] - start[1]));
      if (isOutline) {
        if (Math.hypot(now[0] - last[0], now[1] - last[1]) < 3) return;
        trace.push(this.place(...now));
        this.put({ drawn: trace });
      } else if (far > CLICK_PX) {
        this.pan(now[0] - last[0], now[1] - last[1]);
      }
      last = now;
    };
    follow(this.host, event, move, (isCancelled) => {
      this.put({ drawn: [] });
      if (isCancelled) return;
      if (far <= CLICK_PX) return this.pick(...start);
      if (isOutline && trace.length > 2) this.acts.onOutline(simplify(trace), event.altKey);
    });
  }

  under(left, top) {
    if (!this.to) return -1;
    this.nearest ??= new Nearest(this.to);
    const reach = REACH_PX / this.camera().unit;
    const [x, y] = this.place(left, top);
    const chosen = this.nearest.find(x, y, reach, (row) => this.isSelected(row));
    return chosen >= 0 ? chosen : this.nearest.find(x, y, reach);
  }

  pick(left, top) {
    const row = this.under(left, top);
    if (row >= 0) this.acts.onPick(row);
  }

  hover(event) {
    if (event.buttons || this.drawn.length) return this.acts.onHover(-1);
    const [left, top] = this.spot(event);
    const row = event.target.closest(".control") ? -1 : this.under(left, top);
    this.host.style.cursor = this.tool === "lasso" ? "crosshair" : row < 0 ? "grab" : "pointer";
    this.acts.onHover(row, event.clientX, event.clientY);
  }

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 24 : 1;
    this.zoom(Math.exp(-event.deltaY * lines * 0.0016), ...this.spot(event));
  }

  key(event) {
    const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
    const { width, height } = this.camera();
    if (event.target !== this.host || event.ctrlKey || event.metaKey) return;
    if (step[event.key]) this.pan(...step[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.3);
    else if (event.key === "-") this.zoom(1 / 1.3);
    else if (event.key === "0") this.look(null);
    else if (event.key === "Enter" && event.shiftKey) {
      const corners = [[0, 0], [width, 0], [width, height], [0, height]];
      this.acts.onOutline(corners.map(([x, y]) => this.place(x, y)), false);
    } else if (event.key === "Enter") this.pickMiddle();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // The nearest point to the middle however far, so that Enter always answers.
  pickMiddle() {
    this.nearest ??= new Nearest(this.to);
    const { x, y } = this.camera();
    for (let reach = 0.01; reach < 2; reach *= 2) {
      const row = this.nearest.find(x, y, reach, (one) => this.isSelected(one));
      if (row >= 0) return this.acts.onPick(row);
    }
  }

  // --- drawing -------------------------------------------------------------------------------

  resize() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [this.host.clientWidth, this.host.clientHeight].map((side) =>
      Math.max(1, Math.round(side * ratio)));
    this.points.resize(width, height);
    [this.over.width, this.over.height] = [width, height];
    this.ask();
  }

  ask(isMoving = false) {
    if (isMoving) this.moved_ms = performance.now();
    this.isStale = true;
    this.frame();
  }

  frame() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => {
      this.isAsked = false;
      if (this.host.isConnected) this.draw();
    });
  }

  draw() {
    if (!this.from || !this.theme_colours) return;
    this.drawOver();
    if (!this.isStale) return;
    this.isStale = false;
    const began = performance.now();
    const isMoving = began - this.moved_ms < REST_MS;
    const n = isMoving ? Math.min(this.budget, this.from.n) : this.from.n;
    this.drawPoints(n);
    if (!isMoving || n === this.from.n) return;
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.ask(), REST_MS);
    this.watch(began);
  }

  // More points where a frame is quick, fewer where it is slow.
  watch(began) {
    requestAnimationFrame(() => {
      const spent_ms = performance.now() - began;
      if (spent_ms < 20) this.budget = Math.min(this.budget * 1.5, 4_000_000);
      else if (spent_ms > 45) this.budget = Math.max(this.budget / 1.5, 10_000);
    });
  }

  drawPoints(n) {
    const ratio = devicePixelRatio || 1;
    const at = this.camera();
    const area = this.fit[2] * this.fit[3] * at.unit ** 2 * 0.35;
    const room = Math.sqrt(area / Math.max(this.from.n, 1));
    const size = Math.max(2, Math.min(8.5, 0.6 * room)) * ratio;
    const crowd = (size / ratio / room) ** 2;
    this.points.draw({
      n,
      size,
      blend: this.blend,
      centre: [at.x, at.y + (at.middle - at.height / 2) / at.unit],
      scale: [(2 * at.unit) / at.width, (2 * at.unit) / at.height],
      strength: Math.max(0.08, Math.min(4, 1.2 / crowd)),
      grey: colourBytes(this.theme_colours.grey),
    });
  }

  drawOver() {
    const ratio = devicePixelRatio || 1;
    const pen = this.over.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.over.width, this.over.height);
    for (const outline of [...this.outlines, this.drawn]) this.drawOutline(pen, outline);
    if (this.blend === 1 || this.from === this.to) this.drawLabels(pen);
    for (const { row, colour, width } of [...this.marks, { row: this.focus, width: 2.5 }]) {
      const place = this.at(row);
      if (!place) continue;
      pen.lineWidth = width;
      pen.strokeStyle = colour ?? this.theme_colours.ink;
      pen.beginPath();
      pen.arc(...this.screen(...place), 7.5, 0, 7);
      pen.stroke();
    }
  }

  // Where a row is right now, between the two maps.
  at(row) {
    const { from, to, blend } = this;
    if (row < 0 || !to || (to.x[row] === NONE && to.y[row] === NONE)) return null;
    const mix = (a, b) => (a[row] + (b[row] - a[row]) * blend) / NONE;
    return [mix(from.x, to.x), mix(from.y, to.y)];
  }

  drawOutline(pen, corners) {
    if (corners.length < 2) return;
    pen.beginPath();
    for (const corner of corners) pen.lineTo(...this.screen(...corner));
    pen.closePath();
    pen.fillStyle = `${this.theme_colours.accent}18`;
    pen.fill();
    pen.lineWidth = 1.4;
    pen.setLineDash([5, 4]);
    pen.strokeStyle = this.theme_colours.accent;
    pen.stroke();
    pen.setLineDash([]);
  }

  // The heaviest labels first; one that would cover another waits until one zooms in.
  drawLabels(pen) {
    const taken = [];
    const { zoom, width, height } = this.camera();
    const limit = Math.round(14 * Math.sqrt(zoom));
    pen.font = `600 11.5px ${this.theme_colours.font}`;
    pen.textAlign = "center";
    pen.lineJoin = "round";
    for (const { text, x, y } of this.labels) {
      if (taken.length >= limit) break;
      const short = text.length > 24 ? `${text.slice(0, 23)}…` : text;
      const [left, top] = this.screen(x, y);
      const half = pen.measureText(short).width / 2 + 4;
      if (left < half || left > width - half || top < 16 || top > height - 8) continue;
      const isFree = taken.every(
        ([a, b, c]) => Math.abs(a - left) > c + half || Math.abs(b - top) > 16,
      );
      if (!isFree) continue;
      taken.push([left, top, half]);
      pen.lineWidth = 3.5;
      pen.strokeStyle = this.theme_colours.card;
      pen.strokeText(short, left, top + 4);
      pen.fillStyle = this.theme_colours.ink;
      pen.fillText(short, left, top + 4);
    }
  }

  end() {
    this.watcher.disconnect();
    clearTimeout(this.rest);
    this.points.end();
  }
}

// Middle, width and height of the points, without the few that lie far out.
function bounds(points) {
  if (points.bounds) return points.bounds;
  const axis = (values) => {
    const kept = Array.from(values.subarray(0, 20_000)).filter((value) => value !== NONE);
    kept.sort((a, b) => a - b);
    const low = kept[Math.floor(kept.length * 0.001)] ?? 0;
    const high = kept[Math.ceil(kept.length * 0.999) - 1] ?? NONE;
    return [(low + high) / 2 / NONE, Math.max(high - low, 64) / NONE];
  };
  const [x, width] = axis(points.x);
  const [y, height] = axis(points.y);
  points.bounds = [x, y, width, height];
  return points.bounds;
}

// As many corners as an address can carry, rounded to the grid that points lie on.
function simplify(trace) {
  const step = Math.max(1, trace.length / MAX_CORNERS);
  const kept = Array.from({ length: Math.ceil(trace.length / step) }, (_, i) => trace[Math.floor(i * step)]);
  return kept.map((corner) => corner.map((value) => Math.round(value * 1e4) / 1e4));
}
