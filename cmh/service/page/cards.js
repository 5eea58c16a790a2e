// The cards of the grid.  Every text of the collection goes through textContent, never through HTML.

export function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export const fileName = (item) => item.name.split("/").pop();

export const title = (item) => item.text || fileName(item);

// Within a sentence: a text may have a thousand characters.
export function quoted(item) {
  const whole = title(item);
  return `“${whole.length > 80 ? `${whole.slice(0, 79)}…` : whole}”`;
}

const distance = (hit) => `${hit.distance} ${hit.distance === 1 ? "bit" : "bits"}`;

// What gave a hit its place: the similarity from -1 to 1, or the bits that differ.
const place = (hit) => (hit.similarity === null ? distance(hit) : hit.similarity.toFixed(2));

export const near = (hit, bits) =>
  `${hit.similarity === null ? "" : `Similarity ${hit.similarity.toFixed(2)}; `}${distance(hit)} of ${bits} differ`;

// on: {open(item), like(item), remove(item) if it may be deleted}
export function card(item, on) {
  const isHit = "distance" in item;
  const shown = item.thumbnail ? picture(item) : make("span", { className: "words", textContent: item.text });
  const open = make("button", { className: "open", type: "button", onclick: () => on.open(item) }, shown);
  open.dataset.item = item.id;
  open.setAttribute("aria-label", isHit ? `${title(item)}, ${item.similarity === null ? `${distance(item)} away` : `similarity ${place(item)}`}` : title(item));
  const like = make("button", { className: "like", type: "button", textContent: "More like this", onclick: () => on.like(item) });
  like.setAttribute("aria-label", `More like ${title(item)}`);
  const made = make("li", { className: "card" }, make("div", { className: "place" }, open, like));
  if (on.remove) {
    const bin = make("button", { className: "like bin", type: "button", textContent: "Delete", onclick: () => on.remove(item) });
    bin.setAttribute("aria-label", `Delete ${title(item)}`);
    like.after(bin);
  }
  made.dataset.item = item.id;
  if (item.thumbnail || isHit) {
    const caption = make("div", { className: "caption" });
    caption.append(make("b", item.thumbnail ? { textContent: title(item), title: item.name } : {}));
    if (isHit) caption.append(make("span", { textContent: place(item), title: item.similarity === null ? "bits of the code that differ" : `similarity, 1 at most; ${distance(item)} of the code differ` }));
    made.append(caption);
  }
  return made;
}

function picture(item) {
  const image = make("img", { src: item.thumbnail, alt: "", loading: "lazy", decoding: "async" });
  const square = make("span", { className: "square" }, image);
  image.onerror = () => square.replaceChildren(make("span", { className: "gone", textContent: "This picture's file is gone" }));
  return square;
}

export function ghosts(count) {
  return Array.from({ length: count }, () =>
    make("li", { className: "card ghost", ariaHidden: "true" }, make("span", { className: "square" })),
  );
}

// A picture or text that is searched with, and a button that leaves it out.
export function part(shown, called, remove) {
  const button = make("button", { type: "button", textContent: "×", onclick: remove });
  button.setAttribute("aria-label", `Leave out ${called}`);
  return make("li", {}, shown, button);
}
