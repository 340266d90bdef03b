// Clips that are there more than once: a row for each group, to hear, and to tick all copies but
// one.

import { button, choice, count, el } from "./dom.js";

const PAGE = 20;
const KINDS = { file: "the same file", samples: "the same sound", near: "near copies", passage: "a shared passage" };

export class Duplicates {
  constructor(app, hits) {
    this.app = app;
    this.hits = hits;
    this.host = el("div", { class: "hits", hidden: true });
  }

  async load(space) {
    this.host.hidden = !space;
    this.host.replaceChildren();
    if (space) await this.more(space, 0);
  }

  async more(space, offset) {
    const { api, store } = this.app;
    const { n, groups } = await api.json("duplicates", { space, offset, limit: PAGE });
    if (space !== store.state.duplicates) return;
    if (!offset) this.host.append(this.head(space, n));
    this.host.querySelector(".foot")?.remove();
    this.host.append(...groups.map((group) => this.group(group)));
    const end = offset + groups.length;
    if (end < n) {
      this.host.append(el("div", { class: "foot" },
        button(`${count(n - end)} more`, () => this.app.attempt(() => this.more(space, end)), { class: "plain soft" })));
    }
  }

  head(space, n) {
    const spaces = this.app.collection.spaces.map((one) => [one.space, this.app.spaceName(one.space)]);
    return el("p", { class: "soft found-groups" }, `${count(n)} ${n === 1 ? "group" : "groups"}: equal files, equal sounds, and near copies by `,
      choice(spaces, space, (duplicates) => this.app.store.set({ duplicates }), { "aria-label": "Near copies by" }));
  }

  group({ kind, score, n, rows }) {
    this.app.learn(rows);
    const copies = rows.slice(1).map(({ segment_id }) => segment_id);
    const said = kind === "near" || kind === "passage" ? `${KINDS[kind]}, cosine ${score.toFixed(3)}` : KINDS[kind];
    return el("div", { class: "column" },
      el("div", { class: "space-head" }, el("b", {}, said), el("span", { class: "soft num" }, `${count(n)} clips`),
        button("▶ all", () => this.hits.play(rows), { class: "plain soft" }),
        button("tick all but the first", () => this.tick(copies), { class: "plain soft" })),
      el("div", { class: "strip" }, rows.map((row) => this.hits.hit(row))));
  }

  tick(segments) {
    for (const segment of segments) this.app.store.ticked.add(segment);
    this.app.store.tell(["ticked"]);
  }
}
