// One sound at a time: the spectrogram and the waveform of exactly the embedded segment, a
// playhead over both, and a part of it that can be heard in a loop and looked for.

import { button, choice, el, follow, number, redraw } from "./dom.js";
import { cut } from "./wav.js";

const PASS_MS = 1000;
const PICTURE = { width: 640, height: 208 };

export class Player {
  constructor(app) {
    this.app = app;
    this.audio = new Audio();
    this.audio.preload = "auto";
    this.part = null;
    this.name = el("h2", {}, "Nothing to hear yet");
    this.about = el("p", { class: "soft" }, "Click a point of the map or a row of the table.");
    this.picture = el("img", { alt: "", draggable: false });
    this.wave = el("canvas", { "aria-hidden": "true" });
    this.head = el("i", { class: "playhead" });
    this.window = el("i", { class: "part", hidden: true });
    this.screen = el("div", { class: "screen" }, this.picture, this.wave, this.window, this.head);
    this.kind = button("mel", null, { class: "kind", "aria-label": "Frequency scale", hidden: true });
    this.screen.append(this.kind);
    this.drawButtons();
    this.host = el("section", { class: "player", "aria-label": "Sound" },
      this.name, this.about, this.screen, this.buttons);
    this.listen();
    app.store.on(["kind"], () => this.show());
    app.store.on(["loop", "kind", "play"], () => this.drawButtons());
  }

  listen() {
    const { audio } = this;
    for (const name of ["play", "pause", "seeked", "loadedmetadata"]) {
      audio.addEventListener(name, () => this.follow());
    }
    audio.addEventListener("ended", () => this.ended());
    audio.addEventListener("error", () => audio.getAttribute("src") && this.explain());
    this.screen.addEventListener("pointerdown", (event) => this.press(event));
  }

  drawButtons() {
    const { state } = this.app.store;
    this.toggle = button(this.audio.paused ? "▶" : "❚❚", () => this.playOrPause(), {
      class: "main", "aria-label": "Play or pause", title: "Play or pause (space)",
    });
    this.time = el("span", { class: "soft num time" });
    this.lookFor = button("Find this part", () => this.searchPart(), { class: "look-for" });
    this.similar = button("Find similar", () => this.app.search.fromHeard(), {
      title: "Find what is similar to it (S)", class: "look-for",
    });
    const parts = [
      button("K", () => this.app.step(-1), { "aria-label": "Previous", title: "Previous (K)" }),
      this.toggle,
      button("J", () => this.app.step(1), { "aria-label": "Next", title: "Next (J)" }),
      button("↻", () => this.app.store.set({ loop: !state.loop }), {
        "aria-label": "Loop", "aria-pressed": String(state.loop), title: "Play in a loop",
      }),
      this.time,
      el("span", { class: "gap" }),
      this.lookFor,
      this.similar,
      choice([["click", "on click"], ["hover", "on hover"], ["off", "by hand"]],
        state.play, (play) => this.app.store.set({ play }), { "aria-label": "Autoplay" }),
    ];
    this.offer();
    this.buttons ??= el("div", { class: "buttons" });
    redraw(this.buttons, ...parts);
    const other = state.kind === "mel" ? "linear" : "mel";
    this.kind.textContent = state.kind;
    this.kind.onclick = () => this.app.store.set({ kind: other });
    this.kind.title = `Frequency scale: ${state.kind}; click for ${other}`;
    this.follow();
  }

  // What can be looked for: a part that was chosen, else the whole. Beside the map, the bar has
  // the button for that.
  offer() {
    this.lookFor.hidden = !this.part;
    this.similar.hidden = !!this.part || this.app.view !== "search" || this.one?.segment_id === undefined;
  }

  // What is heard: a segment of the collection, or a query of one's own.
  load(one, { isHeard }) {
    this.one = one;
    this.stop();
    this.choosePart(null);
    const key = one.query ? { query: one.query } : { segment: one.segment_id };
    this.key = key;
    this.name.textContent = one.clip_id ?? one.name;
    this.name.title = this.name.textContent;
    this.describe(one);
    this.hasAudio = one.has_audio !== false;
    this.kind.hidden = !this.hasAudio;
    if (!this.hasAudio) return this.silence();
    this.audio.src = this.app.api.url("sound", key);
    this.show();
    this.drawWave();
    if (isHeard) this.play();
  }

  // Vectors may be imported without the sounds that they were made of.
  silence() {
    this.audio.removeAttribute("src");
    this.picture.removeAttribute("src");
    this.wave.width = 0;
    this.about.append(" · no audio in this workspace");
    this.follow();
    this.pass();
  }

  // Why a sound does not play, as the server says it.
  async explain() {
    const { one } = this;
    const reason = await this.app.api.bytes("sound", this.key).then(
      () => "This browser does not play the sound.", (error) => error.message);
    if (one !== this.one) return;
    this.app.say(reason);
    this.pass();
  }

  // Where several are played in turn, one that cannot be heard is passed, slowly enough to be seen.
  pass() {
    const { one } = this;
    setTimeout(() => one === this.one && !this.isEnded && this.app.heard(), PASS_MS);
  }

  describe(one) {
    const dot = el("i", { class: "dot" });
    dot.style.background = this.app.domainColour(one.domain);
    const names = [one.domain, one.label, one.cluster_id].filter((text) => text);
    const span = one.end_s === undefined ? "" : `${one.start_s.toFixed(2)} to ${one.end_s.toFixed(2)} s`;
    const tags = (one.tags ?? []).map((tag) => el("span", { class: "chip" }, tag));
    this.about.replaceChildren(one.domain ? dot : "", [...names, span].join(" · "), ...tags);
    if (one.segment_id !== undefined) {
      this.about.append(button(one.note ? `“${one.note.text}”` : "+ note", (event) =>
        this.app.bar.askNote(event.currentTarget, one), { class: "plain soft" }));
      const only = { select: [{ segments: [one.segment_id] }], text: one.clip_id };
      this.about.append(" ", button("✎ label", (event) =>
        this.app.bar.askLabel(event.currentTarget, only, one.label ?? ""), { class: "plain soft" }));
    }
  }

  show() {
    if (!this.one || !this.hasAudio) return;
    const { kind } = this.app.store.state;
    this.picture.src = this.app.api.url("spectrogram", { ...this.key, kind, ...PICTURE });
    this.picture.alt = `${kind} spectrogram of ${this.name.textContent}`;
  }

  async drawWave() {
    const { one, wave } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [wave.clientWidth * ratio, wave.clientHeight * ratio];
    [wave.width, wave.height] = [width, height];
    const { peaks } = await this.app.api.json("wave", this.key).catch(() => ({ peaks: [] }));
    if (one !== this.one) return;
    const pen = wave.getContext("2d");
    pen.clearRect(0, 0, width, height);
    pen.fillStyle = this.app.colours.accent;
    const most = Math.max(...peaks, 1e-6);
    peaks.forEach((peak, i) => {
      const tall = Math.max((peak / most) * height * 0.94, ratio);
      pen.fillRect((i / peaks.length) * width, (height - tall) / 2, Math.max(width / peaks.length - 0.5, 0.8), tall);
    });
  }

  // --- playing -------------------------------------------------------------------------------

  play() {
    if (this.part && !this.inPart()) this.audio.currentTime = this.part[0];
    if (!this.hasAudio) return;
    // Browsers let nothing play before somebody has clicked: then it waits for the button.
    this.audio.play().catch(() => {});
  }

  stop() {
    this.audio.pause();
  }

  playOrPause() {
    if (this.audio.paused) this.play();
    else this.stop();
  }

  inPart() {
    const { currentTime } = this.audio;
    return currentTime >= this.part[0] - 0.01 && currentTime < this.part[1] - 0.01;
  }

  ended() {
    if (this.app.store.state.loop) {
      this.audio.currentTime = this.part?.[0] ?? 0;
      this.play();
    } else {
      this.app.heard();
    }
  }

  // The playhead, as long as there is something to follow.
  follow() {
    const { audio } = this;
    const length = this.length();
    const now = Math.min(audio.currentTime, length);
    this.toggle.textContent = audio.paused ? "▶" : "❚❚";
    this.head.style.left = `${(now / (length || 1)) * 100}%`;
    this.head.hidden = !this.one;
    this.time.textContent = this.one ? `${now.toFixed(2)} / ${number(length)} s` : "";
    if (this.part && !audio.paused && audio.currentTime >= this.part[1]) {
      if (this.app.store.state.loop) audio.currentTime = this.part[0];
      else this.stop();
    }
    if (!audio.paused && !this.isEnded) requestAnimationFrame(() => this.follow());
  }

  length() {
    if (Number.isFinite(this.audio.duration)) return this.audio.duration;
    return this.one?.duration_s ?? (this.one ? this.one.end_s - this.one.start_s : 0);
  }

  // --- a part of it --------------------------------------------------------------------------

  press(event) {
    if (!this.hasAudio || event.target === this.kind) return;
    const frame = this.screen.getBoundingClientRect();
    const at = (one) => Math.max(0, Math.min(1, (one.clientX - frame.left) / frame.width)) * this.length();
    const start = at(event);
    let far = false;
    const move = (next) => {
      far ||= Math.abs(next.clientX - event.clientX) > 4;
      if (far) this.choosePart([start, at(next)].sort((a, b) => a - b));
    };
    follow(this.screen, event, move, (isCancelled) => {
      if (isCancelled) return;
      if (!far) this.choosePart(null);
      this.audio.currentTime = this.part?.[0] ?? start;
      this.play();
    });
  }

  choosePart(part) {
    this.part = part;
    this.window.hidden = !part;
    this.offer();
    if (!part) return;
    this.window.style.left = `${(part[0] / this.length()) * 100}%`;
    this.window.style.width = `${((part[1] - part[0]) / this.length()) * 100}%`;
  }

  async searchPart() {
    const [start_s, end_s] = this.part;
    const name = `${this.name.textContent}, ${start_s.toFixed(2)} to ${end_s.toFixed(2)} s`;
    const { segment } = this.key;
    if (segment !== undefined) return this.app.search.ask({ segment, start_s, end_s }, name);
    const bytes = await this.app.api.bytes("sound", this.key);
    await this.app.search.ask(cut(bytes, start_s, end_s), name);
  }

  end() {
    this.isEnded = true;
    this.stop();
    this.audio.removeAttribute("src");
    this.audio.load();
  }
}
