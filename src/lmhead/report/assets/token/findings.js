"use strict";
// What is wrong, or odd, above the text: a finding a box, with its remedy and the places where it stands, which are marked.
(() => {
  const T = (window.lmheadTokens ??= {});
  const SHOWN = 4; // the others, and what is nothing to mend, under one line
  const LINKS = 8;

  const severity = (finding) => (["error", "warning", "info"].includes(finding.severity) ? finding.severity : "info");

  // Marks the tokens of errors and warnings; the most severe comes first in the record, and keeps the token.
  T.markFindings = (model) =>
    model.findings.forEach((finding, index) => {
      if (severity(finding) === "info") return;
      for (const [row, at] of finding.spots ?? []) {
        const i = model.starts[row] + at;
        if (i < model.starts[row + 1] && model.found[i] < 0) model.found[i] = index;
      }
    });

  // Where the finding stands, as [token, name]: its tokens, else its rows; a place that is no document here, [-1, name].
  const places = (model, finding) => {
    const inside = (row, at) => model.starts[row] + at < model.starts[row + 1];
    const spots = (finding.spots ?? []).filter(([row, at]) => inside(row, at));
    if (spots.length)
      return spots.slice(0, LINKS).map(([row, at]) => [model.starts[row] + at, spotName(model, row, at)]);
    const named = (finding.places ?? []).map((place) => [
      model.docs.find((doc) => doc.name === place)?.start ?? -1,
      place,
    ]);
    if (named.length) return named.slice(0, LINKS);
    return (finding.rows ?? [])
      .filter((row) => inside(row, 0))
      .slice(0, LINKS)
      .map((row) => [model.starts[row], `row ${row}`]);
  };
  const spotName = (model, row, at) => {
    const i = model.starts[row] + at;
    const doc = model.docs[model.doc[i]];
    const inDocument = T.inDocument(model, i);
    return `${doc.name || `row ${row}`}${inDocument ? `, token ${doc.name ? inDocument : at}` : ""}`;
  };

  const links = (model, finding) => {
    const made = T.element("p", "places");
    for (const [i, name] of places(model, finding)) {
      if (i < 0) {
        made.append(T.named(name));
        continue;
      }
      const link = T.element("a");
      link.href = T.link(model, i);
      link.append(T.named(name));
      made.append(link);
    }
    if ((finding.spots?.length ?? 0) > LINKS) made.append("\u2026");
    return made.childNodes.length ? [made] : [];
  };

  const box = (model, finding) => {
    const made = T.element("div", severity(finding));
    made.append(T.element("span", "what", `${severity(finding)[0].toUpperCase()}${severity(finding).slice(1)}: `));
    made.append(T.named(finding.message ?? finding.code ?? ""));
    if (finding.remedy) {
      const remedy = T.element("p", "remedy");
      remedy.append("\u2192 ", T.named(finding.remedy));
      made.append(remedy);
    }
    made.append(...links(model, finding));
    return made;
  };

  const told = (rest, before) => {
    const kind = rest.every((finding) => severity(finding) === "info") ? "note" : "finding";
    return `${T.count(rest.length)} ${before ? "more " : ""}${kind}${rest.length === 1 ? "" : "s"} about this data`;
  };

  T.drawFindings = (model, into) => {
    const notes = model.notes.map((note) => {
      const made = T.element("p", "note");
      made.append(T.named(note));
      return made;
    });
    const open = model.findings.filter((finding) => severity(finding) !== "info").slice(0, SHOWN);
    const rest = model.findings.filter((finding) => !open.includes(finding));
    into.replaceChildren(...notes, ...open.map((finding) => box(model, finding)));
    if (!rest.length) return;
    const more = T.element("details", "note");
    more.append(T.element("summary", "", told(rest, open.length)));
    const inner = T.element("div", "findings");
    inner.append(...rest.map((finding) => box(model, finding)));
    more.append(inner);
    into.append(more);
  };
})();
