// The instrument: map, filters, sound, table and search on one screen. The page comes first, then
// the collection and its map; everything else arrives on its own.

import { Api, Outdated } from "./api.js";
import { Bar } from "./bar.js";
import { choice, count, duration, el, redraw } from "./dom.js";
import { Facets } from "./facets.js";
import { categoryColours } from "./palette.js";
import { mapName, methodName, Panes } from "./panes.js";
import { Player } from "./player.js";
import { Projecting } from "./projecting.js";
import { Search } from "./search.js";
import { Store } from "./state.js";
import { Table } from "./table.js";

const SAID_MS = 4000;
const READ_MS = 60; // a character
const KNOWN = 5000;

export class Instrument {
  constructor(parent, root, view) {
    this.view = view; // which part is large: the map, or the search
    this.store = new Store();
    this.api = new Api(root, () => this.restart());
    this.known = new Map();
    this.rows = new Map();
    this.tags = [];
    this.root = el("div", { class: `instrument view-${view}`, tabindex: "-1" });
    parent.append(this.root);
    this.theme();
    this.player = new Player(this);
    this.table = new Table(this);
    this.facets = new Facets(this);
    this.search = new Search(this);
    this.bar = new Bar(this);
    this.projecting = new Projecting(this);
    this.panes = new Panes(this);
    this.message = el("div", { class: "message", role: "status", "aria-live": "polite", hidden: true });
    this.top = el("header", { class: "top" });
    const [large, beside] = view === "search"
      ? [this.search.host, this.panes.host] : [this.panes.host, this.search.host];
    large.classList.add("large");
    this.root.append(
      el("h1", { class: "unseen" }, view === "search" ? "Search" : "Map"), this.top, this.facets.host, large,
      this.bar.host, this.table.host, el("aside", { class: "side" }, this.player.host, beside), this.message,
    );
    this.keys = (event) => this.key(event);
    this.keysUp = (event) => this.keyUp(event);
    addEventListener("keydown", this.keys, true);
    addEventListener("keyup", this.keysUp, true);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.onchange = () => this.theme();
    this.store.on(["select"], () => this.select());
    this.store.on(["map", "beside"], () => this.drawTop());
    this.search.draw(null);
    this.start();
  }

  async start() {
    try {
      this.panes.tell("");
      this.collection = await this.api.json("collection");
      this.api.version = this.collection.version;
      this.store.belongTo(this.collection.name);
      this.tags = this.collection.tags;
      this.bar.tell(this.collection.n_segments, this.collection.n_segments);
      this.values = new Map();
      const shown = this.panes.start();
      this.drawTop();
      this.attempt(() => this.learnValues("domain"));
      this.facets.load();
      this.table.load();
      this.select();
      this.reopen();
      await shown;
      this.root.dataset.ready = "true";
      this.projecting.resume();
    } catch (error) {
      // It stays: there is nothing else on the page.
      if (!(error instanceof Outdated)) this.panes.tell(error.message);
    }
  }

  // The workspace has changed: other programs write to it while it is shown.
  restart() {
    this.isOutdated = true;
    this.restarting ??= this.reload().finally(() => (this.restarting = null));
    return this.restarting;
  }

  // Again where they write while it is loaded.
  async reload() {
    while (this.isOutdated && !this.isEnded) {
      this.isOutdated = false;
      this.api.version = null;
      this.panes.panes.forEach((pane) => (pane.map = null));
      for (const kept of [this.panes.known, this.known, this.rows]) kept.clear();
      await this.start();
    }
  }

  // What the link says was heard and looked for.
  async reopen() {
    const { state } = this.store;
    const asked = this.view === "search" ? state.for.find(Number.isInteger) : null;
    const focus = state.focus ?? asked ?? null;
    if (focus !== null) {
      const row = await this.describe({ segment: focus }).catch(() => null);
      // What is heard goes on where others have only written to the collection.
      if (row && this.focused?.segment_id === focus) this.redescribe();
      else if (row) this.hear(row, { isHeard: false });
      else this.focused = null;
      this.panes.mark();
      this.bar.draw();
    }
    this.search.load();
  }

  // The values of a column in the order of their codes, which is that of their colours.
  async learnValues(name) {
    const isNamed = this.collection.columns.some((one) => one.name === name && one.kind === "category");
    if (!isNamed) return [];
    if (!this.values.has(name)) {
      const { values } = await this.api.json("categories", { name });
      this.values.set(name, values);
      this.facets.draw();
      if (name === "domain") this.table.draw();
    }
    return this.values.get(name);
  }

  valuesOf(name) {
    return this.values?.get(name);
  }

  domainColour(domain) {
    const values = this.valuesOf("domain") ?? [];
    return categoryColours("domain", values, this.isDark)[values.indexOf(domain)] ?? "transparent";
  }

  // --- one segment ---------------------------------------------------------------------------

  learn(rows) {
    for (const row of rows) {
      this.known.set(row.segment_id, row);
      this.rows.set(row.row, row.segment_id);
    }
    if (this.known.size > KNOWN) [this.known, this.rows] = [new Map(), new Map()];
  }

  async describe({ row, segment }) {
    const found = this.known.get(segment ?? this.rows.get(row));
    if (found) return found;
    const one = await this.api.json("row", row === undefined ? { segment } : { row });
    this.learn([one]);
    return one;
  }

  async focusRow(row) {
    const one = await this.attempt(() => this.describe({ row }));
    if (one) this.focus(one);
  }

  focus(row, { isAll = false } = {}) {
    if (!isAll) this.stopAll();
    this.hear(row, { isHeard: isAll || this.store.state.play !== "off" });
    this.store.set({ focus: row.segment_id }, { undo: false });
  }

  hear(row, how) {
    this.focused = row;
    this.player.load(row, how);
    this.panes.mark();
    this.bar.draw();
  }

  stopAll() {
    this.bar.stopAll();
    this.search.hits.stop();
    this.player.stop();
  }

  // The sound before or after the one that is heard: among the hits where it is one of them.
  step(by) {
    return (this.view === "search" && this.search.hits.step(by)) || this.table.step(by);
  }

  // A sound has come to its end: the next one, while several are played.
  async heard() {
    if (this.search.hits.isPlaying) return this.search.hits.next() || this.search.hits.stop();
    if (!this.bar.isPlaying) return;
    const row = await this.table.row(this.table.place() + 1);
    if (!row || row === this.focused) return this.bar.stopAll();
    this.table.reveal(this.table.place() + 1);
    this.focus(row, { isAll: true });
  }

  // --- selection -----------------------------------------------------------------------------

  async select() {
    const { select } = this.store.state;
    const { n_segments } = this.collection;
    if (!select.length) {
      this.panes.select(null);
      return this.bar.tell(n_segments, n_segments);
    }
    const mask = await this.attempt(() => this.api.mask(select));
    if (select !== this.store.state.select) return;
    // A link may name what is not there any more: then nothing is selected.
    this.panes.select(mask?.bits ?? new Uint8Array(Math.ceil(n_segments / 8)));
    this.bar.tell(mask?.selected ?? 0, n_segments);
  }

  setTags(tags) {
    this.tags = tags;
    this.known.clear();
    this.facets.draw();
    this.table.load();
    this.redescribe();
    if (this.store.state.select.some((one) => one.tag)) this.select();
  }

  // What is heard may have got a tag or lost one.
  async redescribe() {
    const segment = this.focused?.segment_id;
    if (segment === undefined) return;
    const row = await this.attempt(() => this.describe({ segment }));
    if (!row || this.focused.segment_id !== segment) return;
    this.focused = row;
    this.player.describe(row);
    this.panes.mark();
  }

  // --- the top of the screen -----------------------------------------------------------------

  spaceOf(map) {
    return map.split("/").slice(0, -1).join("/");
  }

  spaceName(space) {
    const [, layer, ...rest] = space.split("/").reverse();
    return `${this.encoderName(rest.reverse().join("/"))} · ${layer}`;
  }

  // Short where its name is a path.
  encoderName(encoder) {
    return this.collection.spaces.find((one) => one.encoder === encoder)?.name ?? encoder;
  }

  space() {
    const { map } = this.store.state;
    return map ? this.spaceOf(map) : null;
  }

  drawTop() {
    const { name, n_clips, duration_s, maps } = this.collection;
    const { map, beside } = this.store.state;
    const parts = [
      el("b", { class: "name" }, name),
      el("span", { class: "soft num about" },
        [`${count(n_clips)} clips`, duration_s ? duration(duration_s) : ""].filter((one) => one).join(" · ")),
    ];
    if (map) {
      parts.push(this.mapChoice(map, "map", "Map"));
      if (maps.length > 1 && this.view === "map") parts.push(el("span", { class: "soft" }, "beside"), this.mapChoice(beside, "beside", "Map beside"));
    }
    redraw(this.top, ...parts, this.search.top);
  }

  // An encoder and one of its layers, of the same method where there is one.
  mapChoice(map, key, text) {
    const { maps } = this.collection;
    const own = mapName(map);
    const encoders = [...new Set(maps.map((one) => mapName(one.map).encoder))];
    const of = (encoder) => maps.map((one) => one.map).filter((one) => mapName(one).encoder === encoder);
    const near = (encoder) => of(encoder).sort((a, b) =>
      (mapName(b).method === own.method) - (mapName(a).method === own.method) ||
      Math.abs(mapName(a).layer - own.layer) - Math.abs(mapName(b).layer - own.layer))[0];
    const show = (one) => {
      const { layer, method, pooling } = mapName(one);
      return `layer ${layer} · ${methodName(method)}${pooling === "mean" ? "" : ` · ${pooling}`}`;
    };
    return el("span", { class: "space" },
      choice(encoders.map((one) => [one, this.encoderName(one)]), own.encoder,
        (encoder) => this.store.set({ [key]: near(encoder) }), { "aria-label": `${text}: encoder` }),
      choice(of(own.encoder).map((one) => [one, show(one)]), map,
        (one) => this.store.set({ [key]: one }), { "aria-label": `${text}: layer` }));
  }

  // --- keyboard, theme, messages -------------------------------------------------------------

  key(event) {
    const [target] = event.composedPath();
    const isTyping = target.matches?.("input:not([type=checkbox]):not([type=range]), textarea, select");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    const isButton = target.matches?.("button, a, [role=checkbox], input");
    const acts = {
      j: () => this.step(1), k: () => this.step(-1),
      t: () => this.bar.askTag(this.bar.host.querySelector(".tag")),
      s: () => this.search.fromHeard(), l: () => this.panes.tool("lasso"),
      z: () => this.bar.undo(), "/": () => this.search.words.focus(),
      Escape: () => this.escape(), r: () => event.repeat || this.search.listening || this.search.record(),
    };
    if (!isButton) acts[" "] = () => this.player.playOrPause();
    // Of a map and of a slider they are its own.
    if (!target.matches?.("input, .pane")) {
      Object.assign(acts, { ArrowDown: () => this.step(1), ArrowUp: () => this.step(-1) });
    }
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    act();
  }

  keyUp(event) {
    if (event.key.toLowerCase() === "r") this.search.stopRecording();
  }

  escape() {
    const popover = this.root.querySelector(".popover");
    if (popover) popover.close();
    else if (this.panes.panes[0]?.tool === "lasso") this.panes.tool("pan");
    else this.bar.clear();
  }

  // Dark where Streamlit's theme is: what its background says, whatever it was set by.
  theme() {
    const style = getComputedStyle(this.root);
    const [r, g, b] = (style.backgroundColor.match(/[\d.]+/g) ?? [255, 255, 255]).map(Number);
    const isDark = 0.3 * r + 0.6 * g + 0.1 * b < 128;
    this.root.classList.toggle("dark", isDark);
    const read = (name) => getComputedStyle(this.root).getPropertyValue(`--${name}`).trim();
    const names = ["ink", "card", "accent", "grey", "warm"];
    this.colours = Object.fromEntries(names.map((name) => [name, read(name)]));
    this.colours.font = style.fontFamily;
    const isOther = this.isDark !== undefined && this.isDark !== isDark;
    this.isDark = isDark;
    if (!isOther || !this.collection) return;
    this.panes.theme();
    this.facets.draw();
    this.table.draw();
  }

  remember(view) {
    clearTimeout(this.viewing);
    this.viewing = setTimeout(() => {
      const rounded = view && view.map((value) => Math.round(value * 1e4) / 1e4);
      this.store.set({ view: rounded }, { undo: false });
    }, 250);
  }

  say(text) {
    this.message.textContent = text;
    this.message.hidden = false;
    clearTimeout(this.saying);
    this.saying = setTimeout(() => (this.message.hidden = true), Math.max(SAID_MS, READ_MS * text.length));
  }

  async attempt(act) {
    try {
      return await act();
    } catch (error) {
      this.fail(error);
      return undefined;
    }
  }

  fail(error) {
    if (error.name !== "AbortError" && !(error instanceof Outdated)) this.say(error.message);
  }

  end() {
    this.isEnded = true;
    removeEventListener("keydown", this.keys, true);
    removeEventListener("keyup", this.keysUp, true);
    this.scheme.onchange = null;
    this.player.end();
    this.search.end();
    this.table.end();
    this.panes.end();
    this.root.remove();
  }
}

// Streamlit calls this whenever it draws the page: the instrument that is there stays.
export function mount(parent, view = "map") {
  if (parent.instrument && !parent.instrument.isEnded) {
    parent.instrument.theme();
    return parent.instrument;
  }
  parent.instrument = new Instrument(parent, new URL("instrument/", location.href), view);
  return parent.instrument;
}
