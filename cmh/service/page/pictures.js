// Pictures of the person who searches: made small, and kept in this tab, so that Back and Reload find them.

const LONGEST = 640; // pixels; the model reads fewer
const KEPT = 12;
const blobs = new Map(); // key → what is sent
const shown = new Map(); // key → address of what is shown

// Returns the key of a file, which stands for it in the page's address.
export async function keep(file) {
  const key = crypto.randomUUID?.() ?? String(Date.now() + Math.random());
  const small = await shrink(file).catch(() => null);
  blobs.set(key, small ?? file); // a kind that this browser cannot read, such as HEIC, is left to the service
  if (small) store(key, await dataAddress(small));
  return key;
}

export async function blob(key) {
  if (!blobs.has(key)) {
    const address = sessionStorage.getItem(`picture ${key}`);
    if (!address) return null;
    blobs.set(key, decode(address));
  }
  return blobs.get(key);
}

export async function address(key) {
  const found = await blob(key);
  if (found && !shown.has(key)) shown.set(key, URL.createObjectURL(found));
  return shown.get(key) ?? "";
}

async function shrink(file) {
  const image = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white"; // as the service does with what is transparent
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  return new Promise((resolve, reject) =>
    canvas.toBlob((made) => (made ? resolve(made) : reject(new Error("no picture"))), "image/jpeg", 0.92),
  );
}

function store(key, data) {
  try {
    const keys = JSON.parse(sessionStorage.getItem("pictures") ?? "[]");
    while (keys.length >= KEPT) sessionStorage.removeItem(`picture ${keys.shift()}`);
    sessionStorage.setItem(`picture ${key}`, data);
    sessionStorage.setItem("pictures", JSON.stringify([...keys, key]));
  } catch {
    // The tab's storage is full or switched off: the picture lives until the page is left.
  }
}

function dataAddress(made) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(made);
  });
}

function decode(data) {
  const bytes = Uint8Array.from(atob(data.slice(data.indexOf(",") + 1)), (c) => c.charCodeAt(0));
  return new Blob([bytes], { type: "image/jpeg" });
}
