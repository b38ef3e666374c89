// Sorting by a column's button and filtering of the table of submissions. Without it the page shows all of them.
"use strict";

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}

function sortBy(heading) {
  const table = heading.closest("table");
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((one, other) => compare(keyOf(one, heading), keyOf(other, heading), ascending));
  table.tBodies[0].append(...rows);
}

function keyOf(row, heading) {
  const cell = row.cells[heading.cellIndex];
  if (!heading.classList.contains("number")) return cell.textContent.trim();
  return cell.dataset.value === undefined || cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

// Rows without a value stay at the end, whichever way is up.
function compare(one, other, ascending) {
  if (one === null || other === null) return (one === null) - (other === null);
  const order = typeof one === "number" ? one - other : one.localeCompare(other, "en", {numeric: true});
  return ascending ? order : -order;
}

const filters = document.querySelector(".filters");
if (filters) {
  filters.hidden = false;
  filters.addEventListener("input", filter);
  filters.addEventListener("submit", (event) => event.preventDefault());
}

function filter() {
  const words = filters.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const {agent, outcome} = filters.elements;
  let shown = 0;
  for (const row of document.getElementById("submissions").tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !(words.every((word) => text.includes(word))
      && (!agent.value || row.dataset.agent === agent.value)
      && (!outcome.value || row.dataset.outcome === outcome.value));
    shown += !row.hidden;
  }
  filters.querySelector("output").textContent = `${shown} shown`;
}
