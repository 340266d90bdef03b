// The routes of the server. Every address carries the version of the collection, so that answers
// never change and browsers may keep them; an answer to an old version (409) starts over.

const KEPT = 24;

export class ServerError extends Error {}

// No fault: what was asked is of an older version, and everything is being loaded again.
export class Outdated extends ServerError {}

export class Api {
  constructor(root, onStale) {
    this.root = root;
    this.onStale = onStale;
    this.version = null;
    this.pending = 0; // requests without an answer yet
    this.kept = new Map();
  }

  url(route, query = {}) {
    const address = new URL(route, this.root);
    for (const [name, value] of Object.entries(query)) {
      if (value === null || value === undefined) continue;
      for (const one of Array.isArray(value) ? value : [value]) {
        address.searchParams.append(name, String(one));
      }
    }
    if (this.version) address.searchParams.set("v", this.version);
    return address.href;
  }

  async fetch(address, options) {
    this.pending += 1;
    const answer = await fetch(address, options).finally(() => (this.pending -= 1));
    if (answer.ok) return answer;
    const told = await answer.json().catch(() => ({}));
    if (answer.status === 409) {
      this.onStale();
      throw new Outdated(told.error);
    }
    throw new ServerError(told.error ?? `The server answered ${answer.status}.`);
  }

  async json(route, query, options) {
    const answer = await this.fetch(this.url(route, query), options);
    return answer.json().catch(() => {
      throw new ServerError(`The server does not know ${route}: restart it after an update.`);
    });
  }

  async bytes(route, query, options) {
    return (await this.fetch(this.url(route, query), options)).arrayBuffer();
  }

  // Binary columns and positions that are shown again and again, by their address.
  keep(route, query) {
    const address = this.url(route, query);
    const found = this.kept.get(address) ?? this.bytes(route, query);
    this.kept.delete(address);
    this.kept.set(address, found);
    found.catch(() => this.kept.delete(address));
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    return found;
  }

  async post(route, body, query = {}) {
    const isSound = body instanceof Blob;
    const headers = { "Content-Type": isSound ? body.type : "application/json" };
    const text = isSound ? body : JSON.stringify(body);
    return (await this.fetch(this.url(route, query), { method: "POST", headers, body: text })).json();
  }

  async points(map) {
    const bytes = await this.keep("points", { map });
    const n = new DataView(bytes).getUint32(0, true);
    return { n, x: new Uint16Array(bytes, 4, n), y: new Uint16Array(bytes, 4 + 2 * n, n) };
  }

  async mask(select) {
    const bytes = await this.bytes("mask", { select: JSON.stringify(select) });
    const [selected, n] = new Uint32Array(bytes, 0, 2);
    return { selected, n, bits: new Uint8Array(bytes, 8) };
  }
}
