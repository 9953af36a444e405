"use strict";
// What is wrong, or odd, above the text: a finding a box, with its remedy and the places where it stands, which are marked.
(() => {
  const T = (window.lmheadTokens ??= {});
  const SHOWN = 4; // the others under one line

  const severity = (finding) => (["error", "warning", "info"].includes(finding.severity) ? finding.severity : "info");

  // Marks the tokens of findings; the most severe comes first in the record, and keeps the token.
  T.markFindings = (model) =>
    model.findings.forEach((finding, index) => {
      for (const [row, at] of finding.spots ?? []) {
        const i = model.starts[row] + at;
        if (i < model.starts[row + 1] && model.found[i] < 0) model.found[i] = index;
      }
    });

  const places = (model, finding, go) => {
    const links = T.element("p", "places");
    const add = (i, name) => {
      const link = T.element("a");
      link.href = T.link(model, i);
      link.append(name);
      link.addEventListener("click", (event) => go(event, i));
      links.append(link);
    };
    for (const [row, at] of (finding.spots ?? []).slice(0, 8)) {
      const i = model.starts[row] + at;
      if (i < model.starts[row + 1]) add(i, `row ${row}, token ${at}`);
    }
    if (!links.childNodes.length)
      for (const row of finding.rows ?? [])
        if (model.starts[row] < model.starts[row + 1]) add(model.starts[row], `row ${row}`);
    for (const place of finding.places ?? []) {
      const doc = model.docs.find((each) => each.name === place);
      if (doc) add(doc.start, T.named(place));
      else links.append(T.named(place));
    }
    return links.childNodes.length ? [links] : [];
  };

  const box = (model, finding, go) => {
    const made = T.element("div", severity(finding));
    made.append(T.element("span", "what", `${severity(finding)[0].toUpperCase()}${severity(finding).slice(1)}: `));
    made.append(T.named(finding.message ?? finding.code ?? ""));
    if (finding.remedy) {
      const remedy = T.element("p", "remedy");
      remedy.append(T.named(finding.remedy));
      made.append(remedy);
    }
    made.append(...places(model, finding, go));
    return made;
  };

  T.drawFindings = (model, into, go) => {
    const notes = model.notes.map((note) => {
      const made = T.element("p", "note");
      made.append(T.named(note));
      return made;
    });
    const boxes = model.findings.map((finding) => box(model, finding, go));
    into.replaceChildren(...notes, ...boxes.slice(0, SHOWN));
    if (boxes.length <= SHOWN) return;
    const more = T.element("details", "note");
    more.append(T.element("summary", "", `${T.count(boxes.length - SHOWN)} more findings`));
    const inner = T.element("div", "findings");
    inner.append(...boxes.slice(SHOWN));
    more.append(inner);
    into.append(more);
  };
})();
