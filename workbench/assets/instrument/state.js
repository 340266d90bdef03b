// One state: what is shown, selected and heard. It stands in the page's address, so that a link
// opens the same view elsewhere; what it was before stands in a stack, so that it can be undone.

import { same } from "./dom.js";

const DEFAULTS = {
  map: null,
  beside: null,
  mode: "one",
  colour: "domain",
  select: [],
  focus: null,
  view: null,
  sort: null,
  down: false,
  for: [],
  unlike: [],
  spaces: [],
  within: false,
  duplicates: null,
  k: 6,
  play: "click",
  kind: "mel",
  loop: false,
};
const UNDONE = ["map", "beside", "mode", "colour", "select", "for", "unlike", "spaces", "within", "duplicates"];
const TEXTS = new Set(["duplicates", "map", "beside", "mode", "colour", "sort", "play", "kind"]);
const FIT = {
  select: (value) => Array.isArray(value) && value.every((one) => one && typeof one === "object"),
  view: (value) => Array.isArray(value) && value.length === 3 && value.every(Number.isFinite),
  focus: Number.isInteger,
  k: Number.isInteger,
};
const KEY = "usad.instrument";
const OF = "usad.instrument.of";

export class Store {
  constructor() {
    this.state = { ...DEFAULTS };
    this.listeners = [];
    this.before = [];
    this.ticked = new Set();
    const kept = sessionStorage.getItem(KEY) ?? "";
    this.isKept = location.search.length < 2;
    this.read(this.isKept ? kept : location.search);
  }

  // What was kept is of one collection: another one on the same address begins anew.
  belongTo(collection) {
    if (this.isKept && sessionStorage.getItem(OF) !== collection) Object.assign(this.state, DEFAULTS);
    sessionStorage.setItem(OF, collection);
    this.isKept = false;
  }

  read(search) {
    for (const [name, text] of new URLSearchParams(search)) {
      if (!(name in DEFAULTS)) continue;
      try {
        const value = TEXTS.has(name) ? text : JSON.parse(text);
        const isFit = FIT[name] ?? (Array.isArray(DEFAULTS[name]) ? Array.isArray : () => true);
        if (isFit(value)) this.state[name] = value;
      } catch {
        continue; // a link that lost its end opens with what is left of it
      }
    }
  }

  on(names, act) {
    this.listeners.push([names, act]);
  }

  set(changes, { undo = true } = {}) {
    const names = Object.keys(changes).filter((name) => !same(changes[name], this.state[name]));
    if (!names.length) return;
    if (undo && names.some((name) => UNDONE.includes(name))) {
      const { state } = this;
      this.before.push(Object.fromEntries(UNDONE.map((name) => [name, state[name]])));
      if (this.before.length > 100) this.before.shift();
    }
    Object.assign(this.state, changes);
    this.write();
    this.tell(names);
  }

  tell(names) {
    for (const [wanted, act] of this.listeners) {
      if (wanted.some((name) => names.includes(name))) act(this.state);
    }
  }

  // What is done on the server is undone there.
  remember(act) {
    this.before.push(act);
    this.tell(["history"]);
  }

  async undo() {
    const last = this.before.pop();
    if (typeof last === "function") await last();
    else if (last) this.set(last, { undo: false });
    this.tell(["history"]);
  }

  write() {
    const query = new URLSearchParams(location.search); // what is not ours stays
    for (const [name, fallback] of Object.entries(DEFAULTS)) {
      const value = this.state[name];
      query.delete(name);
      if (same(value, fallback) || value === null) continue;
      query.set(name, TEXTS.has(name) ? value : JSON.stringify(value));
    }
    const search = query.size ? `?${query}` : "";
    sessionStorage.setItem(KEY, search);
    history.replaceState(history.state, "", location.pathname + search + location.hash);
  }

  tick(segment) {
    if (!this.ticked.delete(segment)) this.ticked.add(segment);
    this.tell(["ticked"]);
  }

  // Takes all ticks away; whether there were any.
  untick() {
    const wereAny = this.ticked.size > 0;
    this.ticked.clear();
    if (wereAny) this.tell(["ticked"]);
    return wereAny;
  }

  // The selection without clauses of one kind, with another in their place.
  clause(isOld, clause) {
    const others = this.state.select.filter((one) => !isOld(one));
    this.set({ select: clause ? [...others, clause] : others });
  }
}
