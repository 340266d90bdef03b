// What sounds alike, to any number of spaces beside each other: rows of thumbnails, framed where
// only one space finds them. Examples for and against are segments of the collection, a part of
// one, a file, a recording, or words where an encoder of text is installed.

import { button, choice, el, number, shorten } from "./dom.js";
import { fromRecording } from "./wav.js";

const THUMBNAIL = { kind: "mel", width: 320, height: 72 };

export class Search {
  constructor(app) {
    this.app = app;
    this.names = new Map();
    this.asked = 0;
    this.host = el("section", { class: "search", "aria-label": "Similar sounds" });
    this.body = el("div", { class: "hits" });
    this.chips = el("div", { class: "chips" });
    this.agree = el("span", { class: "soft num" });
    this.head = el("h3", {}, "Who hears what alike", this.agree);
    this.host.append(this.head, this.chips, this.body);
    this.file = el("input", {
      type: "file", accept: "audio/*", hidden: true,
      onchange: () => this.file.files[0] && this.ask(this.file.files[0], this.file.files[0].name),
    });
    this.words = el("input", {
      type: "search", placeholder: "a name, or words in quotes for an encoder of text",
      "aria-label": "Search", onkeydown: (event) => event.key === "Enter" && this.type(),
    });
    this.top = el("div", { class: "find" }, this.words, this.file,
      button("File", () => this.file.click(), { title: "Find what is similar to a file of yours" }),
      button("● Rec", () => this.record(), { title: "Hold R to record", class: "record" }));
    this.drop();
    app.store.on(["for", "unlike", "spaces", "k"], () => this.load());
  }

  drop() {
    this.host.addEventListener("dragover", (event) => event.preventDefault());
    this.host.addEventListener("drop", (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      const segment = Number(event.dataTransfer.getData("text/segment"));
      if (file) this.ask(file, file.name);
      else if (segment) this.add(segment, event.target.closest(".against") ? "unlike" : "for");
    });
  }

  // --- what to look for ----------------------------------------------------------------------

  fromHeard() {
    const { focused } = this.app;
    if (!focused) return;
    this.names.set(focused.segment_id, focused.clip_id);
    this.app.store.set({ for: [focused.segment_id], unlike: [] });
  }

  add(segment, list) {
    const { store } = this.app;
    const other = list === "for" ? "unlike" : "for";
    store.set({
      [list]: [...new Set([...store.state[list], segment])],
      [other]: store.state[other].filter((one) => one !== segment),
    });
  }

  // Words filter by name; words in quotes are for an encoder of text.
  type() {
    const text = this.words.value.trim();
    const quoted = text.match(/^["“](.+)["”]$/);
    if (quoted) return this.ask({ text: quoted[1] }, quoted[1]);
    this.app.store.clause((one) => one.text !== undefined, text ? { text } : null);
  }

  ask(body, name) {
    return this.app.attempt(async () => {
      const isFile = body instanceof File;
      const sound = isFile ? new Blob([body], { type: body.type || "audio/wav" }) : body;
      const { query } = await this.app.api.post("query", sound, isFile ? { name } : {});
      this.names.set(query, name);
      this.app.store.set({ for: [query], unlike: [] });
      if (body instanceof Blob) this.app.player.load({ query, name }, { isHeard: false });
    });
  }

  async record() {
    if (this.recorder) return this.recorder.stop();
    await this.app.attempt(async () => {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const parts = [];
      this.recorder = new MediaRecorder(stream);
      this.recorder.ondataavailable = (event) => parts.push(event.data);
      this.recorder.onstop = async () => {
        this.recorder = null;
        this.top.classList.remove("recording");
        for (const track of stream.getTracks()) track.stop();
        await this.ask(await fromRecording(new Blob(parts)), "recording");
      };
      this.recorder.start();
      this.top.classList.add("recording");
    });
  }

  // --- where to look -------------------------------------------------------------------------

  // The spaces of the two maps, unless others were chosen.
  spaces() {
    const { state } = this.app.store;
    if (state.spaces.length) return state.spaces;
    const known = this.app.collection.spaces.map((one) => one.space);
    const shown = [state.map, state.beside].filter((map) => map).map((map) => this.app.spaceOf(map));
    const wanted = [...new Set(shown)].filter((space) => known.includes(space));
    return wanted.length ? wanted : known.slice(0, 2);
  }

  async load() {
    const { state } = this.app.store;
    this.drawChips();
    if (!state.for.length) return this.draw(null);
    const mine = ++this.asked;
    this.host.classList.add("busy");
    const query = { for: state.for.join(), k: state.k, space: this.spaces() };
    if (state.unlike.length) query.unlike = state.unlike.join();
    const found = await this.app.attempt(() => this.app.api.json("similar", query));
    if (mine !== this.asked) return;
    this.host.classList.remove("busy");
    this.draw(found ?? null);
  }

  // --- what was found ------------------------------------------------------------------------

  drawChips() {
    const { store } = this.app;
    const { state } = store;
    const chip = (list, sign) => (segment) => button(
      `${sign} ${shorten(this.names.get(segment) ?? this.app.known.get(segment)?.clip_id ?? segment, 22)} ✕`,
      () => store.set({ [list]: state[list].filter((one) => one !== segment) }),
      { class: `chip ${list === "for" ? "" : "against"}`, title: "Leave this example out" },
    );
    this.chips.replaceChildren(
      ...state.for.map(chip("for", "+")), ...state.unlike.map(chip("unlike", "−")));
  }

  draw(found) {
    this.found = found;
    this.agree.textContent = "";
    if (!found) {
      this.body.replaceChildren(el("p", { class: "soft" },
        "Hear a sound, then press S: the nearest to it, as each encoder hears them. A file " +
        "can be dropped here."));
      this.app.panes.mark([]);
      return;
    }
    const columns = found.spaces.map((one, i) => this.column(one, i));
    const add = button("+ space", (event) => this.addSpace(event.currentTarget), { class: "plain soft" });
    this.body.style.setProperty("--columns", String(Math.max(columns.length, 1)));
    this.body.replaceChildren(...columns);
    const more = button("more", () => this.app.store.set({ k: this.app.store.state.k + 6 }), { class: "plain soft" });
    this.body.append(el("p", { class: "soft foot" }, add, more, "framed: only here"));
    this.sayAgreement(found);
    const { accent, warm } = this.app.colours;
    this.app.panes.mark(found.spaces.flatMap(({ hits }, i) =>
      hits.map(({ row }) => ({ row, colour: i ? warm : accent, width: 1.6 }))));
  }

  sayAgreement({ spaces, overlap, rbo }) {
    if (spaces.length < 2) return;
    const k = spaces[0].hits.length;
    this.agree.textContent = `${Math.round(overlap[0][1] * k)} of ${k} shared`;
    this.agree.title = `overlap@${k} ${number(overlap[0][1])}, rank-biased overlap ${number(rbo[0][1])}`;
  }

  column({ space, hits, notice }, i) {
    const spaces = this.app.collection.spaces.map((one) => [one.space, this.app.spaceName(one.space)]);
    const change = (wanted) => {
      const chosen = [...this.spaces()];
      if (wanted) chosen[i] = wanted;
      else chosen.splice(i, 1);
      this.app.store.set({ spaces: chosen });
    };
    const head = choice([...spaces, ["", "take away"]], space, change, { "aria-label": `Space ${i + 1}` });
    return el("div", { class: "column" }, head,
      notice ? el("p", { class: "soft" }, notice) : "", hits.map((hit) => this.hit(hit)));
  }

  hit(hit) {
    this.app.learn([hit]);
    const { store } = this.app;
    const picture = hit.has_audio === false ? el("span", { class: "soft" }, "no audio") : el("img", {
      src: this.app.api.url("spectrogram", { segment: hit.segment_id, ...THUMBNAIL }), alt: "", loading: "lazy",
    });
    const hear = button("", () => this.app.focus(hit), {
      class: "hear", "aria-label": `Hear ${hit.clip_id}`, title: `${hit.clip_id} · ${hit.label ?? ""}`,
    });
    hear.append(picture);
    const tools = el("span", { class: "tools" },
      button("+", () => this.add(hit.segment_id, "for"), { title: "An example for", "aria-label": "Example for" }),
      button("−", () => this.add(hit.segment_id, "unlike"), { title: "An example against", "aria-label": "Example against" }),
      button("✓", () => store.tick(hit.segment_id), { title: "Tick", "aria-label": `Tick ${hit.clip_id}` }));
    return el("div", {
      class: `hit${hit.only ? " only" : ""}`, draggable: true, "data-segment": hit.segment_id,
      ondragstart: (event) => event.dataTransfer.setData("text/segment", String(hit.segment_id)),
    }, hear, tools, el("div", { class: "under" },
      el("span", {}, hit.label && hit.label !== hit.clip_id ? `${hit.label}` : hit.clip_id),
      el("span", { class: "soft num" }, number(hit.score))));
  }

  addSpace() {
    const chosen = this.spaces();
    const free = this.app.collection.spaces.find((one) => !chosen.includes(one.space));
    if (free) this.app.store.set({ spaces: [...chosen, free.space] });
  }
}
