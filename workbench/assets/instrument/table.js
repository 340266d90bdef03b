// The table of what is selected: rows are fetched by the hundred as one scrolls, none before.

import { button, duration, el, number, redraw, shorten } from "./dom.js";

const ROW_PX = 25;
const PAGE = 100;
const MOST_PX = 8_000_000;
const COLUMNS = [
  ["clip_id", "clip"], ["domain", "domain"], ["label", "label"], ["cluster_id", "cluster"],
  ["start_s", "from"], ["duration_s", "length"], ["tags", "tags"],
];

export class Table {
  constructor(app) {
    this.app = app;
    this.head = el("div", { class: "row head", role: "row" });
    this.body = el("div", { class: "rows", role: "presentation" });
    this.space = el("div", { class: "space", role: "presentation" });
    this.scroll = el("div", { class: "scroll", role: "rowgroup", tabindex: "-1" }, this.space, this.body);
    this.host = el("div", { class: "table", role: "grid", "aria-label": "Selected segments" },
      this.head, this.scroll);
    this.scroll.addEventListener("scroll", () => this.draw());
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.scroll);
    this.n = 0;
    this.pages = new Map();
    app.store.on(["select", "sort", "down"], () => this.load());
    app.store.on(["ticked", "focus"], () => this.draw());
    app.store.on(["sort", "down"], () => this.drawHead());
    this.drawHead();
  }

  drawHead() {
    const { sort, down } = this.app.store.state;
    const order = (name) => {
      if (sort !== name) this.app.store.set({ sort: name, down: false });
      else this.app.store.set(down ? { sort: null, down: false } : { down: true });
    };
    redraw(
      this.head,
      ...["tick", "play", "similar"].map((text) =>
        el("span", { role: "columnheader" }, el("span", { class: "unseen" }, text))),
      ...COLUMNS.map(([name, text]) => el("span", {
        role: "columnheader", class: name,
        "aria-sort": sort === name ? (down ? "descending" : "ascending") : "none",
      }, button(sort === name ? `${text} ${down ? "↓" : "↑"}` : text, () => order(name), {
        class: "plain soft", disabled: name === "tags",
      }))),
    );
  }

  query(offset) {
    const { select, sort, down } = this.app.store.state;
    return { select: JSON.stringify(select), offset, limit: PAGE, sort, down: down ? 1 : null };
  }

  load() {
    this.pages = new Map();
    this.problem = null;
    this.scroll.scrollTop = 0;
    return this.page(0);
  }

  // The rows of a page; those that are not wanted any more when they come are dropped.
  page(i) {
    const { pages } = this;
    if (!pages.has(i)) {
      pages.set(i, this.app.api.json("rows", this.query(i * PAGE)).then((found) => {
        if (pages !== this.pages) return [];
        this.n = found.n;
        this.app.learn(found.rows);
        pages.set(i, found.rows);
        this.draw();
        return found.rows;
      }).catch((error) => this.fail(pages, i, error)));
    }
    return pages.get(i);
  }

  fail(pages, i, error) {
    pages.delete(i);
    this.app.fail(error);
    if (pages !== this.pages || i) return [];
    this.n = 0;
    this.problem = error.message;
    this.draw();
    return [];
  }

  async row(i) {
    if (i < 0) return null;
    const rows = await this.page(Math.floor(i / PAGE));
    return rows[i % PAGE] ?? null;
  }

  // Where the heard segment stands in the table; -1 where it is on no fetched page.
  place() {
    const { focus } = this.app.store.state;
    for (const [i, rows] of this.pages) {
      const k = Array.isArray(rows) ? rows.findIndex((one) => one.segment_id === focus) : -1;
      if (k >= 0) return i * PAGE + k;
    }
    return -1;
  }

  async step(by) {
    const i = Math.max(0, Math.min(this.n - 1, this.place() + by));
    const row = await this.row(i);
    if (!row) return null;
    this.reveal(i);
    this.app.focus(row);
    return row;
  }

  reveal(i) {
    const room = this.scroll.clientHeight;
    const top = i * ROW_PX;
    const seen = this.scroll.scrollTop * this.stretch();
    if (top < seen) this.scroll.scrollTop = top / this.stretch();
    else if (top + ROW_PX > seen + room) this.scroll.scrollTop = Math.ceil((top + ROW_PX - room) / this.stretch());
  }

  // How far one goes by a pixel of the bar: more than one where all rows are taller than browsers
  // can scroll.
  stretch() {
    const room = this.scroll.clientHeight;
    return Math.max(1, (this.n * ROW_PX - room) / (MOST_PX - room));
  }

  draw() {
    const height = this.n * ROW_PX;
    this.space.style.height = `${Math.min(height, MOST_PX)}px`;
    const room = this.scroll.clientHeight;
    const top = this.scroll.scrollTop;
    const first = Math.floor((top * this.stretch()) / ROW_PX);
    const shown = Math.ceil(room / ROW_PX) + 1;
    const rows = [];
    for (let i = first; i < Math.min(first + shown, this.n); i++) {
      const page = this.page(Math.floor(i / PAGE));
      rows.push(this.line(Array.isArray(page) ? page[i % PAGE] : null, i));
    }
    const shift = height > MOST_PX ? top : first * ROW_PX;
    this.body.style.transform = `translateY(${shift}px)`;
    if (!this.n) rows.push(el("p", { class: "soft empty-row" }, this.problem ?? "Nothing is selected."));
    redraw(this.body, ...rows);
    this.host.setAttribute("aria-rowcount", String(this.n));
  }

  line(row, i) {
    if (!row) return el("div", { class: "row", role: "row", "aria-rowindex": String(i + 1) }, "…");
    const { store } = this.app;
    const isHeard = row.segment_id === store.state.focus;
    const cells = COLUMNS.map(([name]) => this.cell(name, row));
    return el("div", {
      class: `row${isHeard ? " on" : ""}`, role: "row", "aria-rowindex": String(i + 1),
      "aria-selected": String(isHeard), "data-segment": row.segment_id,
      onclick: (event) => event.target.closest("input") || this.app.focus(row),
    },
    el("span", { role: "gridcell" }, el("input", {
      type: "checkbox", checked: store.ticked.has(row.segment_id), tabindex: "-1",
      "aria-label": `tick ${row.clip_id}`, "data-key": `tick:${row.segment_id}`, onchange: () => store.tick(row.segment_id),
    })),
    el("span", { role: "gridcell" }, button("▸", () => this.app.focus(row), {
      class: "plain", "aria-label": `Hear ${row.clip_id}`, "data-key": `hear:${row.segment_id}`,
    })),
    el("span", { role: "gridcell" }, button("≈", (event) => {
      event.stopPropagation();
      this.app.focus(row);
      this.app.search.fromRow(row);
    }, {
      class: "plain", "aria-label": `Find similar to ${row.clip_id}`, title: "Find similar",
      "data-key": `like:${row.segment_id}`,
    })), cells);
  }

  cell(name, row) {
    const value = row[name];
    if (name === "domain") {
      const dot = el("i", { class: "dot" });
      dot.style.background = this.app.domainColour(value);
      return el("span", { role: "gridcell", class: name }, dot, value ?? "");
    }
    const text = name === "start_s" ? number(value)
      : name === "duration_s" ? duration(row.end_s - row.start_s)
      : name === "tags" ? (value ?? []).join(", ") : shorten(value, 80);
    const kind = name.endsWith("_s") ? `${name} num` : name;
    return el("span", { role: "gridcell", class: kind, title: name === "clip_id" ? value : null }, text);
  }

  end() {
    this.watcher.disconnect();
  }
}
