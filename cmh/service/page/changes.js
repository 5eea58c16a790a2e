// What a person changes, where the service is `--writable`: adds pictures, deletes an item.

import * as api from "./api.js";
import { make, quoted } from "./cards.js";

const TRIES = 5; // of a picture, while the service is busy
const FOR_ALL = [401, 403, 507]; // refusals that the next picture would meet too
const $ = (id) => document.getElementById(id);
const wait = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const counted = (count) => `${count.toLocaleString()} ${count === 1 ? "picture" : "pictures"}`;

let stopped = false; // a person does not want the rest of the pictures to be added
let busy = false; // an item is being deleted

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
      if (error.status !== 503 || tried === TRIES || stopped) throw error;
      await wait(error.retry || 1);
    }
  }
}

// One after the other, so that each is on the disk before the next is sent.
async function addAll(files) {
  const done = { added: 0, same: 0, refused: 0, last: null };
  for (const [number, file] of files.entries()) {
    if (stopped) break;
    $("added-bar").value = number;
    $("added-count").textContent = `${number + 1} of ${files.length}`;
    try {
      done.last = await add(file);
      if (done.last.change === "unchanged") done.same++;
      else done.added++;
    } catch (error) {
      done.refused++;
      $("added-refused").append(make("li", {}, make("b", { textContent: file.name }), `: ${error.message}`));
      stopped ||= FOR_ALL.includes(error.status);
    }
  }
  return done;
}

function summary(done, count) {
  const left = count - done.added - done.same - done.refused;
  const said = [`${counted(done.added)} added`];
  if (done.same) said.push(`${counted(done.same)} ${done.same === 1 ? "was" : "were"} there already`);
  if (left) said.push(`${counted(left)} not tried`);
  if (done.refused) said.push(`${counted(done.refused)} refused:`);
  return said.join(", ");
}

// Shows what is under way, or how it ended.
function show(running, said) {
  $("added").hidden = false;
  $("added-said").textContent = said;
  $("added-run").hidden = !running;
  $("added-done").hidden = running;
  $("add-files").disabled = running;
}

const warn = (event) => event.preventDefault(); // the browser asks before it leaves the page

// changed(): the collection has other items; open(id): shows one of them
export function adding(changed, open) {
  $("add").hidden = false;
  $("add-files").addEventListener("change", async () => {
    const files = [...$("add-files").files];
    $("add-files").value = ""; // so that the same pictures can be chosen again
    if (!files.length) return;
    stopped = false;
    $("added-bar").max = files.length;
    $("added-refused").replaceChildren();
    show(true, `Adding ${counted(files.length)} …`);
    addEventListener("beforeunload", warn);
    const done = await addAll(files);
    removeEventListener("beforeunload", warn);
    show(false, summary(done, files.length));
    const waited = [document.body, $("added-stop")].includes(document.activeElement);
    if (waited) $("add-files").focus(); // who went elsewhere stays there
    $("added-look").hidden = !done.last;
    $("added-look").textContent = done.added + done.same === 1 ? "Show it" : "Show the last";
    $("added-look").dataset.shown = done.last?.id;
    if (!done.added) return;
    await api.follows(done.last.version);
    await changed();
  });
  $("added-look").addEventListener("click", () => open($("added-look").dataset.shown));
  $("added-stop").addEventListener("click", () => (stopped = true));
  $("added-close").addEventListener("click", () => {
    $("added").hidden = true;
    $("add-files").focus();
  });
}

// Asks whether an item is to be deleted, and does it; gone() is called once searches do not find it.
export function deleting(item, gone) {
  if (busy) return; // a question was closed before its answer came
  $("sure-name").textContent = `Delete ${quoted(item)}?`;
  $("sure-image").hidden = !item.thumbnail;
  if (item.thumbnail) $("sure-image").src = item.thumbnail;
  $("sure-text").textContent = item.thumbnail
    ? "Searches will not find it any more. A picture that was added here is deleted for good; a file that cmh index found stays in its folder, and the next cmh index adds it again."
    : "Searches will not find it any more. If cmh index added it, the next cmh index adds it again.";
  $("sure-said").textContent = "";
  $("sure-yes").onclick = async () => {
    if (busy) return;
    working(true);
    $("sure-said").textContent = "";
    try {
      await api.follows((await api.remove(item.id)).version);
    } catch (error) {
      $("sure-said").textContent = error.message;
      return;
    } finally {
      working(false);
    }
    $("sure").close();
    if ($("added-look").dataset.shown === item.id) $("added-look").hidden = true;
    await gone();
  };
  $("sure").showModal();
}

// The buttons keep the focus: a disabled one would lose it.
function working(now) {
  busy = now;
  $("sure-yes").textContent = now ? "Deleting …" : "Delete";
  for (const button of ["sure-yes", "sure-no"]) $(button).setAttribute("aria-disabled", now);
}

$("sure").addEventListener("cancel", (event) => busy && event.preventDefault());
$("sure-no").addEventListener("click", () => busy || $("sure").close());
