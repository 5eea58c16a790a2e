// The page: reads what is asked from its address, asks the service, shows the answer.

import * as api from "./api.js";
import * as pictures from "./pictures.js";
import * as address from "./state.js";
import { given } from "./given.js";
import { choose } from "./choice.js";
import { adding, deleting } from "./changes.js";
import { filters, values } from "./columns.js";
import { enter } from "./entrance.js";
import { onLength, showLength } from "./length.js";
import { card, near, fileName, ghosts, make, part, quoted, title } from "./cards.js";

const PAGE = 24;
const MOST = 4; // pictures of one search
const $ = (id) => document.getElementById(id);
const seen = new Map(); // id → item, for the details and the parts of a search

let about = null;
let state = null; // of what is shown
let next = null; // offset of the next page
let running = null; // aborts what is being asked
let opener = null; // what had the focus before the details

// Going somewhere

function go(change) {
  const typed = "item" in change ? {} : { text: $("text").value.trim() }; // counts without Enter too
  const wanted = { ...state, item: null, ...typed, ...change };
  if (address.address(wanted) !== location.pathname + location.search) history.pushState({ item: wanted.item }, "", address.address(wanted));
  return show();
}

async function show() {
  const wanted = address.read();
  const stays = state && address.same(wanted, state);
  state = wanted;
  if (!stays) $("text").value = state.text; // what is being typed stays while details open and close
  showLength(about, state);
  showFilters();
  await showParts();
  if (state !== wanted) return; // someone was quicker
  if (!stays) await ask(0);
  await showDetail();
}

async function ask(offset) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const began = performance.now();
  const first = offset === 0;
  const waiting = setTimeout(() => first && !$("grid").childElementCount && $("grid").replaceChildren(...ghosts(12)), 150);
  $("results").setAttribute("aria-busy", "true");
  $("grid").classList.toggle("loading", first);
  if (first) $("status").textContent = "Searching …";
  try {
    if (address.empty(state)) await showAll(offset, signal);
    else await showHits(offset, signal, began);
  } catch (error) {
    if (error.name === "AbortError") return;
    showFailure(error);
  } finally {
    clearTimeout(waiting);
    if (!signal.aborted) {
      $("results").setAttribute("aria-busy", "false");
      $("grid").classList.remove("loading");
    }
  }
}

// Showing

async function showAll(offset, signal) {
  const answer = await api.items(state.where, PAGE, offset, signal);
  fill(answer.shown, offset, answer.next);
  document.title = about.name;
  const what = answer.what === "image" ? "pictures" : "texts";
  $("status").textContent = state.where.length
    ? `${answer.matching.toLocaleString()} of ${answer.items.toLocaleString()} ${what} fit the filters`
    : `${answer.items.toLocaleString()} ${what}. Describe one, or drop a picture to find others like it.`;
  $("lost").hidden = true;
}

async function showHits(offset, signal, began) {
  const query = await readQuery();
  const answer = await api.search(query, PAGE, offset, signal);
  fill(answer.hits, offset, answer.next);
  document.title = [state.text, state.likes.length + state.pictures.length && "pictures"].filter(Boolean).join(" + ") + ` – ${about.name}`;
  const shown = $("grid").childElementCount;
  const milliseconds = Math.round(performance.now() - began);
  $("status").textContent = answer.hits.length || !offset
    ? `The ${shown} nearest of ${answer.matching.toLocaleString()}${state.where.length ? " that fit the filters" : ""}, in ${milliseconds} ms`
    : "That is all there is";
  await showLost(query, shown, answer.bits, signal);
}

// How many of the shown are among the nearest by the whole code too.
async function showLost(query, shown, bits, signal) {
  $("lost").hidden = bits === about.bits;
  for (const made of $("grid").children) made.classList.remove("other");
  if (bits === about.bits) return;
  const whole = await api.search({ ...query, bits: null }, Math.min(shown, 200), 0, signal);
  const ids = new Set(whole.hits.map((hit) => hit.id));
  const cards = [...$("grid").children].slice(0, 200);
  const other = cards.filter((made) => !ids.has(made.dataset.item));
  for (const made of other) made.classList.add("other");
  $("lost").textContent = other.length
    ? `${cards.length - other.length} of these ${cards.length} are among the nearest by all ${about.bits} bits; the faded ones are not.`
    : `All of these ${cards.length} are among the nearest by all ${about.bits} bits: nothing is lost here.`;
}

async function readQuery() {
  const found = await Promise.all(state.pictures.map(pictures.blob));
  if (found.includes(null))
    throw new api.Failure(404, "A picture of this search is no longer in this tab. Drop it again.");
  return { text: state.text, likes: state.likes, pictures: found, bits: state.bits, where: state.where };
}

function fill(items, offset, following) {
  for (const item of items) seen.set(item.id, item);
  const on = { open: (item) => go({ item: item.id }), like: (item) => go({ text: "", likes: [item.id], pictures: [] }), remove: about.writable && remove };
  const cards = items.map((item) => card(item, on));
  $("notice").hidden = true;
  $("grid").classList.toggle("texts", about.what === "text");
  if (offset) $("grid").append(...cards);
  else {
    $("grid").replaceChildren(...cards);
    scrollTo({ top: 0 });
  }
  if (offset) cards[0]?.querySelector(".open").focus();
  next = following;
  $("more").hidden = next === null;
  if (!items.length && !offset) notice("Nothing was found", state.where.length ? "Nothing fits all of the filters; leave one out." : "Leave out a part of the search.");
}

function notice(head, said, ...more) {
  $("notice").replaceChildren(make("h2", { textContent: head }), make("p", { textContent: said }), ...more);
  $("notice").hidden = false;
}

function showFailure(error) {
  $("grid").replaceChildren();
  $("more").hidden = $("lost").hidden = true;
  if (error.status === 401) {
    $("status").textContent = "";
    return enter();
  }
  $("status").textContent = "";
  const heads = { 404: "This is not here any more", 422: "This cannot be searched for", 413: "This picture is too large", 503: "The service is busy" };
  const again = make("button", { className: "plain", type: "button", textContent: "Try again", onclick: () => (about ? ask(0) : start()) });
  notice(heads[error.status] ?? "Something went wrong", error.message, ...(error.status === 422 || error.status === 404 ? [] : [again]));
  $("status").textContent = $("notice").querySelector("h2").textContent;
  if (error.status === 503 && error.retry) setTimeout(() => !$("notice").hidden && ask(0), error.retry * 1000);
}

function showFilters() {
  const chosen = filters(about.columns, state.where, (where) => go({ where }));
  const labels = about.labels.slice(0, 14).map((label) => make("button", { type: "button", textContent: label, onclick: () => go({ text: label }) }));
  const focused = [...document.querySelectorAll("#filters button")].indexOf(document.activeElement);
  $("filters").replaceChildren(...(chosen.length || !labels.length ? chosen : [make("div", { className: "filters" }, ...labels)]));
  $("filters").hidden = !$("filters").childElementCount;
  document.querySelectorAll("#filters button")[focused]?.focus(); // a filter is switched where it is
}

async function showParts() {
  const parts = [];
  for (const key of state.pictures) {
    const image = make("img", { src: await pictures.address(key), alt: "Your picture" });
    parts.push(part(image, "your picture", () => go({ pictures: state.pictures.filter((one) => one !== key) })));
  }
  for (const id of state.likes) {
    const item = seen.get(id) ?? (await api.item(id).catch(() => null));
    if (item) seen.set(id, item);
    const shown = item && !item.thumbnail
      ? make("span", { className: "quote", textContent: item.text })
      : make("img", { src: `items/${id}/thumbnail`, alt: item ? title(item) : "A picture of the collection" });
    parts.push(part(shown, item ? title(item) : "this picture", () => go({ likes: state.likes.filter((one) => one !== id) })));
  }
  $("parts").replaceChildren(...parts);
  $("text").placeholder = parts.length ? "Add words, if you like" : "Describe what you are looking for";
}

async function showDetail() {
  const dialog = $("detail");
  if (!state.item) {
    if (dialog.open) dialog.close();
    return;
  }
  const item = seen.get(state.item) ?? (await api.item(state.item).catch(() => null));
  if (!item) return go({ item: null });
  dialog.classList.toggle("texts", !item.thumbnail);
  if (item.thumbnail) {
    $("detail-image").src = `items/${item.id}/image`;
    $("detail-image").alt = title(item);
  }
  $("detail-name").textContent = item.thumbnail ? fileName(item) : "Text";
  $("detail-name").title = item.name;
  $("detail-text").textContent = item.text;
  $("detail-text").hidden = !item.text;
  $("detail-columns").replaceChildren(...values(about.columns, item, (one) => go({ where: [...new Set([...state.where, one])] })));
  $("detail-columns").hidden = !$("detail-columns").childElementCount;
  $("detail-distance").textContent = "distance" in item && !address.empty(state) ? near(item, state.bits ?? about.bits) : "";
  $("detail-like").onclick = () => go({ text: "", likes: [item.id], pictures: [] });
  $("detail-add").hidden = address.empty(state) || state.likes.includes(item.id);
  $("detail-add").onclick = () => go({ likes: [...state.likes, item.id] });
  $("detail-delete").hidden = !about.writable;
  $("detail-delete").onclick = () => remove(item);
  if (!dialog.open) {
    opener = document.activeElement;
    dialog.showModal();
  }
}

const remove = (item) => deleting(item, () => gone(item).catch(showFailure));

// What was deleted leaves the search, the details and the grid; the focus goes to the card beside it.
async function gone(item) {
  seen.delete(item.id);
  about = await api.collection();
  const left = document.querySelector(`.card[data-item="${item.id}"]`);
  const beside = left?.nextElementSibling ?? left?.previousElementSibling;
  opener = beside?.querySelector(".open") ?? $("results");
  if (state.likes.includes(item.id)) return go({ likes: state.likes.filter((one) => one !== item.id) });
  showFilters();
  left?.remove();
  if (left && next !== null) next--; // all that follow have moved up
  if (state.item === item.id) $("detail").close();
  else opener.focus();
  if (left && !beside) await ask(0);
  $("status").textContent = `${quoted(item)} is deleted; ${about.items.toLocaleString()} ${about.items === 1 ? "is" : "are"} left`;
}

async function grown() {
  about = await api.collection();
  showFilters();
  await ask(0);
}

// Events

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  go({});
});
$("home").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go({ text: "", likes: [], pictures: [], where: [] });
});
onLength((length) => go({ bits: length === about.bits ? null : length }));
$("more").addEventListener("click", () => next !== null && ask(next));
$("detail").addEventListener("close", () => {
  $("detail-image").removeAttribute("src");
  if (state.item && history.state?.item) history.back(); // closed by a person; the way here is undone
  else if (state.item) go({ item: null });
  const id = opener?.closest?.("[data-item]")?.dataset.item;
  const back = opener?.isConnected && opener !== document.body ? opener : $("text");
  (document.querySelector(`.open[data-item="${id}"]`) ?? back).focus();
});
$("detail").addEventListener("click", (event) => event.target === $("detail") && $("detail").close());
addEventListener("popstate", show);
addEventListener("keydown", (event) => {
  const typing = /^(input|textarea)$/i.test(document.activeElement?.tagName);
  if (event.key === "/" && !typing && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    $("text").focus();
    $("text").select();
  }
});

async function take(files) {
  const given = [...files]; // the list is emptied while pictures are kept
  const images = given.filter((file) => file.type.startsWith("image/") || !file.type).slice(0, MOST);
  if (!images.length) return notice("This is no picture", "Drop an image file, such as a JPEG or a PNG.");
  const keys = await Promise.all(images.map(pictures.keep));
  await go({ pictures: keys, likes: [] });
  if (images.length < given.length)
    $("status").textContent += `. Of the ${given.length} files, ${images.length === 1 ? "1 is" : `${images.length} are`} searched with: the first pictures, ${MOST} at most`;
}

given(take);

async function start() {
  try {
    about = await api.collection();
  } catch (error) {
    return showFailure(error);
  }
  $("name").textContent = about.name;
  choose(about);
  if (about.writable && about.what === "image") adding(() => grown().catch(showFailure), (id) => go({ item: id }));
  await show();
}

start();
