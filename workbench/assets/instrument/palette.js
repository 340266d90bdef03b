// Colours: a domain looks the same on every page; hues are Okabe and Ito's, which people with
// the common colour deficiencies tell apart. Dark has the same hues, lighter.

const DOMAINS = {
  __proto__: null, // a domain may be called "constructor"
  speech: ["#2f6db3", "#6aa5e8"],
  sound: ["#d9730d", "#f0a04b"],
  music: ["#148a68", "#45c39c"],
  effects: ["#a4559a", "#d795cf"],
};
const SPARE = ["#e69f00", "#56b4e9", "#7a5195", "#8c6d31", "#b2182b"];
const CATEGORIES = [
  ["#0072b2", "#5aa9e6"], ["#d55e00", "#ff9a52"], ["#009e73", "#43cfa6"], ["#cc79a7", "#e59ac4"],
  ["#c98a00", "#f2b632"], ["#2d93cc", "#86d0f7"], ["#7a5195", "#b68fd2"], ["#8c6d31", "#c4a464"],
  ["#6b9a12", "#b4db57"], ["#b2182b", "#f0727f"], ["#1b7837", "#66bd7e"], ["#4c46a8", "#9a95ef"],
  ["#e07a5f", "#f7a994"], ["#35978f", "#74cfc7"], ["#a5731f", "#dcae62"], ["#4393c3", "#8ec6e6"],
  ["#c2453a", "#ef8b7f"], ["#762a83", "#c07bcc"], ["#4f9c8f", "#97d8cc"],
];
const OTHER = ["#5f6b79", "#b3bdc9"];
const RAMP = ["#fde725", "#7ad151", "#22a884", "#2a788e", "#414487", "#440154"];
export const N_COLOURS = CATEGORIES.length;

const bytes = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

// The colours of a column's values, by code, the most frequent first.
export function categoryColours(column, values, isDark) {
  const tone = isDark ? 1 : 0;
  const spare = values.filter((value) => !(value in DOMAINS)).sort();
  return values.map((value, code) => {
    if (column === "domain") {
      return DOMAINS[value]?.[tone] ?? SPARE[spare.indexOf(value) % SPARE.length];
    }
    return code < N_COLOURS ? CATEGORIES[code][tone] : OTHER[tone];
  });
}

// 0 to 1 as a colour: dark is much on a light page, light is much on a dark one.
export function rampColour(share, isDark) {
  const place = (isDark ? 1 - share : share) * (RAMP.length - 1);
  const i = Math.min(Math.floor(place), RAMP.length - 2);
  const [from, to] = [bytes(RAMP[i]), bytes(RAMP[i + 1])];
  const mixed = from.map((value, j) => Math.round(value + (to[j] - value) * (place - i)));
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

// 256 colours for the graphics card; codes without a colour of their own, and none (255), are grey.
export function texture(colours, isDark) {
  const data = new Uint8Array(256 * 4).fill(255);
  const other = bytes(OTHER[isDark ? 1 : 0]);
  for (let i = 0; i < 256; i++) data.set(i < colours.length ? bytes(colours[i]) : other, i * 4);
  return data;
}

export const colourBytes = bytes;
