// The nearest point to a click: rows sorted by cell once, then only the cells around are read.

const SIDE = 512;
const NONE = 65535;
const cell = (value) => (value * SIDE) >> 16;

export class Nearest {
  constructor({ n, x, y }) {
    this.x = x;
    this.y = y;
    this.starts = new Uint32Array(SIDE * SIDE + 1);
    const cells = new Uint32Array(n);
    for (let i = 0; i < n; i++) {
      cells[i] = cell(y[i]) * SIDE + cell(x[i]);
      this.starts[cells[i] + 1]++;
    }
    for (let c = 0; c < SIDE * SIDE; c++) this.starts[c + 1] += this.starts[c];
    const next = this.starts.slice(0, -1);
    this.rows = new Uint32Array(n);
    for (let i = 0; i < n; i++) this.rows[next[cells[i]]++] = i;
  }

  // The row nearest to a place (0 to 1) within a reach, among those that are wanted; -1 if none.
  find(atX, atY, reach, isWanted = () => true) {
    const [placeX, placeY, limit] = [atX * NONE, atY * NONE, reach * NONE];
    const bound = (value) => Math.max(0, Math.min(SIDE - 1, cell(value)));
    let [best, distance] = [-1, limit * limit];
    for (let row = bound(placeY - limit); row <= bound(placeY + limit); row++) {
      const first = this.starts[row * SIDE + bound(placeX - limit)];
      const last = this.starts[row * SIDE + bound(placeX + limit) + 1];
      for (let k = first; k < last; k++) {
        const i = this.rows[k];
        const away = (this.x[i] - placeX) ** 2 + (this.y[i] - placeY) ** 2;
        if (away > distance || (this.x[i] === NONE && this.y[i] === NONE)) continue;
        if (!isWanted(i)) continue;
        [best, distance] = [i, away];
      }
    }
    return best;
  }
}
