// What is searched and shown, as the page's address says it: so Back, Reload and a bookmark work.
//   text=…  like=ID  picture=KEY  bits=16  where=CONDITION  item=ID

export function read() {
  const fields = new URLSearchParams(location.search);
  return {
    text: fields.get("text") ?? "",
    likes: fields.getAll("like").filter((id) => /^[0-9a-f]{16}$/.test(id)),
    pictures: fields.getAll("picture"),
    bits: Number(fields.get("bits")) || null,
    where: [...new Set(fields.getAll("where"))].filter(Boolean),
    item: fields.get("item"),
  };
}

export function address(state) {
  const fields = new URLSearchParams();
  if (state.text) fields.append("text", state.text);
  for (const id of state.likes) fields.append("like", id);
  for (const key of state.pictures) fields.append("picture", key);
  if (state.bits) fields.append("bits", state.bits);
  for (const condition of state.where) fields.append("where", condition);
  if (state.item) fields.append("item", state.item);
  const said = fields.toString();
  return said ? `${location.pathname}?${said}` : location.pathname;
}

// Whether nothing is looked for; conditions may choose among all items.
export const empty = (state) => !state.text && !state.likes.length && !state.pictures.length;

// Whether two states ask the same.
export const same = (a, b) => address({ ...a, item: null }) === address({ ...b, item: null });
