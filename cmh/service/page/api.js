// What the page asks the service.

export class Failure extends Error {
  constructor(status, message, retry) {
    super(message);
    this.status = status;
    this.retry = retry;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "The service does not answer. Is it still running?");
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const said = await response.json().catch(() => ({}));
  throw new Failure(response.status, said.error ?? response.statusText, Number(response.headers.get("retry-after")));
}

export const collection = () => ask("collection");

// where: [condition]; all of them are to hold
const together = (where) => where.map((one) => (where.length > 1 ? `(${one})` : one)).join(" and ");

export function items(where, k, offset, signal) {
  const fields = new URLSearchParams({ k, offset });
  if (where.length) fields.append("where", together(where));
  return ask(`items?${fields}`, { signal });
}

export const item = (id) => ask(`items/${id}`);

export function put(id, image) {
  const fields = new FormData();
  fields.append("image", image, "picture");
  return ask(`items?${new URLSearchParams({ id })}`, { method: "PUT", body: fields });
}

export const remove = (id) => ask(`items/${id}`, { method: "DELETE" });

// Waits, for some seconds at most, until searches see what a change has made.  The change has happened: if
// the service cannot say more, the next search tells why.
export async function follows(version) {
  const current = () => ask("readyz").then((said) => said.version, () => null);
  for (let tried = 0; tried < 50 && (await current()) !== version; tried++)
    await new Promise((done) => setTimeout(done, 100));
}

export const enter = (token) =>
  ask("session", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token }) });

// query: {text, likes: [id], pictures: [Blob], bits, where: [condition]}
export function search(query, k, offset, signal) {
  const fields = query.pictures.length ? new FormData() : new URLSearchParams();
  if (query.text) fields.append("text", query.text);
  for (const id of query.likes) fields.append("like", id);
  fields.append("k", k);
  fields.append("offset", offset);
  if (query.bits) fields.append("bits", query.bits);
  if (query.where.length) fields.append("where", together(query.where));
  if (!query.pictures.length) return ask(`search?${fields}`, { signal });
  for (const picture of query.pictures) fields.append("image", picture, "picture");
  return ask("search", { method: "POST", body: fields, signal });
}
