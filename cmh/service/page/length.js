// The slider of the code's length.

import * as address from "./state.js";

const $ = (id) => document.getElementById(id);
let lengths = [];

export function showLength(about, state) {
  lengths = about.lengths;
  const at = lengths.indexOf(state.bits ?? about.bits);
  $("length").hidden = lengths.length < 2 || address.empty(state);
  $("bits").max = lengths.length - 1;
  $("bits").value = at < 0 ? lengths.length - 1 : at;
  say();
}

function say() {
  const length = lengths[$("bits").value];
  $("bits-shown").textContent = `${length} bits`;
  $("bits").setAttribute("aria-valuetext", `${length} bits`);
}

// chosen(length)
export function onLength(chosen) {
  $("bits").addEventListener("input", say);
  $("bits").addEventListener("change", () => chosen(lengths[$("bits").value]));
}
