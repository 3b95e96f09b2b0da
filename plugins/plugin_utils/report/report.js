/* Copyright (c) 2026 The dfir.aws authors. GPL-3.0-or-later
 * Tables that sort and narrow. Everything is set as text; nothing here makes HTML of a string. */
"use strict";
const dfirReport = {};

/* An element with attributes and children; a child that is a string becomes text. */
dfirReport.make = function (tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

dfirReport.number = (value) => value.toLocaleString("en-US");

(function () {
  const MANY = 15; // rows from which a field to narrow them is worth its place
  const { make, number } = dfirReport;
  const collator = new Intl.Collator("en", { numeric: true });
  const said = make("p", { class: "vh", role: "status" });
  document.body.append(said);

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent : cell.dataset.v;
  };

  /* What is empty, or no number where numbers are wanted, stands last in either direction. */
  function sort(table, head, column) {
    const descending = head.getAttribute("aria-sort") === "ascending";
    const numbers = head.dataset.sort === "number";
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row, place) => {
      const text = keyOf(row, column);
      const value = numbers ? parseFloat(text) : text;
      return { row, place, value, empty: numbers ? Number.isNaN(value) : value.trim() === "" };
    });
    const sign = descending ? -1 : 1;
    rows.sort((one, other) => {
      if (one.empty || other.empty) return one.empty - other.empty || one.place - other.place;
      const order = numbers ? one.value - other.value : collator.compare(one.value, other.value);
      return sign * order || one.place - other.place;
    });
    body.append(...rows.map((entry) => entry.row));
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    said.textContent = `Sorted by ${head.firstChild.textContent}, ${descending ? "descending" : "ascending"}`;
  }

  function sortable(table) {
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const button = make("button", { type: "button" }, head.textContent);
      head.replaceChildren(button, make("span", { class: "printed", "aria-hidden": "true" }, button.textContent));
      button.addEventListener("click", () => sort(table, head, column));
    });
  }

  function narrowable(table) {
    const rows = Array.from(table.tBodies[0].rows);
    if (rows.length <= MANY) return;
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const field = make("input", { type: "search", placeholder: "Narrow these rows", autocomplete: "off", spellcheck: "false",
      "aria-label": `Narrow the rows of: ${table.caption.textContent}` });
    const told = make("span", { class: "quiet", role: "status" });
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase();
      let shown = 0;
      rows.forEach((row, index) => {
        row.hidden = !texts[index].includes(wanted);
        shown += !row.hidden;
      });
      told.textContent = wanted ? `${number(shown)} of ${number(rows.length)} rows` : "";
    });
    table.parentElement.before(make("div", { class: "narrow" }, field, told));
    window.addEventListener("beforeprint", () => rows.forEach((row) => { row.hidden = false; }));
    window.addEventListener("afterprint", () => field.dispatchEvent(new Event("input")));
  }

  for (const table of document.querySelectorAll("table.data")) {
    narrowable(table);
    sortable(table);
  }

  /* A finding that was narrowed away is shown when somebody follows a link to it. */
  dfirReport.reveal = (id) => {
    const row = document.getElementById(id);
    if (row && row.hidden) row.hidden = false;
    return row;
  };
  window.addEventListener("hashchange", () => {
    const row = dfirReport.reveal(decodeURIComponent(location.hash.slice(1)));
    if (row) row.scrollIntoView();
  });
})();
