"use strict";
// Filters and search: which tokens are kept (the others fade), which match, which documents are shown and in what order.
(() => {
  const T = (window.lmheadTokens ??= {});
  const byId = (name) => document.getElementById(`tokens-${name}`);

  const option = (value, text) => {
    const made = T.element("option", "", text);
    made.value = value;
    return made;
  };
  const fill = (select, entries) => select.replaceChildren(...entries.map(([value, text]) => option(value, text)));

  const reasonOptions = (model) => {
    const present = [...new Set(model.reason)].sort((a, b) => a - b);
    return [
      ["", "all"],
      ["0", "trained"],
      ["not", "not trained"],
      ...present.filter((each) => each !== 0).map((each) => [String(each), T.reasonWords(model, each).name]),
    ];
  };
  const orderOptions = (model) => [
    ["", "as in the data"],
    ...(model.hasScores ? [["loss", "worst documents first"]] : []),
    ...(model.hasOther ? [["difference", "largest difference first"]] : []),
    ["trained", "least trained first"],
  ];
  const colourOptions = (model) => [
    ["loss", model.hasOther ? `loss of ${model.models[0] ?? "the first model"}` : "loss"],
    ...(model.hasOther
      ? [
          ...(model.byBytes ? [] : [["other", `loss of ${model.models[1] ?? "the other model"}`]]),
          ["difference", "difference"],
        ]
      : []),
    ["reason", "trained, or why not"],
  ];

  T.fillFilters = (model, look) => {
    fill(byId("reason"), reasonOptions(model));
    fill(byId("role"), [["", "all"], ...model.roles.map((role, index) => [String(index), role]), ["-1", "none"]]);
    fill(byId("source"), [["", "all"], ...model.sources.map((source, index) => [String(index), source])]);
    fill(byId("order"), orderOptions(model));
    fill(byId("colour"), colourOptions(model));
    byId("colour").value = look.colour;
    byId("documents").replaceChildren(
      ...model.docs
        .filter((doc) => doc.name)
        .slice(0, 300)
        .map((doc) => option(doc.name, doc.key)),
    );
    const useless = {
      role: !model.roles.length,
      source: model.sources.length < 2,
      document: model.docs.length < 2,
      loss: !model.hasScores,
      colour: !model.hasScores,
    };
    for (const label of document.querySelectorAll("#tokens [data-for]")) label.hidden = useless[label.dataset.for];
  };

  const chosen = (model) => ({
    search: byId("search").value,
    reason: byId("reason").value,
    role: byId("role").value,
    source: byId("source").value === "" ? null : model.sources[Number(byId("source").value)],
    document: byId("document").value.trim().toLowerCase(),
    above: byId("above").value === "" ? NaN : Number(byId("above").value),
    order: byId("order").value,
  });

  const keepsDocument = (doc, { source, document: wanted }) =>
    (source === null || doc.source === source) &&
    (wanted === "" || doc.key === wanted || doc.name.toLowerCase().includes(wanted));

  // 1 for each token that the filters keep; null where there are none.
  const keptOf = (model, choice) => {
    const { reason, role, above } = choice;
    if (reason === "" && role === "" && choice.source === null && choice.document === "" && Number.isNaN(above))
      return null;
    const kept = new Uint8Array(model.count);
    for (const doc of model.docs) {
      if (!keepsDocument(doc, choice)) continue;
      for (let i = doc.start; i < doc.stop; i++) {
        const own = model.reason[i];
        const fits =
          (reason === "" || (reason === "not" ? own !== 0 : own === Number(reason))) &&
          (role === "" || model.role[i] === Number(role));
        kept[i] = fits && (Number.isNaN(above) || (own === 0 && model.nll[i] > above)) ? 1 : 0;
      }
    }
    return kept;
  };

  // The text of a document, lower case, and where each of its tokens begins in it.
  const textOf = (model, doc) => {
    if (doc.text !== undefined) return doc;
    doc.offsets = new Int32Array(doc.stop - doc.start + 1);
    let text = "";
    for (let i = doc.start; i < doc.stop;) {
      const { kind, text: own } = T.piece(model, model.id[i]);
      const group = kind === "bytes" ? T.byteGroup(model, i, doc.stop) : null;
      text += (group ? group.text : own).toLowerCase();
      const stop = group ? group.stop : i + 1;
      while (i < stop) doc.offsets[++i - doc.start] = text.length;
    }
    doc.text = text;
    return doc;
  };

  const searchIds = (model, id, kept, hits) => {
    const found = [];
    for (let i = 0; i < model.count; i++) {
      if (model.id[i] !== id || (kept && !kept[i])) continue;
      hits[i] = 1;
      found.push(i);
    }
    return found;
  };

  const searchText = (model, wanted, kept, hits) => {
    const found = [];
    for (const doc of model.docs) {
      const { text, offsets } = textOf(model, doc);
      let token = 0;
      for (let from = text.indexOf(wanted); from >= 0; from = text.indexOf(wanted, from + wanted.length)) {
        while (offsets[token + 1] <= from) token++;
        const first = doc.start + token;
        if (kept && !kept[first]) continue;
        found.push(first);
        for (let i = token; i < doc.stop - doc.start && offsets[i] < from + wanted.length; i++) hits[doc.start + i] = 1;
      }
    }
    return found;
  };

  const runs = (model, kept) => {
    const found = [];
    for (let i = 0; i < model.count; i++)
      if (kept[i] && !(i > 0 && kept[i - 1] && model.doc[i - 1] === model.doc[i])) found.push(i);
    return found;
  };

  const sorted = (model, docs, order) => {
    if (order === "loss") return [...docs].sort((a, b) => (b.mean || 0) - (a.mean || 0));
    if (order === "trained")
      return [...docs].sort((a, b) => a.trained / (a.stop - a.start) - b.trained / (b.stop - b.start));
    if (order === "difference") return [...docs].sort((a, b) => apart(model, b) - apart(model, a));
    return docs;
  };
  const apart = (model, doc) => {
    let sum = 0;
    for (let i = doc.start; i < doc.stop; i++)
      if (T.trained(model, i)) sum += Math.abs(model.nll[i] - model.other[i]) || 0;
    return sum / Math.max(1, doc.trained);
  };

  const told = (matches, kept, searched, docs) => {
    if (!kept && !searched) return "";
    const where = ` in ${T.count(docs.length)} document${docs.length === 1 ? "" : "s"}`;
    if (searched) return `${T.count(matches.length)} match${matches.length === 1 ? "" : "es"}${where}`;
    return `${T.tokens(kept.reduce((sum, each) => sum + each, 0))}${where}`;
  };

  // Read the form: look.kept, look.hits, look.matches; the documents that remain, in their order.
  T.applyFilters = (model, look) => {
    const choice = chosen(model);
    const wanted = choice.search.toLowerCase();
    look.kept = keptOf(model, choice);
    look.hits = wanted ? new Uint8Array(model.count) : null;
    const id = /^id:(\d+)$/.exec(wanted.trim());
    if (wanted)
      look.matches = id
        ? searchIds(model, Number(id[1]), look.kept, look.hits)
        : searchText(model, wanted, look.kept, look.hits);
    else look.matches = look.kept ? runs(model, look.kept) : [];
    look.match = -1;
    const holding = new Set(look.matches.map((i) => model.doc[i]));
    const active = Boolean(look.kept || wanted);
    const docs = sorted(model, active ? model.docs.filter((doc) => holding.has(doc.index)) : model.docs, choice.order);
    byId("matches").textContent = told(look.matches, look.kept, Boolean(wanted), docs);
    for (const name of ["previous", "next"]) byId(name).hidden = !look.matches.length;
    byId("clear").hidden = !active;
    for (const button of byId("share").querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(button.dataset.reason === choice.reason));
    return docs;
  };

  T.clearFilters = () => {
    for (const name of ["search", "reason", "role", "source", "document", "above"]) byId(name).value = "";
  };
})();
