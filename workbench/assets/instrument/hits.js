// What was found: for each space its nearest, as thumbnails, framed where no other space finds
// them. Beside the map each space is a column; on the page Search it is a row, as wide as the page.

import { button, choice, count, el, number, redraw } from "./dom.js";

const NARROW = { kind: "mel", width: 320, height: 72 };
const WIDE = { kind: "mel", width: 320, height: 112 };
const STEP = 6;
const MOST = 60;

// Scores of near copies differ in their last digits: as many as tell the closest two apart.
function digitsApart(scores) {
  const sorted = [...new Set(scores)].sort((a, b) => a - b);
  const gaps = sorted.slice(1).map((score, i) => score - sorted[i]);
  const least = Math.min(...gaps, 1);
  return Math.max(2, Math.min(5, Math.ceil(-Math.log10(least || 1e-5))));
}

export class Hits {
  constructor(app, search) {
    this.app = app;
    this.search = search;
    this.isWide = app.view === "search";
    this.queue = [];
    this.host = el("div", { class: "hits" });
    app.store.on(["ticked"], () => this.drawTicks());
    app.store.on(["focus"], () => this.drawFocus());
  }

  draw(found) {
    this.found = found;
    this.stop();
    if (!found) return this.host.replaceChildren();
    const { spaces } = found;
    this.all = spaces.flatMap(({ hits }) => hits);
    this.digits = digitsApart(this.all.map(({ score }) => score));
    this.app.learn(this.all);
    this.host.classList.toggle("many", spaces.length > 2);
    this.host.style.setProperty("--columns", String(Math.max(spaces.length, 1)));
    redraw(this.host, ...spaces.map((one, i) => this.space(one, i)), this.foot(found));
    this.drawFocus();
  }

  onlyHere() {
    // By rank, one space after the other: what is heard in turn is what they disagree about.
    return this.all.filter(({ only }) => only).sort((a, b) => a.rank - b.rank);
  }

  // --- one space -----------------------------------------------------------------------------

  space({ space, hits, notice, problem }, i) {
    const spaces = this.search.choices().map((one) => [one, this.app.spaceName(one)]);
    const change = (wanted) => {
      const chosen = [...this.search.spaces()];
      if (wanted) chosen[i] = wanted;
      else chosen.splice(i, 1);
      this.app.store.set({ spaces: chosen });
    };
    const only = hits.filter((hit) => hit.only);
    const head = el("div", { class: "space-head" },
      choice([...spaces, ["", "take away"]], space, change, { "aria-label": `Space ${i + 1}` }),
      this.isWide && only.length
        ? button(`▶ ${count(only.length)} only here`, () => this.play(only), { class: "plain soft" }) : "");
    return el("div", { class: "column", "data-space": space }, head,
      problem ? el("p", { class: "problem", role: "alert" }, problem) : "",
      notice ? el("p", { class: "soft" }, notice) : "",
      el("div", { class: "strip" }, hits.map((hit) => this.hit(hit))));
  }

  hit(hit) {
    const { store } = this.app;
    const size = this.isWide ? WIDE : NARROW;
    const picture = hit.has_audio === false
      ? el("span", { class: "soft silent" }, "no audio")
      : el("img", {
        src: this.app.api.url("spectrogram", { segment: hit.segment_id, ...size }), alt: "", loading: "lazy",
      });
    const name = hit.label && hit.label !== hit.clip_id ? hit.label : hit.clip_id;
    const hear = button("", () => this.app.focus(hit), {
      class: "hear", "aria-label": `Hear ${hit.clip_id}`,
      title: [hit.clip_id, hit.domain, hit.label].filter((one) => one).join(" · "),
    });
    hear.append(picture);
    const add = (list) => () => this.search.add(hit.segment_id, list);
    const tools = el("span", { class: "tools" },
      button("+", add("for"), { title: "An example for", "aria-label": `Example for: ${hit.clip_id}` }),
      button("−", add("unlike"), { title: "An example against", "aria-label": `Example against: ${hit.clip_id}` }));
    return el("div", {
      class: `hit${hit.only ? " only" : ""}`, draggable: true, "data-segment": hit.segment_id,
      ondragstart: (event) => event.dataTransfer.setData("text/segment", String(hit.segment_id)),
      onpointerenter: () => this.point(hit.segment_id), onpointerleave: () => this.point(null),
    }, hear, tools, el("div", { class: "under" },
      el("input", {
        type: "checkbox", checked: store.ticked.has(hit.segment_id), "aria-label": `tick ${hit.clip_id}`,
        onchange: () => store.tick(hit.segment_id),
      }),
      el("span", { class: "name" }, name),
      hit.score === undefined ? "" : el("span", { class: "soft num" }, hit.score.toFixed(this.digits))));
  }

  // Those of duplicates too.
  cards() {
    return this.search.host.querySelectorAll(".hit");
  }

  // Where else the sound under the pointer stands.
  point(segment) {
    for (const card of this.cards()) {
      card.classList.toggle("pointed", Number(card.dataset.segment) === segment);
    }
  }

  drawFocus() {
    const { focus } = this.app.store.state;
    for (const card of this.cards()) {
      card.classList.toggle("on", Number(card.dataset.segment) === focus);
    }
  }

  drawTicks() {
    for (const card of this.cards()) {
      card.querySelector("input").checked = this.app.store.ticked.has(Number(card.dataset.segment));
    }
  }

  // --- what they have in common --------------------------------------------------------------

  foot(found) {
    const { store } = this.app;
    const foot = el("div", { class: "foot" },
      button("+ space", () => this.addSpace(), { class: "plain soft" }),
      store.state.k < MOST
        ? button("more", () => store.set({ k: store.state.k + STEP }), { class: "plain soft" }) : "",
      button("select", () => this.search.select(), { class: "plain soft", title: "Make these hits the selection" }),
      found.spaces.length > 1 ? el("span", { class: "soft" }, "framed: only here") : "");
    return this.isWide ? el("div", { class: "agreement" }, this.matrix(found), foot) : foot;
  }

  // Above the diagonal the share of the first k that both find, below it how far ranks agree.
  matrix({ spaces, overlap, rbo }) {
    if (spaces.length < 2) return "";
    const k = Math.max(...spaces.map(({ hits }) => hits.length));
    const names = spaces.map(({ space }) => this.app.spaceName(space));
    const cell = (i, j) => {
      if (i === j) return "";
      const value = i < j ? overlap[i][j] : rbo[i][j];
      if (value === null) return "–";
      return i < j ? `${Math.round(value * k)} of ${k}` : number(value);
    };
    return el("table", { class: "num" },
      el("caption", { class: "soft" }, `above: overlap@${k} · below: rank-biased overlap, p 0.9`),
      el("thead", {}, el("tr", {}, el("td"), names.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, names.map((name, i) => el("tr", {}, el("th", { scope: "row" }, name),
        names.map((_, j) => el("td", {}, cell(i, j)))))));
  }

  // The first two in a few words.
  said({ spaces, overlap, rbo, n }) {
    const among = `of ${count(n)} ${this.search.isWithin() ? "selected" : "segments"}`;
    if (spaces.length < 2 || overlap[0][1] === null) return { text: this.isWide ? `the nearest ${among}` : "", title: "" };
    const k = Math.max(spaces[0].hits.length, spaces[1].hits.length);
    return {
      text: `${Math.round(overlap[0][1] * k)} of ${k} shared${this.isWide ? `, ${among}` : ""}`,
      title: `overlap@${k} ${number(overlap[0][1])}, rank-biased overlap ${number(rbo[0][1])}`,
    };
  }

  addSpace() {
    const chosen = this.search.spaces();
    const known = this.search.choices();
    const free = this.app.collection.spaces.filter(({ space }) => known.includes(space) && !chosen.includes(space));
    // Another encoder's deepest layer says more than the next layer of the same.
    const encoders = new Set(this.app.collection.spaces
      .filter(({ space }) => chosen.includes(space)).map(({ encoder }) => encoder));
    const others = free.filter(({ encoder }) => !encoders.has(encoder));
    const first = others.find(({ role }) => role === "teacher") ?? others[0];
    const wanted = (first ? others.filter(({ encoder }) => encoder === first.encoder) : free).at(-1);
    if (wanted) this.app.store.set({ spaces: [...chosen, wanted.space] });
  }

  // --- hearing them ----------------------------------------------------------------------------

  // One after the other, until somebody hears something else.
  play(hits) {
    this.app.stopAll();
    this.queue = [...hits];
    this.next();
  }

  next() {
    const hit = this.queue.shift();
    if (!hit) return false;
    this.isPlaying = true;
    this.app.focus(hit, { isAll: true });
    this.search.drawHead();
    return true;
  }

  stop() {
    const wasPlaying = this.isPlaying;
    this.queue = [];
    this.isPlaying = false;
    if (wasPlaying) this.search.drawHead();
  }

  // The card before or after the one that is heard; whether what is heard stands on one.
  step(by) {
    const cards = [...this.cards()];
    const at = cards.findIndex((card) => card.classList.contains("on"));
    if (at < 0) return false;
    const card = cards[Math.max(0, Math.min(cards.length - 1, at + by))];
    card.scrollIntoView({ block: "nearest", inline: "nearest" });
    const segment = Number(card.dataset.segment);
    this.app.attempt(async () => this.app.focus(await this.app.describe({ segment })));
    return true;
  }
}
