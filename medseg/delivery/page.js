// Tables sort by a column when its heading is pressed; what is no figure stays at the end, and so does a foot.
"use strict";
const figureIn = (text) => {
  const figure = parseFloat(text.replace(/^[<>[]\s*/, "").replace("\u2212", "-"));
  return Number.isNaN(figure) ? null : figure;
};
const compareText = new Intl.Collator(undefined, {numeric: true}).compare;
function sortRows(table, column, down) {
  const body = table.tBodies[0];
  const words = table.tHead.rows[0].cells[column].classList.contains("word");
  const keyed = [...body.rows].map((row) => {
    const text = row.cells[column].textContent.trim();
    return {row, key: words ? text || null : figureIn(text)};
  });
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
    const order = words ? compareText(a.key, b.key) : a.key - b.key;
    return down ? -order : order;
  });
  body.append(...keyed.map(({row}) => row));
}
for (const table of document.querySelectorAll("table.sorts")) {
  const heads = [...table.tHead.rows[0].cells];
  for (const [column, head] of heads.entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sortRows(table, column, down);
    });
  }
}
