// Asks for the token of a service that wants one.

import * as api from "./api.js";

const $ = (id) => document.getElementById(id);

export const enter = () => $("entrance").showModal();

$("entrance").addEventListener("cancel", (event) => event.preventDefault());
$("entrance-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await api.enter($("token").value);
    location.reload();
  } catch (error) {
    $("entrance-error").textContent = error.status === 401 ? "This is not the token." : error.message;
  }
});
