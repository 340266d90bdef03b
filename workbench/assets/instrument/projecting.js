// Another map of the space that is shown: its settings in a small window, its making in the
// background with progress and a way to cancel. The page goes on meanwhile.

import { button, choice, el, popover } from "./dom.js";

const ASK_MS = 700;
const HELP = {
  n_neighbours: "more show the whole, fewer the detail",
  min_dist: "how near neighbours may lie on the map, 0 to 1",
  metric: "cosine as search does; euclidean also minds the length of vectors",
  seed: "equal seeds give equal maps; empty takes all cores and gives another each time",
};

export class Projecting {
  constructor(app) {
    this.app = app;
    this.asked = { method: "umap", n_neighbours: 15, min_dist: 0.1, metric: "cosine", seed: 0 };
    this.host = el("span", { class: "making", role: "status", hidden: true });
    this.button = button("New map", (event) => this.ask(event.currentTarget), {
      title: "A map of this space with other settings",
    });
  }

  field(name, input) {
    return el("label", { class: "setting", title: HELP[name] }, el("span", {}, name.replace("_", " ")), input);
  }

  number(name, attributes) {
    const value = this.asked[name] ?? "";
    return this.field(name, el("input", {
      type: "number", value: String(value), ...attributes,
      onchange: (event) => {
        const text = event.currentTarget.value.trim();
        this.asked[name] = text === "" ? null : Number(text);
      },
    }));
  }

  ask(anchor) {
    const { app } = this;
    const of_umap = el("div", { class: "list" },
      this.number("n_neighbours", { min: "2", max: "1000", step: "1" }),
      this.number("min_dist", { min: "0", max: "1", step: "0.05" }),
      this.field("metric", choice([["cosine", "cosine"], ["euclidean", "euclidean"]], this.asked.metric,
        (metric) => (this.asked.metric = metric))),
      this.number("seed", { min: "0", step: "1" }));
    of_umap.hidden = this.asked.method !== "umap";
    const method = choice([["umap", "UMAP"], ["pca", "PCA"]], this.asked.method, (value) => {
      this.asked.method = value;
      of_umap.hidden = value !== "umap";
    });
    const close = popover(anchor, app.root,
      el("p", { class: "soft" }, `A map of ${app.spaceName(app.space())}`),
      this.field("method", method), of_umap,
      button("Make it", () => (close(), this.make()), { class: "main" }));
  }

  async make() {
    const { app } = this;
    const asked = this.asked.method === "umap" ? this.asked : { method: "pca" };
    const told = await app.attempt(() => app.api.post("project", { space: app.space(), ...asked }));
    if (told) this.follow(told.job, true);
  }

  // One that was begun before this page was opened, or by somebody else.
  async resume() {
    if (this.isFollowing) return;
    const told = await this.app.api.json("projecting").catch(() => null);
    if (told?.job?.state === "running") this.follow(told.job, false);
  }

  async cancel() {
    const told = await this.app.attempt(() => this.app.api.post("project", { cancel: true }));
    if (told) this.draw(told.job);
  }

  // Until it is there: then it is shown to who asked for it and chose no other map meanwhile.
  async follow(job, isMine) {
    const { app } = this;
    const { map } = app.store.state;
    this.isFollowing = true;
    while (job && job.state === "running" && !app.isEnded) {
      this.draw(job);
      await new Promise((done) => setTimeout(done, ASK_MS));
      const told = await app.api.json("projecting").catch(() => null);
      job = told ? told.job : job;
    }
    this.isFollowing = false;
    this.draw(job);
    if (job?.state === "failed") app.say(`The map was not made. ${job.error}`);
    if (job?.state !== "done") return;
    await app.restart();
    if (isMine && app.store.state.map === map) app.store.set({ map: job.map });
    app.say("The map is there.");
  }

  draw(job) {
    const isRunning = job?.state === "running";
    this.host.hidden = !isRunning;
    this.button.hidden = isRunning;
    if (!isRunning) return;
    const bar = el("progress", { max: "1" });
    bar.value = job.share;
    const what = job.what.split(": ").at(-1);
    if (!this.host.firstChild) {
      this.said = el("span", { class: "soft num" });
      this.host.append(this.said, el("span", { class: "bar-of-making" }),
        button("✕", () => this.cancel(), { class: "plain", "aria-label": "Cancel the map", title: "Cancel" }));
    }
    this.said.textContent = `${what} ${Math.round(job.share * 100)} %`;
    this.host.children[1].replaceChildren(bar);
  }
}
