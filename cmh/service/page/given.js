// Pictures that a person gives: chosen as a file, dropped anywhere, or pasted.

// take(files) searches with them.
export function given(take) {
  const file = document.getElementById("file");
  const drop = document.getElementById("drop");
  file.addEventListener("change", () => take(file.files).then(() => (file.value = "")));

  let depth = 0; // dragenter comes for every element on the way
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => carries(event) && (drop.hidden = ++depth < 1));
  addEventListener("dragleave", (event) => carries(event) && (drop.hidden = --depth < 1));
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    drop.hidden = true;
    take(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    const files = event.clipboardData?.files ?? [];
    if (files.length) take(files);
  });
}
