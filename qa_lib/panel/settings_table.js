// A table of settings: sorted by a click on a column, found by words and comparisons such as "bits<90", put on the sliders by a button.

const MOST_ROWS = 200;
const COMPARISON = /^([^<>=]+)(<=|>=|<|>|=)(-?[\d.]+)$/;

function render({ model, el }) {
  const root = element("div", "qa-settings");
  keepKeys(root);
  const find = element("input", "qa-find", {
    type: "search", placeholder: "words, bits<90, 8 4 4", "aria-label": "find settings by words, by comparisons such as bits<90, or by their widths",
  });
  const everything = element("input", "", { type: "checkbox", id: `qa-all-${Math.random().toString(36).slice(2)}` });
  const count = element("span", "qa-count", { role: "status" });
  const table = element("table", "qa-table");
  const box = element("div", "qa-table-box", { tabindex: "0", role: "region", "aria-label": "settings" }, table);
  root.append(
    element("div", "qa-tools", {}, find, everything, element("label", "", { for: everything.id }, "all that was measured"), count), box);
  el.append(root);
  let sorted = { column: 0, down: false };

  function wanted(row) {
    const columns = model.get("columns");
    const text = [...row.cells.map((cell) => cell[1]), row.widths].join(" ");
    const typed = find.value.trim();
    if (/^[\d\sf.-]+$/.test(typed)) return text.includes(typed.replace(/\s+/g, " "));
    return typed.split(/\s+/).every((word) => {
      const found = word.match(COMPARISON);
      if (!found) return matches(text, word.includes("*") ? `*${word}*` : word);
      const index = columns.findIndex((column) => column.toLowerCase().includes(found[1].toLowerCase()));
      if (index < 0) return false;
      const is = row.cells[index][0];
      const than = Number(found[3]);
      return { "<": is < than, ">": is > than, "<=": is <= than, ">=": is >= than, "=": is === than }[found[2]];
    });
  }

  function heading(column, index) {
    const button = element("button", "qa-sort", { type: "button" }, column);
    const head = element("th", "", { scope: "col" }, button);
    if (index === sorted.column) {
      head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      button.append(sorted.down ? " ↓" : " ↑");
    }
    button.addEventListener("click", () => {
      sorted = { column: index, down: index === sorted.column ? !sorted.down : false };
      show();
      table.querySelectorAll(".qa-sort")[index].focus();
    });
    return head;
  }

  function show() {
    const columns = model.get("columns");
    const rows = model.get("rows").filter(wanted);
    const key = (row) => row.cells[sorted.column]?.[0] ?? 0;
    rows.sort((a, b) => (sorted.down ? key(b) - key(a) : key(a) - key(b)));
    const body = rows.slice(0, MOST_ROWS).map((row) => {
      const load = element("button", "qa-text", { type: "button", "aria-label": `put ${row.cells[0][1]} on the sliders` }, row.cells[0][1]);
      load.addEventListener("click", () => model.send({ load: row.widths }));
      const cells = row.cells.slice(1).map((cell) => element("td", "qa-number", {}, cell[1]));
      const widths = element("td", "qa-widths", {}, row.widths);
      const made = element("tr", "", {}, element("th", "", { scope: "row" }, load), ...cells, widths);
      if (row.widths === model.get("present")) made.setAttribute("aria-current", "true");
      return made;
    });
    const head = element("tr", "", {}, ...columns.map(heading), element("th", "", { scope: "col" }, "widths, in order"));
    table.replaceChildren(element("thead", "", {}, head), element("tbody", "", {}, ...body));
    const left = rows.length - body.length;
    count.textContent = `${rows.length} settings${left > 0 ? `, the first ${MOST_ROWS} shown` : ""}`;
  }

  find.addEventListener("input", show);
  everything.checked = model.get("everything");
  everything.addEventListener("change", () => {
    model.set("everything", everything.checked);
    model.save_changes();
  });
  const watched = { "change:rows": show, "change:present": show };
  for (const [event, listener] of Object.entries(watched)) model.on(event, listener);
  // Only while it is looked at is it told what is new.
  const looking = new IntersectionObserver(([entry]) => {
    if (model.get("looking") === entry.isIntersecting) return;
    model.set("looking", entry.isIntersecting);
    model.save_changes();
  });
  looking.observe(root);
  const forgetTheme = followTheme(root, () => {});
  show();
  return () => {
    looking.disconnect();
    forgetTheme();
    for (const [event, listener] of Object.entries(watched)) model.off(event, listener);
  };
}

export default { render };
