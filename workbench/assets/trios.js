// Sounds, each beside the nearest that encoders find to it: a click plays, one at a time.

const el = (tag, attributes, ...children) => {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
};

function player(routes) {
  const audio = new Audio();
  let playing = null;
  const show = (isOn) => {
    playing?.classList.toggle("on", isOn);
    playing?.setAttribute("aria-pressed", String(isOn));
  };
  const stop = () => {
    audio.pause();
    show(false);
    playing = null;
  };
  audio.onended = stop;
  const toggle = (button, segment) => {
    const isSame = button === playing;
    stop();
    if (isSame) return;
    playing = button;
    audio.src = new URL(`sound?segment=${segment}`, routes).href;
    show(true);
    audio.play().catch(() => button === playing && stop()); // not when another took its place
  };
  return { stop, toggle };
}

function sound({ segment, clip, said }, routes, toggle) {
  const picture = el("img", {
    src: new URL(`spectrogram?segment=${segment}&width=180&height=72`, routes).href,
    alt: "", loading: "lazy",
  });
  const button = el("button", { type: "button", title: clip }, picture, el("span", { textContent: said }));
  picture.onerror = () => {
    button.disabled = true;
    picture.replaceWith(el("i", { textContent: "no sound" }));
  };
  button.setAttribute("aria-label", `Play ${clip}: ${said}`);
  button.setAttribute("aria-pressed", "false");
  button.onclick = () => toggle(button, segment);
  return button;
}

export default function ({ parentElement, data }) {
  const routes = new URL("instrument/", location.href);
  const { stop, toggle } = player(routes);
  const rows = data.rows.map(({ clip, href, sounds }) => el("section", {},
    el("a", { href, target: "_self", textContent: clip, title: "Open it on the map" }),
    el("div", { className: "trio" }, ...sounds.map((one) => sound(one, routes, toggle)))));
  parentElement.querySelector(".trios")?.remove();
  const all = el("a", { className: "all", href: data.all.href, target: "_self", textContent: data.all.said });
  parentElement.append(el("div", { className: "trios" }, ...rows, all));
  return stop;
}
