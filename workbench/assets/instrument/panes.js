// The maps on the screen: one, two beside each other with one selection, or what moved between
// two; the colours of their points; and the depth slider, which moves points between layers.

import { button, choice, count, el, number, same } from "./dom.js";
import { MapPane } from "./map.js";
import { categoryColours, rampColour } from "./palette.js";

const MOVE_MS = 650;
const CHOSEN_MS = 100; // where a layer was chosen: an answer, and still seen to move
const STAY_MS = 500;
const MANY = 300_000;
const MODES = [["one", "One"], ["beside", "Side by side"], ["moved", "What moved"]];

export function mapName(map) {
  const [method, pooling, layer, ...rest] = map.split("/").reverse();
  return { encoder: rest.reverse().join("/"), layer: Number(layer), pooling, method };
}

// Codes of one byte: beyond 254 values have no colour of their own, nor has none.
function narrow(wide) {
  const codes = new Uint8Array(wide.length);
  for (let i = 0; i < wide.length; i++) codes[i] = wide[i] < 255 ? wide[i] : 255;
  return codes;
}

// "umap:n_neighbours=50" as people read it.
export function methodName(method) {
  const [kind, settings] = method.split(":");
  const name = kind.length < 5 ? kind.toUpperCase() : kind;
  return settings ? `${name} (${settings.replaceAll("_", " ").replaceAll(",", ", ")})` : name;
}

export class Panes {
  constructor(app) {
    this.app = app;
    this.panes = [];
    this.known = new Map();
    this.isStopped = true;
    this.board = el("div", { class: "board" });
    this.notice = el("p", { class: "empty", hidden: true });
    this.controls = el("div", { class: "control at-top" });
    this.depth = el("div", { class: "control depth" });
    this.tip = el("div", { class: "tip", hidden: true });
    this.host = el(
      "section",
      { class: "maps", "aria-label": "Maps" },
      this.board, this.controls, this.depth, this.notice,
    );
    app.root.append(this.tip);
    const { store } = app;
    store.on(["map", "beside", "mode"], () => app.attempt(() => this.arrange()));
    store.on(["colour"], () => this.colour());
    store.on(["select"], () => this.outline());
  }

  async start() {
    const { maps, columns } = this.app.collection;
    const { store } = this.app;
    const known = maps.map((one) => one.map);
    if (!known.length) return this.tell("There are no maps yet. Make them with: usad project");
    const { state } = store;
    const first = known.includes(state.map) ? state.map : this.preferred(known);
    const beside = known.includes(state.beside) ? state.beside : this.partner(first);
    const colour = columns.some((one) => one.name === state.colour)
      ? state.colour
      : (columns[0]?.name ?? null);
    Object.assign(state, { map: first, beside, colour });
    await this.arrange();
  }

  tell(text) {
    this.notice.textContent = text;
    this.notice.hidden = !text;
  }

  // The deepest layer of the first encoder, students first, by UMAP where there is one.
  preferred(known) {
    const rank = new Map(this.app.collection.spaces.map((one, i) => [one.encoder, i]));
    const ranked = [...known].sort((a, b) =>
      (rank.get(mapName(a).encoder) ?? 1e9) - (rank.get(mapName(b).encoder) ?? 1e9));
    const first = mapName(ranked[0]).encoder;
    const own = known.filter((map) => mapName(map).encoder === first);
    const umap = own.filter((map) => mapName(map).method === "umap");
    const pool = umap.length ? umap : own;
    return pool.reduce((a, b) => (mapName(b).layer >= mapName(a).layer ? b : a));
  }

  // What to show beside a map: another encoder's, or else another layer's.
  partner(map) {
    const own = mapName(map);
    const known = this.app.collection.maps.map((one) => one.map);
    const others = known.filter((one) => mapName(one).encoder !== own.encoder);
    const role = new Map(this.app.collection.spaces.map((one) => [one.encoder, one.role]));
    const teachers = others.filter((one) => role.get(mapName(one).encoder) === "teacher");
    const pool = teachers.length ? teachers : others.length ? others : known;
    const alike = pool.filter((one) => mapName(one).method === own.method);
    return this.preferred(alike.length ? alike : pool);
  }

  // --- panes ---------------------------------------------------------------------------------

  wanted() {
    const { mode, map, beside } = this.app.store.state;
    return mode === "beside" && this.app.view === "map" ? [map, beside] : [map];
  }

  async arrange() {
    const wanted = this.wanted();
    try {
      while (this.panes.length < wanted.length) this.panes.push(this.pane(this.panes.length));
    } catch (error) {
      return this.tell(error.message);
    }
    while (this.panes.length > wanted.length) this.panes.pop().end();
    this.board.replaceChildren(...this.panes.map((pane) => pane.host));
    this.drawControls();
    this.drawDepth();
    await Promise.all(this.panes.map((pane, i) => this.load(pane, wanted[i])));
    this.colour();
    this.outline();
    this.mark();
  }

  pane(i) {
    const { app } = this;
    const pane = new MapPane({
      onPick: (row) => app.focusRow(row),
      onHover: (row, x, y) => this.hover(row, x, y),
      onOutline: (polygon, isNarrower) => {
        const clause = { polygon, map: this.wanted()[i] };
        app.store.clause((one) => !isNarrower && one.polygon, clause);
        this.tool("pan");
      },
      onView: (view) => i === 0 && app.remember(view),
    });
    if (i === 0) pane.view = app.store.state.view;
    pane.theme(app.isDark, app.colours);
    if (this.bits !== undefined) pane.bits = this.bits;
    return pane;
  }

  async load(pane, map) {
    if (pane.map === map) return;
    const isFirst = !pane.map;
    pane.map = map;
    let points;
    try {
      points = await this.app.api.points(map);
    } catch (error) {
      if (pane.map === map) pane.map = null; // so that it is asked for again
      throw error;
    }
    if (pane.map !== map) return;
    pane.put({ labels: [] });
    const before = pane.to;
    if (isFirst || before === points || points.n > MANY || before.n !== points.n) {
      pane.show(points);
      if (isFirst) pane.select(this.bits ?? null);
    } else {
      await this.move(pane, before, points, () => pane.map === map);
    }
    pane.host.dataset.map = pane.map; // what is drawn
    this.app.ready?.();
  }

  // Points on their way from one map to another.
  move(pane, from, to, isWanted = () => true) {
    if (from === to) return pane.show(to);
    return new Promise((done) => {
      const began = performance.now();
      const step = () => {
        const t = Math.min((performance.now() - began) / (this.isStopped ? CHOSEN_MS : MOVE_MS), 1);
        if (!isWanted() || t === 1) {
          if (isWanted()) pane.show(to);
          return done();
        }
        pane.show(from, to, t * t * (3 - 2 * t));
        requestAnimationFrame(step);
      };
      step();
    });
  }

  tool(tool) {
    for (const pane of this.panes) pane.put({ tool });
    this.drawControls();
  }

  outline() {
    const { select } = this.app.store.state;
    for (const pane of this.panes) {
      const own = select.filter((one) => one.polygon && one.map === pane.map);
      pane.put({ outlines: own.map((one) => one.polygon) });
    }
  }

  select(bits) {
    this.bits = bits;
    for (const pane of this.panes) if (pane.from) pane.select(bits);
  }

  async label() {
    const column = this.labelled();
    if (!column) return;
    await Promise.all(this.panes.map(async (pane) => {
      const { map } = pane;
      const { labels } = await this.app.api.json("labels", { map, column });
      if (pane.map === map) pane.put({ labels: labels.sort((a, b) => b.n - a.n) });
    })).catch((error) => this.app.fail(error));
  }

  // Clusters are named by what colours them; a domain or a number names none.
  labelled() {
    const { columns } = this.app.collection;
    const named = columns.filter((one) => one.kind === "category" && one.n_distinct > 4);
    const { colour } = this.app.store.state;
    return (named.find((one) => one.name === colour) ?? named.find((one) => one.name === "label") ??
      named[0])?.name;
  }

  mark(marks = this.marks ?? []) {
    this.marks = marks;
    for (const pane of this.panes) pane.put({ marks, focus: this.app.focused?.row ?? -1 });
  }

  theme() {
    for (const pane of this.panes) pane.theme(this.app.isDark, this.app.colours);
    this.colour();
  }

  // --- colours -------------------------------------------------------------------------------

  async colour() {
    const { colour, mode, map, beside } = this.app.store.state;
    try {
      const found = mode === "moved" ? await this.moved(map, beside) : await this.column(colour);
      if (!same([colour, mode, map], this.coloured())) return;
      for (const pane of this.panes) if (pane.from) pane.colour(found.codes, found.colours);
    } catch (error) {
      this.app.fail(error);
    }
    this.label();
  }

  coloured() {
    const { colour, mode, map } = this.app.store.state;
    return [colour, mode, map];
  }

  async moved(from, to) {
    const codes = new Uint8Array(await this.app.api.keep("moved", { from, to }));
    const colours = Array.from({ length: 255 }, (_, i) => rampColour(i / 254, this.app.isDark));
    return { codes, colours };
  }

  async column(name) {
    const { api, collection, isDark } = this.app;
    const { kind } = collection.columns.find((one) => one.name === name);
    if (kind === "number") {
      const codes = new Uint8Array(await api.keep("numbers", { name }));
      const top = codes.reduce((most, code) => (code < 255 && code > most ? code : most), 1);
      const colours = Array.from({ length: top + 1 }, (_, i) => rampColour(i / top, isDark));
      return { codes, colours };
    }
    const [values, bytes] = await Promise.all([
      this.app.learnValues(name), api.keep("codes", { name }),
    ]);
    const isWide = bytes.byteLength > collection.n_segments;
    const codes = isWide
      ? narrow(new Uint16Array(bytes))
      : new Uint8Array(bytes);
    return { codes, colours: categoryColours(name, values.slice(0, 255), isDark) };
  }

  // --- controls over the map -----------------------------------------------------------------

  drawControls() {
    const { store, collection } = this.app;
    const { state } = store;
    const isLasso = this.panes[0]?.tool === "lasso";
    const columns = collection.columns.map((one) => [one.name, one.name]);
    this.controls.replaceChildren(
      el("label", { class: "field" }, "Colour ",
        choice(columns, state.colour, (colour) => store.set({ colour }), { "aria-label": "Colour" })),
      button("Lasso", () => this.tool(isLasso ? "pan" : "lasso"), {
        "aria-pressed": String(isLasso),
        title: "Draw around points (L, or Shift and drag); with Alt within the selection",
      }),
      this.app.projecting.button, this.app.projecting.host,
      el("span", { class: "gap" }),
      el("div", { class: "switch", role: "group", "aria-label": "Maps" },
        MODES.map(([mode, text]) => button(text, () => store.set({ mode }), {
          "aria-pressed": String(state.mode === mode),
        }))),
    );
    this.panes.forEach((pane, i) => this.drawTitle(pane, this.wanted()[i]));
  }

  drawTitle(pane, map) {
    const { state } = this.app.store;
    const { encoder, layer, method } = mapName(map);
    const text = `${this.app.encoderName(encoder)} · ${layer} · ${methodName(method)}`;
    pane.title.replaceChildren();
    if (state.mode === "beside") pane.title.append(text);
    if (state.mode !== "moved") return;
    const bar = el("i", { class: "ramp" });
    const stops = Array.from({ length: 6 }, (_, i) => rampColour(i / 5, this.app.isDark));
    bar.style.background = `linear-gradient(90deg, ${stops.join(",")})`;
    const other = mapName(state.beside);
    pane.title.append(
      el("span", {}, `neighbours kept from ${this.app.encoderName(other.encoder)} · ${other.layer}`),
      bar, el("span", {}, "all changed"),
    );
  }

  // Maps of the same encoder, pooling and method, by layer.
  layers() {
    const own = mapName(this.app.store.state.map);
    return this.app.collection.maps
      .filter(({ map }) => {
        const one = mapName(map);
        return one.encoder === own.encoder && one.pooling === own.pooling && one.method === own.method;
      })
      .sort((a, b) => mapName(a.map).layer - mapName(b.map).layer);
  }

  drawDepth() {
    const layers = this.layers();
    const { map } = this.app.store.state;
    const at = layers.findIndex((one) => one.map === map);
    const list = layers.map((one) => one.map);
    if (same(list, this.listed) && this.slider) {
      this.slider.value = String(at);
      return this.drawFaith(layers[at]);
    }
    this.listed = list;
    this.faith = el("span", { class: "soft num" });
    this.slider = el("input", {
      type: "range", min: "0", max: String(layers.length - 1), step: "0.02",
      "aria-label": "Depth: layer of the map",
      oninput: () => this.app.attempt(() => this.slide(Number(this.slider.value))),
      onchange: () => this.settle(Math.round(Number(this.slider.value))),
      onkeydown: (event) => this.stepDepth(event),
    });
    this.slider.value = String(at);
    const ticks = el("div", { class: "ticks", "aria-hidden": "true" },
      layers.map((one) => el("span", {}, String(mapName(one.map).layer))));
    this.run = button("▶", () => this.play(), { title: "Play through the layers", class: "small" });
    const isSingle = layers.length < 2;
    this.depth.replaceChildren(
      ...(isSingle ? [] : [this.run, el("span", { class: "soft" }, "depth"),
        el("div", { class: "track" }, this.slider, ticks)]),
      this.faith,
    );
    this.drawFaith(layers[at]);
  }

  drawFaith(one) {
    if (!one) return;
    const { n_segments } = this.app.collection;
    const kept = one.trustworthiness === null || one.trustworthiness === undefined
      ? "" : `keeps ${number(one.trustworthiness)} · `;
    this.faith.textContent = one.n === n_segments
      ? `${kept}all ${count(one.n)} drawn` : `${kept}${count(one.n)} of ${count(n_segments)} drawn`;
    this.faith.title = one.said;
  }

  stepDepth(event) {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const at = Math.round(Number(this.slider.value)) + step;
    this.settle(Math.max(0, Math.min(this.listed.length - 1, at)));
  }

  // Between two layers; the points of both are fetched once.
  async slide(value) {
    this.isStopped = true;
    const i = Math.min(Math.floor(value), this.listed.length - 2);
    const both = await Promise.all([this.pointsOf(i), this.pointsOf(i + 1)]);
    if (Number(this.slider.value) !== value) return;
    this.panes[0].put({ labels: [], outlines: [] });
    this.panes[0].show(...both, value - i);
  }

  // Always the same object for the same map, so that nothing is sent to the card twice.
  async pointsOf(i) {
    const map = this.listed[i];
    if (!this.known.has(map)) this.known.set(map, await this.app.api.points(map));
    if (this.known.size > 16) this.known.delete(this.known.keys().next().value);
    return this.known.get(map);
  }

  // At rest on a layer: what was between two stays where it is, what was at rest moves there.
  async settle(i) {
    const [pane] = this.panes;
    const map = this.listed[i];
    if (pane.from !== pane.to) {
      const points = await this.app.attempt(() => this.pointsOf(i));
      if (points) {
        pane.map = map;
        pane.show(points);
      }
    }
    this.app.store.set({ map });
    this.slider.value = String(i);
    this.outline();
    this.label();
  }

  async play() {
    if (!this.isStopped) return (this.isStopped = true);
    this.isStopped = false;
    this.run.textContent = "❚❚";
    const { length } = this.listed;
    let at = Math.round(Number(this.slider.value));
    if (at === length - 1) at = -1;
    while (!this.isStopped && ++at < length) {
      this.app.store.set({ map: this.listed[at] });
      await new Promise((done) => setTimeout(done, MOVE_MS + STAY_MS));
    }
    this.isStopped = true;
    this.run.textContent = "▶";
  }

  // --- what is under the pointer -------------------------------------------------------------

  hover(row, x, y) {
    clearTimeout(this.waiting);
    if (row < 0) {
      this.tip.hidden = true;
      this.hovered = -1;
      return;
    }
    if (row !== this.hovered) this.tip.hidden = true;
    this.hovered = row;
    this.waiting = setTimeout(async () => {
      const one = await this.app.describe({ row }).catch(() => null);
      if (!one || this.hovered !== row) return;
      this.showTip(one, x, y);
      if (this.app.store.state.play === "hover") this.app.focusRow(row);
    }, 90);
  }

  showTip(one, x, y) {
    const frame = this.app.root.getBoundingClientRect();
    this.tip.replaceChildren(
      el("b", {}, one.clip_id),
      el("span", {}, `${one.domain ?? ""} · ${one.label ?? ""}`),
    );
    this.tip.hidden = false;
    const width = this.tip.offsetWidth;
    this.tip.style.left = `${Math.min(x - frame.left + 14, frame.width - width - 8)}px`;
    this.tip.style.top = `${y - frame.top + 14}px`;
  }

  end() {
    this.isStopped = true;
    for (const pane of this.panes) pane.end();
  }
}
