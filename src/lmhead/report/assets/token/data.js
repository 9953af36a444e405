"use strict";
// The record's rows -> one flat list of tokens. Token i of it is what is PREDICTED: its target, reason, weight and scores
// are those of the position before it. A target that lies beyond its row is a token of its own at the end (a ghost).
(() => {
  const T = (window.lmheadTokens ??= {});
  T.FIRST = 3; // the reason of a token that nothing of its document stands before
  T.IGNORE = -100;
  T.PADDING = 4;

  const columnOf = (rows, row, at, name) => (at > 0 ? rows[row][name]?.[at - 1] : undefined);
  const number = (value) => (typeof value === "number" ? value : NaN);

  T.read = (data) => {
    const rows = data.rows;
    let count = 0;
    for (const row of rows) count += row.ids.length + (ghostOf(row) ? 1 : 0);
    const model = {
      ...data,
      count,
      row: new Int32Array(count),
      at: new Int32Array(count), // position in the row
      id: new Float64Array(count),
      target: new Float64Array(count).fill(T.IGNORE),
      reason: new Uint8Array(count).fill(T.FIRST),
      nll: new Float64Array(count).fill(NaN),
      other: new Float64Array(count).fill(NaN), // the other model's nll of it, or its share of a span's
      spanOf: new Map(), // token -> the span that two tokenizers share
      doc: new Int32Array(count),
      role: new Int16Array(count).fill(-1),
      ghost: new Uint8Array(count),
      found: new Int16Array(count).fill(-1), // the finding that stands there
      docs: [],
      documents: 0,
      paddings: 0,
      roles: [],
      sources: [],
      starts: new Int32Array(rows.length + 1), // of each row, its first token
      hasScores: rows.some((row) => row.nll),
      hasOther: false,
      byBytes: false,
    };
    let next = 0;
    rows.forEach((row, index) => {
      model.starts[index] = next;
      next = readRow(model, row, index, next);
    });
    model.starts[rows.length] = next;
    model.sources = [...new Set(model.docs.map((doc) => doc.source).filter((name) => name !== ""))];
    return model;
  };

  const ghostOf = (row) => row.ids.length && row.reason[row.ids.length - 1] === 0;

  const readRow = (model, row, index, start) => {
    const length = row.ids.length;
    const stop = start + length + (ghostOf(row) ? 1 : 0);
    for (let i = start, at = 0; i < stop; i++, at++) {
      model.row[i] = index;
      model.at[i] = at;
      model.ghost[i] = at === length ? 1 : 0;
      if (at > 0) {
        model.reason[i] = row.reason[at - 1];
        model.target[i] = row.targets[at - 1];
        if (row.nll) model.nll[i] = number(row.nll[at - 1]);
        if (row.against?.nll) model.other[i] = number(row.against.nll[at - 1]);
      }
      model.id[i] = at < length ? row.ids[at] : row.targets[at - 1];
    }
    if (row.against?.nll) model.hasOther = true;
    readDocuments(model, row, index, start, stop);
    readRoles(model, row, start);
    if (row.against?.spans) readSpans(model, row, start);
    return stop;
  };

  // A document is a run of one number; padding is a run of its own.
  const readDocuments = (model, row, index, start, stop) => {
    const numberAt = (i) => row.document?.[Math.min(i - start, row.ids.length - 1)] ?? 0;
    for (let i = start; i < stop;) {
      const own = numberAt(i);
      let end = i + 1;
      while (end < stop && numberAt(end) === own) end++;
      const padding = own < 0;
      const doc = {
        key: padding ? `p${model.paddings++}` : `d${model.documents++}`, // as links name it
        index: model.docs.length,
        row: index,
        start: i,
        stop: end,
        padding,
        name: padding ? "" : (row.names?.[own] ?? ""),
        source: padding ? "" : (row.sources?.[own] ?? ""),
      };
      // What is trained stays so, whatever it is: across a boundary, or on padding.
      if (!padding && model.reason[i] !== 0) model.reason[i] = T.FIRST;
      if (padding) for (let j = i; j < end; j++) if (model.reason[j] !== 0) model.reason[j] = T.PADDING;
      model.doc.fill(doc.index, i, end);
      model.docs.push(doc);
      i = end;
    }
  };

  const readRoles = (model, row, start) => {
    for (const [from, to, role] of row.spans ?? []) {
      let known = model.roles.indexOf(role);
      if (known < 0) known = model.roles.push(role) - 1;
      model.role.fill(known, start + Math.max(0, from), start + Math.min(to, row.ids.length));
    }
  };

  // Of a span that both tokenizers share, its nats stand for the span; each token has its equal share.
  const readSpans = (model, row, start) => {
    model.hasOther = model.byBytes = true;
    for (const [from, to, nll, text] of row.against.spans) {
      let own = 0;
      for (let at = from; at < to; at++) own += model.nll[start + at];
      const span = { start: start + from, stop: start + to, own, nll: number(nll), text };
      for (let i = span.start; i < span.stop; i++) {
        model.spanOf.set(i, span);
        model.other[i] = model.nll[i] + (span.nll - span.own) / (to - from);
      }
    }
  };

  // What the position before token i has in a column of its row.
  T.column = (model, i, name) => columnOf(model.rows, model.row[i], model.at[i], name);
  T.otherColumn = (model, i, name) =>
    model.at[i] > 0 ? model.rows[model.row[i]].against?.[name]?.[model.at[i] - 1] : undefined;
  T.trained = (model, i) => model.reason[i] === 0;
  T.weight = (model, i) => T.column(model, i, "weight") ?? (T.trained(model, i) ? 1 : 0);
  T.inDocument = (model, i) => i - model.docs[model.doc[i]].start;
  T.position = (model, i) => {
    const told = model.rows[model.row[i]].position;
    return told ? (told[model.at[i]] ?? told[model.at[i] - 1] + 1) : T.inDocument(model, i);
  };
  T.link = (model, i) => `#${model.docs[model.doc[i]].key}-t${T.inDocument(model, i)}`;
  // A target that is not the token that follows: shifted twice, or not meant for these inputs.
  T.misplaced = (model, i) => model.reason[i] === 0 && model.target[i] !== model.id[i];

  T.ofLink = (model, hash) => {
    const parts = /^#(d|p|row)(\d+)(?:-t(\d+))?$/.exec(hash);
    if (!parts) return -1;
    const offset = Number(parts[3] ?? 0);
    if (parts[1] === "row") {
      const row = Number(parts[2]);
      return row < model.rows.length && model.starts[row] + offset < model.starts[row + 1]
        ? model.starts[row] + offset
        : -1;
    }
    const doc = model.docs.find((each) => each.key === parts[1] + parts[2]);
    return doc && doc.start + offset < doc.stop ? doc.start + offset : -1;
  };
})();
