// The bar that always says how much is selected, and everything that can be done with it.

import { button, count, el, popover, redraw } from "./dom.js";

const MOST_SOUNDS = 5000; // that one archive may hold

export class Bar {
  constructor(app) {
    this.app = app;
    this.host = el("section", { class: "bar-of-selection", "aria-label": "Selection" });
    this.said = el("span", { class: "said num", role: "status" });
    app.store.on(["select", "ticked", "history", "for"], () => this.draw());
  }

  tell(selected, n) {
    [this.selected, this.n] = [selected, n];
    this.draw();
  }

  draw() {
    const { store } = this.app;
    const { select } = store.state;
    const isAll = !select.length;
    this.said.replaceChildren(
      el("b", {}, `${count(this.selected ?? 0)} of ${count(this.n ?? 0)}`),
      el("span", { class: "soft" }, isAll ? " segments" : " selected"),
    );
    const ticked = store.ticked.size;
    const isMap = this.app.view === "map";
    redraw(
      this.host, this.said,
      ticked ? button(`Keep ${count(ticked)} ticked`, () => this.keepTicked(), { class: "chip" }) : "",
      el("span", { class: "gap" }),
      button(this.isPlaying ? "❚❚ Stop" : "▶ Play all", () => this.playAll(), { class: "main" }),
      isMap ? button("Similar", () => this.app.search.fromHeard(), {
        title: "Find what is similar to what is heard (S)", disabled: !this.app.focused,
      }) : "",
      isMap ? button("Compare", () => store.set({ mode: "beside" }), {
        title: "The selection on two maps beside each other",
      }) : "",
      button("Tag", (event) => this.askTag(event.currentTarget), {
        title: `Tag ${ticked ? "what is ticked" : "the selection"} (T)`, class: "tag",
      }),
      button("Export", (event) => this.askExport(event.currentTarget)),
      button("Link", (event) => this.copy(event.currentTarget), {
        title: "Copy a link that opens this view and selection", "aria-label": "Copy link",
      }),
      button("✕", () => this.clear(), {
        "aria-label": "Clear the selection", title: "Clear the ticks, then the selection (Escape)",
        disabled: isAll && !ticked,
      }),
      button("↶", () => this.undo(), {
        "aria-label": "Undo", title: "Undo (Z)", disabled: !store.before.length,
      }),
    );
  }

  async undo() {
    await this.app.attempt(() => this.app.store.undo());
    this.draw();
  }

  // Ticks first: they were set last.
  clear() {
    if (!this.app.store.untick()) this.app.store.set({ select: [] });
  }

  // What is tagged and exported: what is ticked, else what is selected.
  subject() {
    const { state, ticked } = this.app.store;
    if (!ticked.size) return { select: state.select, n: this.selected, text: `${count(this.selected)} segments` };
    const segments = [...ticked];
    return { select: [{ segments }], n: segments.length, text: `${count(segments.length)} ticked segments` };
  }

  keepTicked() {
    const { store } = this.app;
    const { select } = this.subject();
    store.untick();
    store.set({ select });
  }

  // Row after row of the table, until somebody stops it or hears something else.
  async playAll() {
    this.isPlaying = !this.isPlaying;
    this.draw();
    this.app.search.hits.stop();
    if (!this.isPlaying) return this.app.player.stop();
    const row = await this.app.table.row(Math.max(this.app.table.place(), 0));
    if (row) this.app.focus(row, { isAll: true });
  }

  stopAll() {
    if (!this.isPlaying) return;
    this.isPlaying = false;
    this.draw();
  }

  askTag(anchor) {
    const known = this.app.tags.map(({ tag }) => el("option", { value: tag }));
    const input = el("input", {
      placeholder: "a tag", maxlength: "80", list: "known-tags", "aria-label": "Tag",
      onkeydown: (event) => event.key === "Enter" && (event.preventDefault(), act(false)),
    });
    const act = async (remove) => {
      const tag = input.value.trim();
      if (!tag) return;
      close();
      await this.tag(tag, remove);
    };
    const close = popover(
      anchor, this.app.root,
      el("p", { class: "soft" }, `Tag ${this.subject().text} as`),
      input, el("datalist", { id: "known-tags" }, known),
      el("div", { class: "buttons" },
        button("Tag", () => act(false), { class: "main" }), button("Remove tag", () => act(true)),
        button("Label…", () => (close(), this.askLabel(anchor)), {
          title: "Another label for their clips, which evaluations read",
        })),
    );
  }

  // A label is the clip's own, in the place of the one before; who changed it when is kept.
  async askLabel(anchor, { select, text } = this.subject(), label = "") {
    const known = (await this.app.attempt(() => this.app.learnValues("label"))) ?? [];
    const input = el("input", {
      value: label, placeholder: "a label; none takes it away", maxlength: "200",
      list: "known-labels", "aria-label": "Label",
      onkeydown: (event) => event.key === "Enter" && (event.preventDefault(), act()),
    });
    const act = () => {
      close();
      return this.label(select, input.value.trim());
    };
    const close = popover(
      anchor, this.app.root,
      el("p", { class: "soft" }, `Label the clips of ${text} as`),
      input, el("datalist", { id: "known-labels" }, known.slice(0, 500).map((value) => el("option", { value }))),
      button("Label", act, { class: "main" }),
    );
  }

  label(select, label) {
    return this.app.attempt(async () => {
      const { n, edit } = await this.app.api.post("label", { select, label });
      if (edit === null) return this.app.say("Nothing has changed: these clips have that label.");
      this.app.store.remember(() => this.unlabel(edit));
      await this.app.restart(); // colours, counts and filters are of the labels before
      this.app.say(`${count(n)} ${n === 1 ? "clip" : "clips"} ${label ? `labelled “${label}”` : "without a label now"}.`);
    });
  }

  async unlabel(edit) {
    await this.app.api.post("unlabel", { edit });
    await this.app.restart();
  }

  tag(tag, remove = false) {
    return this.app.attempt(async () => {
      const { select } = this.subject();
      const { tags, edit } = await this.app.api.post("tag", { select, tag, remove });
      this.app.setTags(tags);
      if (edit === null) return this.app.say("Nothing has changed: these segments are so already.");
      this.app.store.remember(() => this.undoOnServer(edit));
      this.app.say(remove ? `Removed the tag “${tag}”.` : `Tagged as “${tag}”.`);
    });
  }

  // This edit alone: others write to the same collection meanwhile.
  async undoOnServer(edit) {
    const { tags } = await this.app.api.post("undo", { edit });
    this.app.setTags(tags);
  }

  askNote(anchor, one) {
    const input = el("input", {
      value: one.note?.text ?? "", placeholder: "a note", maxlength: "500", "aria-label": "Note",
      onkeydown: (event) => event.key === "Enter" && (event.preventDefault(), act()),
    });
    const act = () => {
      const text = input.value.trim();
      close();
      return this.app.attempt(async () => {
        const { edit } = await this.app.api.post("note", { segment: one.segment_id, text });
        one.note = text ? { text } : null;
        this.app.store.remember(() => this.undoOnServer(edit));
        this.app.player.describe(one);
      });
    };
    const close = popover(anchor, this.app.root, input, button("Keep", act, { class: "main" }));
  }

  askExport(anchor) {
    const { text, n, select: chosen } = this.subject();
    const select = JSON.stringify(chosen);
    const space = this.app.space();
    const link = (format, words) => el("a", {
      href: this.app.api.url("export", { select, space, format }), role: "button",
      onclick: (event) => (event.preventDefault(), this.download(event.currentTarget.href)),
    }, words);
    popover(
      anchor, this.app.root,
      el("p", { class: "soft" }, `Export ${text} as`),
      el("div", { class: "list" },
        link("csv", "CSV: columns, tags, x, y"),
        link("parquet", "Parquet: the same, with vectors"),
        n > MOST_SOUNDS
          ? el("p", { class: "soft" }, `WAV files: of ${count(MOST_SOUNDS)} segments at most`)
          : link("wav", "WAV files in a ZIP")),
    );
  }

  // Into a frame that nobody sees: a file becomes a download, and what the server refuses is read.
  download(address) {
    const { app } = this;
    this.frame ??= el("iframe", { hidden: true, title: "Export", onload: () => this.refused() });
    if (!this.frame.isConnected) app.root.append(this.frame);
    this.frame.src = address;
    app.say("The file is being written, and comes as a download.");
  }

  refused() {
    const text = this.frame.contentDocument?.body?.textContent;
    if (!text) return;
    const told = JSON.parse(text);
    this.app.say(told.error);
    if (told.version) this.app.restart();
  }

  async copy(anchor) {
    const { href } = location;
    try {
      await navigator.clipboard.writeText(href);
      this.app.say("The link is in the clipboard.");
    } catch {
      // Pages that are not served over https may not write there: the link is shown instead.
      const input = el("input", { value: href, readonly: true, "aria-label": "Link" });
      popover(anchor, this.app.root, el("p", { class: "soft" }, "Copy this link"), input);
      input.select();
    }
  }
}
