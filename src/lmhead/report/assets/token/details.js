"use strict";
// All that is known of one token: from what it is predicted, whether it is trained or why not, and what models make of it.
(() => {
  const T = (window.lmheadTokens ??= {});

  const facts = (entries) => {
    const made = T.element("dl", "facts");
    for (const [name, value] of entries) {
      if (value === undefined || value === null || value === "") continue;
      const told = T.element("dd");
      told.append(value);
      made.append(T.element("dt", "", name), told);
    }
    return made;
  };

  const step = (model, i) => {
    const made = T.element("div", "step");
    const first = model.at[i] === 0 || model.reason[i] === T.FIRST;
    const wanted = model.reason[i] === 0 ? model.target[i] : model.id[i];
    if (first) made.append(T.glyphsElement(model, wanted));
    else
      made.append(
        T.glyphsElement(model, model.id[i - 1]),
        T.element("span", "arrow", "\u2192"),
        T.glyphsElement(model, wanted),
      );
    return made;
  };

  const state = (model, i, look) => {
    const words = T.reasonWords(model, model.reason[i]);
    const made = T.element("div", "state");
    made.append(T.element("span", `swatch ${T.colourClass(model, look, i)}`));
    made.append(T.element("b", "", T.trained(model, i) ? "Trained" : `Not trained: ${words.name}`));
    return [made, T.element("p", "why", words.sentence)];
  };

  const place = (model, i) => {
    const doc = model.docs[model.doc[i]];
    const inDocument = T.position(model, i);
    return `${T.count(inDocument)} in ${doc.padding ? "padding" : `document ${doc.key.slice(1)}`}; row ${doc.row}, ${T.count(model.at[i])}`;
  };

  const bytes = (model, id) => {
    const found = T.bytesOf(model, id);
    if (!found.length) return "";
    const made = T.element("span");
    made.append(
      T.element("code", "", T.hex(found.slice(0, 24)) + (found.length > 24 ? " \u2026" : "")),
      found.length > 3 ? ` (${found.length})` : "",
    );
    return made;
  };

  const wanted = (model, i) => (model.reason[i] === 0 ? model.target[i] : model.id[i]);

  const ids = (model, i) => {
    const from = model.at[i] > 0 && model.reason[i] !== T.FIRST ? `${model.id[i - 1]} \u2192 ` : "";
    return `${from}${wanted(model, i)}`;
  };

  // Of equals the first is chosen: a token may have none likelier, and not be the choice.
  const rankInWords = (rank, isChoice) => {
    if (rank > 0) return `${T.count(rank)}, after ${T.count(rank)} likelier token${rank === 1 ? "" : "s"}`;
    return isChoice ? "0, the model's first choice" : "0, as likely as the model's first choice";
  };

  const score = (nll, rank, entropy, isChoice) => {
    if (Number.isNaN(nll)) return [];
    const made = [
      ["loss", `${T.nats(nll)} nats`],
      ["probability", T.percent(Math.exp(-nll))],
    ];
    if (rank >= 0) made.push(["rank", rankInWords(rank, isChoice)]);
    if (typeof entropy === "number") made.push(["entropy", `${T.nats(entropy)} nats`]);
    return made;
  };

  const scores = (model, i, whose, nll) => {
    const column = whose === "scores" ? T.column : T.otherColumn;
    const choice = T.alternativesAt(model, i, whose)?.ids[0];
    const isChoice = choice === undefined || choice === wanted(model, i);
    return [
      facts(score(nll, column(model, i, "rank"), column(model, i, "entropy"), isChoice)),
      alternatives(model, i, whose, nll, column(model, i, "rank")),
    ];
  };

  const alternatives = (model, i, whose, nll, rank) =>
    T.alternatives(model, T.alternativesAt(model, i, whose), {
      target: wanted(model, i),
      nll,
      rank,
    });

  const other = (model, i) => {
    if (!model.hasOther) return [];
    const [first = "first model", second = "other model"] = model.models;
    const span = model.spanOf.get(i);
    if (span) {
      const text = T.inked(span.text);
      return [
        title(`The same bytes, by ${second}`),
        facts([
          ["its tokens", text],
          ["loss there", `${T.nats(span.nll)} nats`],
          [
            `${first}`,
            Number.isNaN(span.own) ? "unknown" : `${T.nats(span.own)} nats, ${T.tokens(span.stop - span.start)}`,
          ],
          ["difference", Number.isNaN(span.own - span.nll) ? "" : `${T.signed(span.own - span.nll)} nats`],
        ]),
      ];
    }
    const nll = model.byBytes ? NaN : model.other[i];
    if (Number.isNaN(nll)) return [];
    return [
      title(second),
      facts([["difference", `${T.signed(model.nll[i] - nll)} nats`]]),
      ...scores(model, i, "against", nll),
    ];
  };
  const title = (text) => {
    const made = T.element("h4");
    made.append(T.named(text));
    return made;
  };

  const found = (model, i) => {
    if (model.found[i] < 0) return [];
    const finding = model.findings[model.found[i]];
    const made = T.element("p", "wrong-target");
    made.append(T.named(finding.message ?? finding.code));
    return [made];
  };

  const misplaced = (model, i) => {
    if (!T.misplaced(model, i) || model.ghost[i]) return [];
    const made = T.element("p", "wrong-target", "The target is not the token that follows, which is ");
    made.append(T.glyphsElement(model, model.id[i]), ` (${model.id[i]}).`);
    return [made];
  };

  T.drawDetails = (model, look, i, into) => {
    const doc = model.docs[model.doc[i]];
    const link = T.element("a", "mono", T.link(model, i));
    link.href = T.link(model, i);
    const weight = T.weight(model, i);
    const told = [
      step(model, i),
      ...state(model, i, look),
      ...found(model, i),
      ...misplaced(model, i),
      facts([
        ["id", ids(model, i)],
        ["bytes", bytes(model, model.reason[i] === 0 ? model.target[i] : model.id[i])],
        ["weight", T.trained(model, i) ? String(Number(weight.toPrecision(6))) : ""],
        ["role", model.role[i] >= 0 ? T.named(model.roles[model.role[i]]) : ""],
        ["position", place(model, i)],
        ["from", doc.name ? T.named(doc.name) : ""],
        ["source", doc.source && doc.source !== doc.name ? T.named(doc.source) : ""],
        ["link", link],
      ]),
    ];
    if (model.hasScores && model.hasOther && !Number.isNaN(model.nll[i]))
      told.push(title(model.models[0] ?? "first model"));
    told.push(...scores(model, i, "scores", model.nll[i]), ...other(model, i));
    into.replaceChildren(...told.filter((each) => each !== null && each.childNodes.length));
  };
})();
