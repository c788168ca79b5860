"use strict";
// Sorts and filters the tables. A cell is compared by its data-value, as a number where it is one.
for (const box of document.querySelectorAll(".table")) {
  const body = box.querySelector("tbody");
  const rows = [...body.rows];
  const headings = [...box.querySelectorAll("thead th")];

  const valueOf = (row, column) => row.cells[column].dataset.value;
  const groupOf = (row, column) => row.cells[column].dataset.group ?? valueOf(row, column);

  function compare(a, b, column, direction) {
    const x = valueOf(a, column), y = valueOf(b, column);
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined); // unknown ones last
    const difference = Number(x) - Number(y);
    return direction * (Number.isNaN(difference) ? x.localeCompare(y, "en", { numeric: true }) : difference);
  }

  headings.forEach((heading, column) => {
    heading.querySelector("button")?.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.hasAttribute("aria-sort") && other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const sorted = [...rows].sort((a, b) => compare(a, b, column, descending ? -1 : 1));
      body.append(...sorted);
    });
  });

  const filters = box.querySelector(".filters");
  if (!filters) continue;
  const choices = [...filters.querySelectorAll("select")];
  const search = filters.querySelector("input");
  const count = filters.querySelector("output");

  function apply() {
    const words = search ? search.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = choices.every((choice) => !choice.value || groupOf(row, choice.dataset.column) === choice.value);
      row.hidden = !(fits && words.every((word) => text.includes(word)));
      shown += !row.hidden;
    }
    count.textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
  }

  choices.forEach((choice) => choice.addEventListener("change", apply));
  search?.addEventListener("input", apply);
  apply(); // a browser may keep what was chosen before the page was loaded anew
}

// Shows one part of each group of tabs at a time; without this script all of them are shown, with headings.
for (const group of document.querySelectorAll(".tabs")) {
  const panels = [...group.querySelectorAll(":scope > .tab")];
  const list = document.createElement("div");
  list.setAttribute("role", "tablist");
  const buttons = panels.map((panel) => {
    const heading = panel.querySelector("h3");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.setAttribute("role", "tab");
    button.addEventListener("click", () => select(panel));
    heading.hidden = true;
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-label", heading.textContent);
    list.append(button);
    return button;
  });

  function select(chosen) {
    panels.forEach((panel, place) => {
      panel.hidden = panel !== chosen;
      buttons[place].setAttribute("aria-selected", String(panel === chosen));
    });
  }

  group.prepend(list);
  select(panels[0]);
}
