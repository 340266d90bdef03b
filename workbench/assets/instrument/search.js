// What sounds alike, to any number of spaces beside each other. Examples for and against are
// segments of the collection, a part of one, a file, a recording, or words where a space's encoder
// reads them.

import { button, choice, count, el, number, redraw, shorten } from "./dom.js";
import { Duplicates } from "./duplicates.js";
import { Hits } from "./hits.js";
import { fromRecording } from "./wav.js";

const WORDS = "text:";
const COUNTS = [6, 12, 24, 48];

export class Search {
  constructor(app) {
    this.app = app;
    this.isWide = app.view === "search";
    this.names = new Map();
    this.asked = 0;
    this.host = el("section", { class: "search", "aria-label": "Similar sounds" });
    this.head = el("div", { class: "search-head" });
    this.examples = el("div", { class: "examples" });
    this.passage = el("div", { class: "passage", hidden: true });
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.welcome = el("div", { class: "welcome soft" });
    this.hits = new Hits(app, this);
    this.duplicates = new Duplicates(app, this.hits);
    this.host.append(
      this.head, this.examples, this.passage, this.problem, this.welcome, this.hits.host, this.duplicates.host);
    const { store } = app;
    this.within = el("label", { class: "within" }, el("input", {
      type: "checkbox", onchange: () => store.set({ within: !store.state.within }),
    }), "among the selected");
    this.file = el("input", {
      type: "file", accept: "audio/*", hidden: true, "aria-label": "A sound file",
      onchange: () => {
        const [file] = this.file.files;
        this.file.value = ""; // the same file may be chosen again
        if (file) this.give(file);
      },
    });
    this.words = el("input", {
      type: "search", placeholder: "words in a name, or what a sound is like", "aria-label": "Search",
      onkeydown: (event) => event.key === "Enter" && (event.shiftKey ? this.askWords() : this.type()),
    });
    this.describe = button("As a sound", () => this.askWords());
    this.top = el("div", { class: "find" }, this.words, this.describe, this.file,
      button("File", () => (this.prepare(), this.file.click()), { title: "Find what is similar to a file of yours" }),
      button("● Rec", () => this.record(), { title: "Hold R to record", class: "record" }));
    this.drop();
    app.store.on(["for", "unlike", "spaces", "k", "within", "duplicates"], () => this.load());
    app.store.on(["select"], () => this.isWithin() && this.load());
    app.store.on(["select", "history"], () => this.drawHead());
  }

  // Encoders take seconds to load: they begin while the sound is still being chosen.
  prepare() {
    const space = this.spaces().join();
    if (this.prepared === space) return;
    this.prepared = space;
    this.app.api.json("prepare", { space: this.spaces() }).catch(() => (this.prepared = null));
  }

  drop() {
    this.host.addEventListener("dragenter", (event) => event.dataTransfer.types.includes("Files") && this.prepare());
    this.host.addEventListener("dragover", (event) => event.preventDefault());
    this.host.addEventListener("drop", (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      const segment = event.dataTransfer.getData("text/segment");
      const list = event.target.closest("[data-list]")?.dataset.list;
      if (file) this.give(file, { list });
      else if (segment) this.add(Number(segment), list ?? "for");
    });
  }

  // --- what to look for ----------------------------------------------------------------------

  fromHeard() {
    const { focused } = this.app;
    if (focused) this.fromRow(focused);
  }

  fromRow(row) {
    this.names.set(row.segment_id, row.clip_id);
    this.look({ for: [row.segment_id], unlike: [] });
  }

  look(examples) {
    this.app.store.set({ ...examples, duplicates: null });
  }

  add(example, list) {
    const { store } = this.app;
    const other = list === "for" ? "unlike" : "for";
    this.look({
      [list]: [...new Set([...store.state[list], example])],
      [other]: store.state[other].filter((one) => one !== example),
    });
  }

  // Words of a name filter what is selected.
  type() {
    const text = this.words.value.trim();
    this.app.store.clause((one) => one.text !== undefined, text ? { text } : null);
  }

  // The spaces whose encoder reads words.
  readers() {
    return this.app.collection.spaces.filter((one) => one.reads_words).map((one) => one.space);
  }

  askWords() {
    const text = this.words.value.trim();
    const readers = this.readers();
    if (!text) return this.words.focus();
    if (!readers.length) {
      return this.tell("Words are looked for in spaces of an encoder that reads them, and this " +
        "collection has none. Make one with: usad embed --pooling native --encoders hf:laion/clap-htsat-unfused");
    }
    return this.look({ for: [WORDS + text], unlike: [] });
  }

  give(file, { list, start_s = null, end_s = null } = {}) {
    const sound = new Blob([file], { type: file.type.startsWith("audio/") ? file.type : "audio/wav" });
    const ms = (seconds) => (seconds === null ? null : Math.round(seconds * 1000));
    const query = { name: file.name, start_ms: ms(start_s), end_ms: ms(end_s) };
    return this.ask(sound, file.name, { query, list, file });
  }

  async ask(body, name, { query = {}, list = null, file = null } = {}) {
    try {
      const made = await this.app.api.post("query", body, query);
      this.names.set(made.query, name);
      this.given = file && made.whole_s > made.duration_s + 0.01 ? { ...made, file } : null;
      if (list) this.add(made.query, list);
      else this.look({ for: [made.query], unlike: [] });
      this.drawPassage();
      if (file || body instanceof Blob) this.app.player.load({ ...made, name }, { isHeard: false });
    } catch (error) {
      const reason = error.message.replace(/^the given audio/, "It");
      this.tell(`${shorten(name, 80)} cannot be used. ${reason}`);
    }
  }

  // Of a long file a part is looked for, the beginning unless another is chosen.
  drawPassage() {
    const { given } = this;
    this.passage.hidden = !given || !this.app.store.state.for.includes(given.query);
    if (this.passage.hidden) return;
    const from = given.start_s;
    const to = given.start_s + given.duration_s;
    const again = (start_s, end_s) => this.give(given.file, { start_s, end_s });
    const field = (value, text) => el("input", {
      type: "number", min: "0", max: String(given.whole_s), step: "any", value: value.toFixed(2),
      "aria-label": text, onchange: () => again(Number(start.value), Number(end.value)),
    });
    const start = field(from, "Part from, in seconds");
    const end = field(to, "Part to, in seconds");
    const move = (by) => {
      const first = Math.max(0, Math.min(given.whole_s - given.duration_s, from + by * given.duration_s));
      again(first, first + given.duration_s);
    };
    this.passage.replaceChildren(
      "the part from ", start, " to ", end, ` s of ${number(given.whole_s)} s `,
      button("◂", () => move(-1), { "aria-label": "The part before", class: "small" }),
      button("▸", () => move(1), { "aria-label": "The part after", class: "small" }));
  }

  async record() {
    if (this.listening) return this.stopRecording();
    const mine = this.listening = {};
    this.prepare();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const free = () => stream.getTracks().forEach((track) => track.stop());
      if (this.listening !== mine) return free();  // let go while the browser asked for leave
      const parts = [];
      this.recorder = new MediaRecorder(stream);
      this.recorder.ondataavailable = (event) => parts.push(event.data);
      this.recorder.onstop = async () => {
        this.recorder = null;
        this.top.classList.remove("recording");
        free();
        await this.app.attempt(async () =>
          this.ask(await fromRecording(new Blob(parts)), "recording"));
      };
      this.recorder.start();
      this.top.classList.add("recording");
    } catch (error) {
      if (this.listening === mine) this.listening = null;
      this.tell(`Nothing can be recorded: ${error.message}`);
    }
  }

  stopRecording() {
    this.listening = null;
    if (this.recorder?.state === "recording") this.recorder.stop();
  }

  // The page is left: what was recorded is asked nowhere any more.
  end() {
    this.listening = null;
    if (!this.recorder) return;
    this.recorder.onstop = () => {};
    for (const track of this.recorder.stream.getTracks()) track.stop();
  }

  // --- where to look -------------------------------------------------------------------------

  // Those that can be asked: for words, the ones whose encoder reads them.
  choices() {
    const { state } = this.app.store;
    const isWords = (example) => typeof example === "string" && example.startsWith(WORDS);
    const hasWords = [...state.for, ...state.unlike].some(isWords);
    return hasWords ? this.readers() : this.app.collection.spaces.map((one) => one.space);
  }

  // The spaces of the two maps, unless others were chosen.
  spaces() {
    const { state } = this.app.store;
    const known = this.choices();
    const chosen = state.spaces.filter((space) => known.includes(space));
    if (chosen.length) return chosen;
    const shown = [state.map, state.beside].filter((map) => map).map((map) => this.app.spaceOf(map));
    const wanted = [...new Set(shown)].filter((space) => known.includes(space));
    return wanted.length ? wanted : this.deepest(known).slice(0, 2);
  }

  // The deepest layer of each encoder, students and teachers first.
  deepest(known) {
    const found = new Map();
    for (const { encoder, pooling, space } of this.app.collection.spaces) {
      if (!known.includes(space)) continue;
      if (pooling === "mean" || !found.has(encoder)) found.set(encoder, space);
    }
    return [...found.values()];
  }

  // Whether only what is selected may be found.
  isWithin() {
    const { within, select } = this.app.store.state;
    return within && select.length > 0;
  }

  async load() {
    const { state } = this.app.store;
    this.drawExamples();
    this.tell("");
    const mine = ++this.asked;
    this.duplicates.load(null);
    if (this.isWide && state.duplicates) return this.loadDuplicates(mine);
    this.host.classList.remove("busy");
    if (!state.for.length) return this.draw(null);
    this.host.classList.add("busy");
    const query = { for: state.for, unlike: state.unlike, k: state.k, space: this.spaces() };
    if (this.isWithin()) query.among = JSON.stringify(state.select);
    let found = null;
    try {
      found = await this.app.api.json("similar", query);
    } catch (error) {
      if (mine === this.asked) this.tell(error.message);
    }
    if (mine !== this.asked) return;
    this.host.classList.remove("busy");
    this.draw(found);
  }

  async loadDuplicates(mine) {
    this.draw(null);
    this.host.classList.add("busy");
    try {
      await this.duplicates.load(this.app.store.state.duplicates);
    } catch (error) {
      if (mine === this.asked) this.tell(error.message);
    }
    if (mine === this.asked) this.host.classList.remove("busy");
  }

  // --- what is shown -------------------------------------------------------------------------

  tell(text) {
    this.problem.textContent = text;
    this.problem.hidden = !text;
  }

  nameOf(example) {
    if (typeof example === "string" && example.startsWith(WORDS)) return `“${example.slice(WORDS.length)}”`;
    return this.names.get(example) ?? this.app.known.get(example)?.clip_id ?? `segment ${example}`;
  }

  // A link names examples by number: what they are called is asked for.
  async learnNames(examples) {
    const unknown = examples.filter((one) => Number.isInteger(one) && !this.names.has(one));
    for (const segment of unknown) {
      this.names.set(segment, `segment ${segment}`); // one that is gone is asked for once
      const row = await this.app.describe({ segment }).catch(() => null);
      if (row) this.names.set(segment, row.clip_id);
    }
    return unknown.length > 0;
  }

  drawExamples() {
    const { store } = this.app;
    const { state } = store;
    const chip = (list, sign) => (example) => button(
      `${sign} ${shorten(this.nameOf(example), this.isWide ? 40 : 22)} ✕`,
      () => store.set({ [list]: state[list].filter((one) => one !== example) }),
      { class: `chip ${list === "for" ? "" : "against"}`, title: "Leave this example out" },
    );
    const zone = (list, sign, text) => el("div", { class: "chips", "data-list": list },
      state.for.length ? el("span", { class: "soft" }, text) : "", state[list].map(chip(list, sign)),
      state.for.length && !state[list].length ? el("span", { class: "soft" }, "drop a sound here, or press − on one") : "");
    redraw(
      this.examples, zone("for", "+", "like"), this.isWide || state.unlike.length ? zone("unlike", "−", "unlike") : "",
      this.within);
    this.drawPassage();
    this.learnNames([...state.for, ...state.unlike]).then((isNew) => isNew && this.drawExamples());
  }

  drawHead() {
    const { store } = this.app;
    const found = this.hits.found;
    const { text, title } = found ? this.hits.said(found) : { text: "", title: "" };
    const { duplicates } = store.state;
    const heading = el("h2", {}, this.isWide && duplicates ? "Duplicates" : "Who hears what alike");
    const said = el("span", { class: "soft num agreed", title }, text);
    this.within.hidden = !store.state.select.length;
    this.within.querySelector("input").checked = store.state.within;
    if (!this.isWide) return redraw(this.head, heading, said);
    const only = found ? this.hits.onlyHere() : [];
    const counts = [...new Set([...COUNTS, store.state.k])].sort((a, b) => a - b);
    redraw(
      this.head, heading, said, el("span", { class: "gap" }),
      duplicates ? "" : choice(counts.map((k) => [String(k), `${k} hits`]), String(store.state.k),
        (k) => store.set({ k: Number(k) }), { "aria-label": "Hits" }),
      only.length ? button(
        this.hits.isPlaying ? "❚❚ Stop" : `▶ Hear the disagreement · ${count(only.length)}`,
        () => (this.hits.isPlaying ? this.app.stopAll() : this.hits.play(only)), { class: "main disagreement" }) : "",
      button("Duplicates", () => store.set({ duplicates: duplicates ? null : this.spaces()[0] }), {
        "aria-pressed": String(Boolean(duplicates)), title: "Clips that are there more than once",
      }));
  }

  select() {
    const segments = [...new Set(this.hits.all.map(({ segment_id }) => segment_id))];
    this.app.store.set({ select: [{ segments }], within: false });
  }

  draw(found) {
    this.hits.draw(found);
    const isEmpty = !found && this.problem.hidden && !(this.isWide && this.app.store.state.duplicates);
    this.welcome.replaceChildren(...(isEmpty ? this.invitation() : []));
    this.welcome.hidden = !this.welcome.childElementCount;
    this.drawHead();
    if (!found) return this.app.panes.mark([]);
    const { accent, warm } = this.app.colours;
    this.app.panes.mark(found.spaces.flatMap(({ hits }, i) =>
      hits.map(({ row }) => ({ row, colour: i ? warm : accent, width: 1.6 }))));
  }

  invitation() {
    if (!this.isWide) {
      return [el("p", {}, "Hear a sound, then press S: the nearest to it, as each encoder hears " +
        "them. A file can be dropped here.")];
    }
    const way = (key, text) => el("li", {}, el("b", {}, key), " ", text);
    return [
      el("p", { class: "first" }, "The nearest sounds to yours, as each encoder hears them"),
      el("ul", {},
        way("A sound of the collection", "click a row of the table below, then Find similar (S)"),
        way("A part of one", "drag over its spectrogram, then Find this part"),
        way("A file", "drop it here, or choose it with File"),
        way("A recording", "hold R, or press Rec"),
        way("Words", this.app.collection && this.readers().length
          ? "type what it sounds like, then As a sound" : "need a space of an encoder that reads them, such as CLAP")),
    ];
  }
}
