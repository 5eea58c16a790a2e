// The collection's own columns: their commonest values as filters, and an item's values in its details.
// Every text of the collection goes through textContent, never through HTML.

import { make } from "./cards.js";

const SHOWN = 4; // columns that have filters
const LONGEST = 400; // characters of a value

// columns: as the service describes them; where: the conditions that hold; go(where)
export function filters(columns, where, go) {
  const known = new Set();
  const groups = columns.filter((column) => column.commonest.length).slice(0, SHOWN).map((column) => {
    const chips = column.commonest.map((one) => {
      known.add(one.where);
      return filter(String(one.value), one.items, where.includes(one.where), () =>
        go(where.includes(one.where) ? where.filter((other) => other !== one.where) : [...where, one.where]));
    });
    return group(column.name, chips);
  });
  const others = where.filter((condition) => !known.has(condition));
  if (others.length)
    groups.push(group("also", others.map((one) => filter(one, null, true, () => go(where.filter((other) => other !== one))))));
  return groups;
}

function group(name, chips) {
  const made = make("div", { className: "filters", role: "group" }, make("span", { className: "quiet", textContent: name }), ...chips);
  made.setAttribute("aria-label", `Only those with this: ${name}`);
  return made;
}

function filter(said, count, on, toggle) {
  const made = make("button", { type: "button", onclick: toggle }, make("span", { textContent: said }));
  made.setAttribute("aria-pressed", on);
  if (count !== null && !on) made.append(make("small", { textContent: count.toLocaleString() }));
  if (on) made.append(make("span", { className: "off", textContent: "×", ariaHidden: "true" }));
  return made;
}

// The values of an item as terms and descriptions; choose(condition) is called for a value that is a filter.
export function values(columns, item, choose) {
  return columns.flatMap((column) => {
    const value = item.columns[column.name];
    if (value === null || value === undefined || value === "" || value === item.text) return [];
    const shown = column.kind === "list" ? value.map((one) => labelled(column, one, choose)) : [one(column, value)];
    return shown.length ? [make("dt", { textContent: column.name }), make("dd", { className: column.kind }, ...shown)] : [];
  });
}

function labelled(column, value, choose) {
  const known = column.commonest.find((one) => one.value === value);
  if (!known) return make("span", { textContent: String(value) });
  const made = make("button", { type: "button", textContent: String(value), onclick: () => choose(known.where) });
  made.setAttribute("aria-label", `Only those with ${value}`);
  return made;
}

function one(column, value) {
  if (column.kind === "date") return make("time", { dateTime: value, textContent: String(value).replace("T", " ") });
  if (column.kind === "number") return make("span", { textContent: value.toLocaleString(undefined, { useGrouping: false }) });
  if (column.kind === "truth") return make("span", { textContent: value ? "yes" : "no" });
  const said = value.length > LONGEST ? `${value.slice(0, LONGEST)} …` : value;
  if (!isAddress(value)) return make("span", { textContent: said });
  return make("a", { href: value, textContent: said, target: "_blank", rel: "noopener noreferrer nofollow" });
}

// Only of the web: a collection may come from somebody else, and a link must not run a script.
function isAddress(value) {
  if (!/^https?:\/\//i.test(value)) return false;
  try {
    return ["http:", "https:"].includes(new URL(value).protocol);
  } catch {
    return false;
  }
}
