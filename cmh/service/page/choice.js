// The choice among several collections behind one port.

import { make } from "./cards.js";

// about: what the service says of this collection; its `collections` are all, each with its address
export function choose(about) {
  const place = document.getElementById("choice");
  place.hidden = about.collections.length < 2;
  const options = about.collections.map((one) => make("option", { value: one.address, textContent: one.name }));
  document.getElementById("name").hidden = !place.hidden; // the choice says it
  place.replaceChildren(...options);
  place.value = location.pathname;
  place.addEventListener("change", () => location.assign(place.value));
}
