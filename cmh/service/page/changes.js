// What a person changes, where the service is `--writable`: adds pictures, deletes an item.

import * as api from "./api.js";
import { make } from "./cards.js";

const TRIES = 5; // of a picture, while the service is busy
const $ = (id) => document.getElementById(id);
const wait = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const counted = (count) => `${count} ${count === 1 ? "picture" : "pictures"}`;

// An id that two pictures of one name do not share, and one picture given twice does.
function idOf(file) {
  const [, stem, suffix] = /^(.*?)(\.[^.]*)?$/s.exec(file.name.slice(-150));
  return `${stem}-${file.size.toString(36)}-${file.lastModified.toString(36)}${suffix ?? ""}`;
}

async function add(file) {
  for (let tried = 1; ; tried++) {
    try {
      return await api.put(idOf(file), file);
    } catch (error) {
      if (error.status !== 503 || tried === TRIES) throw error;
      await wait(error.retry || 1);
    }
  }
}

// changed(): the collection has other items; open(id): shows one of them
export function adding(changed, open) {
  $("add").hidden = false;
  $("add-files").addEventListener("change", async () => {
    const files = [...$("add-files").files];
    const refused = [];
    let added = 0;
    let last = null;
    $("add-files").disabled = true;
    $("added").hidden = false;
    for (const [number, file] of files.entries()) {
      $("added").replaceChildren(`Adding ${number + 1} of ${counted(files.length)} …`);
      try {
        const done = await add(file);
        last = done;
        added += done.change !== "unchanged";
      } catch (error) {
        refused.push(make("li", { textContent: `${file.name}: ${error.message}` }));
      }
    }
    $("add-files").disabled = false;
    $("add-files").value = "";
    const there = files.length - refused.length - added;
    const said = [`${counted(added)} added`];
    if (there) said.push(`${counted(there)} ${there === 1 ? "was" : "were"} there already`);
    if (refused.length) said.push(`${counted(refused.length)} refused:`);
    const look = make("button", { className: "plain", type: "button", textContent: "Show the last", onclick: () => open(last.id) });
    $("added").replaceChildren(said.join(", "), ...(last ? [" ", look] : []), ...(refused.length ? [make("ul", {}, ...refused)] : []));
    if (added) {
      await api.follows(last.version);
      await changed();
    }
    $("add-files").focus();
  });
}

// Prepares the button of the details for an item: the first press asks, the second deletes.
export function deleting(item, deleted) {
  const button = $("detail-delete");
  const ask = (text, sure) => {
    button.textContent = text;
    button.classList.toggle("sure", sure);
  };
  ask("Delete", false);
  $("detail-said").textContent = "";
  button.hidden = false;
  button.onblur = () => ask("Delete", false);
  button.onclick = async () => {
    if (!button.classList.contains("sure")) {
      ask("Delete for good", true);
      $("detail-said").textContent = "A file that was indexed stays in its folder, and the next cmh index adds it again. Press again to delete.";
      return;
    }
    try {
      await api.follows((await api.remove(item.id)).version);
    } catch (error) {
      $("detail-said").textContent = error.message;
      return ask("Delete", false);
    }
    await deleted();
  };
}
