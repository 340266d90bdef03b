// Counts by column: bars of values and histograms, grey for everything and coloured for what is
// selected. A click or a drag filters; a column's own filter does not shrink its own bars, so
// that another of its values stays one click away (cross-filter).

import { button, count, debounce, el, follow, number, redraw } from "./dom.js";
import { categoryColours, rampColour } from "./palette.js";

const FIRST = ["domain", "label", "duration_s"];
const FEW = 8;
const SMALL = 5;

export class Facets {
  constructor(app) {
    this.app = app;
    this.opened = new Set();
    this.host = el("section", { class: "facets", "aria-label": "Filters" });
    this.asked = 0;
    app.store.on(["select"], () => this.load());
    app.store.on(["colour"], () => this.draw());
    this.range = debounce((name, low, high) => this.filter(name, { between: [low, high] }), 120);
  }

  async load() {
    const mine = ++this.asked;
    const select = JSON.stringify(this.app.store.state.select);
    try {
      const found = await this.app.api.json("facets", { select });
      if (mine !== this.asked) return;
      this.found = found;
      this.draw();
    } catch (error) {
      this.app.fail(error);
    }
  }

  filter(name, wanted) {
    const clause = wanted && { column: name, ...wanted };
    this.app.store.clause((one) => one.column === name, clause);
  }

  clauseOf(name) {
    return this.app.store.state.select.find((one) => one.column === name);
  }

  toggle(name, value) {
    const chosen = new Set(this.clauseOf(name)?.in ?? []);
    if (!chosen.delete(value)) chosen.add(value);
    this.filter(name, chosen.size ? { in: [...chosen] } : null);
  }

  draw() {
    if (!this.found || this.dragged) return;
    const scroll = this.host.scrollTop;
    const { n_segments } = this.app.collection;
    const rank = ({ name }) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
    const columns = [...this.app.collection.columns].sort((a, b) => rank(a) - rank(b));
    // A column with another value in nearly every row, a path or a hash, counts nothing.
    const parts = columns
      .filter(({ name, n_distinct }) => this.found.columns[name] && !(n_distinct > n_segments / 2))
      .map((column) => this.column(column, this.found.columns[column.name]));
    redraw(this.host, ...parts.slice(0, 3), this.tags(), ...parts.slice(3));
    this.host.scrollTop = scroll;
  }

  column({ name, n_distinct }, facet) {
    const isColour = this.app.store.state.colour === name;
    const head = el("h2", {},
      button(name, () => this.app.store.set({ colour: name }), {
        class: "plain", title: `Colour by ${name}`, "aria-pressed": String(isColour),
      }),
      facet.edges ? this.ends(name, facet) : el("span", { class: "soft num" }, count(n_distinct)));
    const body = facet.edges ? this.histogram(name, facet, isColour) : this.bars(name, facet, isColour);
    return el("div", { class: "facet", "data-column": name }, head, body);
  }

  bars(name, facet, isColour) {
    const chosen = new Set(this.clauseOf(name)?.in ?? []);
    const limit = this.opened.has(name) ? facet.values.length : name === "domain" ? FEW : SMALL;
    const colours = isColour || name === "domain"
      ? categoryColours(name, this.app.valuesOf(name) ?? facet.values, this.app.isDark) : null;
    const all = this.app.valuesOf(name) ?? facet.values;
    const most = Math.max(...facet.all, 1);
    const order = facet.values.map((_, i) => i);
    // What is selected comes first, what was chosen stays in sight.
    order.sort((a, b) => chosen.has(facet.values[b]) - chosen.has(facet.values[a]) ||
      facet.selected[b] - facet.selected[a] || facet.all[b] - facet.all[a]);
    const shown = name === "domain" ? facet.values.map((_, i) => i) : order;
    const rows = shown.slice(0, limit).map((i) => this.bar(name, {
      value: facet.values[i], all: facet.all[i], selected: facet.selected[i], most,
      isChosen: chosen.has(facet.values[i]), isAny: chosen.size > 0,
      colour: colours?.[all.indexOf(facet.values[i])],
    }));
    const more = facet.values.length - limit + (facet.n_others ?? 0);
    const isOpen = this.opened.has(name);
    if (more > 0 || isOpen) {
      rows.push(button(isOpen ? "fewer" : `${count(more)} more`, () => {
        if (!this.opened.delete(name)) this.opened.add(name);
        this.draw();
      }, { class: "plain more", "data-key": `${name}:more` }));
    }
    return rows;
  }

  bar(name, { value, all, selected, most, isChosen, isAny, colour }) {
    const whole = el("i", { class: "whole" });
    const part = el("b");
    whole.style.width = `${Math.max((all / most) * 100, 2)}%`;
    part.style.width = `${(selected / Math.max(all, 1)) * 100}%`;
    if (colour) part.style.background = colour;
    whole.append(part);
    const isAll = selected === all;
    return el("button", {
      type: "button", class: `bar${isAny && !isChosen ? " off" : ""}`, role: "checkbox",
      "aria-checked": String(isChosen), "data-key": `${name}:${value}`, title: value,
      "aria-label": `${name} ${value}: ${count(selected)} of ${count(all)}`,
      onclick: () => this.toggle(name, value),
    }, el("span", {}, value), el("span", { class: "room" }, whole),
    el("span", { class: "num" }, isAll ? count(all) : `${count(selected)} / ${count(all)}`));
  }

  // The two ends as numbers that can be typed: the histogram without a pointer.
  ends(name, { edges }) {
    const [low, high] = this.clauseOf(name)?.between ?? [edges[0], edges.at(-1)];
    const inputs = [low, high].map((value, i) => el("input", {
      type: "number", step: "any", value: String(Number(value.toPrecision(4))),
      "aria-label": `${name}, ${i ? "at most" : "at least"}`, "data-key": `${name}:${i}`,
      onchange: () => this.filter(name, { between: inputs.map((one) => Number(one.value)) }),
    }));
    return el("span", { class: "ends num" }, inputs[0], " to ", inputs[1]);
  }

  histogram(name, { edges, all, selected }, isColour) {
    const most = Math.max(...all, 1);
    const bins = all.map((n, i) => {
      const whole = el("i");
      const part = el("b");
      whole.style.height = `${(n / most) * 100}%`;
      part.style.height = `${(selected[i] / Math.max(n, 1)) * 100}%`;
      if (isColour) part.style.background = rampColour(i / (all.length - 1), this.app.isDark);
      whole.append(part);
      const said = `${number(edges[i])} to ${number(edges[i + 1])}: ${count(selected[i])} of ${count(n)}`;
      return el("span", { title: said }, whole);
    });
    const window_ = el("div", { class: "window", hidden: true });
    const host = el("div", { class: "histogram", "aria-hidden": "true" }, bins, window_);
    const span = edges.at(-1) - edges[0];
    const show = (from, to) => {
      window_.hidden = false;
      window_.style.left = `${((from - edges[0]) / span) * 100}%`;
      window_.style.width = `${((to - from) / span) * 100}%`;
    };
    const range = this.clauseOf(name)?.between;
    if (range) show(...range);
    host.addEventListener("pointerdown", (event) => this.brush(event, host, name, edges, show));
    return host;
  }

  brush(event, host, name, edges, show) {
    const frame = host.getBoundingClientRect();
    const at = (one) => {
      const share = Math.max(0, Math.min(1, (one.clientX - frame.left) / frame.width));
      return edges[0] + share * (edges.at(-1) - edges[0]);
    };
    const start = at(event);
    this.dragged = true;
    let ends = null;
    const move = (next) => {
      ends = [start, at(next)].sort((a, b) => a - b).map((value) => Number(value.toPrecision(5)));
      show(...ends);
      this.range(name, ...ends);
    };
    follow(host, event, move, () => {
      this.dragged = false;
      if (!ends || ends[0] === ends[1]) this.filter(name, null);
      else this.filter(name, { between: ends });
      this.draw();
    });
  }

  tags() {
    const { select } = this.app.store.state;
    const chosen = new Set(select.filter((one) => one.tag).map((one) => one.tag));
    const chips = this.app.tags.map(({ tag, n }) => button(`${tag} · ${count(n)}`, () => {
      const clause = chosen.has(tag) ? null : { tag };
      this.app.store.clause((one) => one.tag === tag, clause);
    }, { class: "chip", "aria-pressed": String(chosen.has(tag)), "data-key": `tag:${tag}` }));
    return el("div", { class: "facet" },
      el("h2", {}, "tags", button("+ new", (event) => this.app.bar.askTag(event.currentTarget), {
        class: "plain soft", title: "Tag what is selected (T)",
      })), el("div", { class: "chips" }, chips));
  }
}
