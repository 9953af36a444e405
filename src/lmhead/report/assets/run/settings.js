// What a run was made with: its config, the data and the machine, as tables; of several runs what differs first.
"use strict";
{
  const { element } = runReport;

  const told = (value) => {
    if (value === null || value === undefined) return "–";
    if (typeof value === "number") return Number.isInteger(value) && Math.abs(value) >= 1e4 ? runReport.count(value) : String(value);
    if (Array.isArray(value)) return value.length ? value.map((each) => (typeof each === "object" ? JSON.stringify(each) : told(each))).join(", ") : "none";
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  };
  const nested = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

  // Dotted names with their values.
  const leaves = (tree, before = "") => Object.entries(tree ?? {}).flatMap(([name, value]) =>
    nested(value) && Object.keys(value).length ? leaves(value, `${before}${name}.`) : [[`${before}${name}`, value]]);

  const pairs = (entries) => element("table", { class: "pairs" }, element("tbody", {}, ...entries.map(([name, value]) =>
    element("tr", {}, element("th", { scope: "row" }, element("bdi", { text: name })), element("td", {}, element("bdi", { text: told(value) }))))));

  // Whether rows have the same few figures: sources, each with its documents and tokens.
  const alike = (rows) => {
    if (!rows.length || !rows.every(([, row]) => nested(row))) return false;
    const names = rows.map(([, row]) => leaves(row).map(([name]) => name));
    const all = new Set(names.flat());
    return all.size <= 8 && (rows.length > 1 || all.size > 3) && names.every((each) => 2 * each.length >= all.size);
  };

  // Rows of one shape as a table, anything else as pairs; what is nested in it below.
  const block = (tree) => {
    const entries = Object.entries(tree);
    const plain = entries.filter(([, value]) => !nested(value) && !(Array.isArray(value) && value.some(nested)));
    const made = plain.length ? [pairs(plain)] : [];
    for (const [name, value] of entries.filter((entry) => !plain.includes(entry))) {
      const rows = Array.isArray(value) ? value.map((each, at) => [at + 1, each]) : Object.entries(value);
      const title = element("h4", {}, element("bdi", { text: name }));
      const table = alike(rows) ? grid(rows) : null;
      made.push(element("div", { class: table ? "settings-group wide" : "settings-group" }, title, table ?? block(value)));
    }
    made.sort((a, b) => a.classList.contains("wide") - b.classList.contains("wide"));
    return element("div", { class: "settings" }, ...made);
  };

  const grid = (trees) => {
    const rows = trees.map(([name, tree]) => [name, new Map(leaves(tree))]);
    const figure = (value) => (Number.isInteger(value) ? runReport.count(value) : told(value));
    const words = (name) => name.replaceAll("_", " ").replaceAll(".", ", ");
    const columns = [...new Set(rows.flatMap(([, row]) => [...row.keys()]))];
    const number = (name) => rows.every(([, row]) => row.get(name) === undefined || typeof row.get(name) === "number");
    return element("div", { class: "scrolled", tabindex: 0, role: "region", "aria-label": columns.join(", ") }, element("table", {},
      element("thead", {}, element("tr", {}, element("th", { scope: "col", text: "name" }), ...columns.map((name) =>
        element("th", { scope: "col", class: number(name) ? "number" : null }, element("bdi", { text: words(name) }))))),
      element("tbody", {}, ...rows.map(([name, row]) => element("tr", {}, element("th", { scope: "row" }, element("bdi", { text: name })),
        ...columns.map((column) => element("td", { class: number(column) ? "number" : null }, element("bdi", { text: figure(row.get(column)) }))))))));
  };

  // Names down, runs across; rows in which runs differ are marked, and by default alone shown.
  const compared = (runs, of) => {
    const values = runs.map((run) => new Map(leaves(of(run))));
    const names = [...new Set(values.flatMap((each) => [...each.keys()]))];
    const differs = (name) => new Set(values.map((each) => JSON.stringify(each.get(name)))).size > 1;
    const rows = names.map((name) => element("tr", { hidden: !differs(name), class: differs(name) ? "differs" : null },
      element("th", { scope: "row" }, element("bdi", { text: name })), ...values.map((each) => element("td", {}, element("bdi", { text: told(each.get(name)) })))));
    const same = rows.filter((row) => row.hidden);
    const box = element("input", { type: "checkbox", onchange: (event) => same.forEach((row) => { row.hidden = !event.target.checked; }) });
    return element("div", {}, element("label", { class: "check" }, box, `what is the same in all runs too (${same.length})`),
      element("div", { class: "scrolled", tabindex: 0, role: "region", "aria-label": "Runs compared" }, element("table", {},
        element("thead", {}, element("tr", {}, element("th", { scope: "col", text: "name" }), ...runs.map((run) =>
          element("th", { scope: "col" }, element("bdi", { text: run.name }))))), element("tbody", {}, ...rows))));
  };

  // Of each run what `parts` name: of a tree itself what is in it, of the rest {name: it}.
  runReport.settings = (runs, whole, parts = []) => {
    const of = (run) => ({
      ...Object.fromEntries(parts.filter((name) => told(run.header[name]) !== "–").map((name) => [name.replaceAll("_", " "), run.header[name]])),
      ...(nested(run.header[whole]) ? run.header[whole] : {}),
    });
    if (!runs.some((run) => Object.keys(of(run)).length)) return null;
    return [runs.length > 1 ? compared(runs, of) : block(of(runs[0]))];
  };
}
