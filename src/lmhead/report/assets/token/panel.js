"use strict";
// The summary beside the text: of all tokens, or of those that the filters keep.
(() => {
  const T = (window.lmheadTokens ??= {});
  const WORST = 30;
  const DOCUMENTS = 12;

  const title = (text) => T.element("h4", "", text);
  const caption = (text) => T.element("p", "caption", text);
  const mean = (sum) => (sum.scored ? T.nats(T.meanOf(sum)) : "");

  const totals = (model, found, kept) => {
    const { all, weighted } = found;
    const rows = [["trained tokens", T.count(all.trained)]];
    if (model.hasScores && all.scored < all.trained)
      rows.push(["of these without a finite loss, left out below", T.count(all.trained - all.scored)]);
    if (all.scored) {
      rows.push(["mean loss, nats", mean(all)]);
      if (weighted.odd && weighted.weight) rows.push(["mean by weight, nats", T.nats(weighted.nats / weighted.weight)]);
      rows.push(["perplexity", T.nats(Math.exp(T.meanOf(all)))]);
      if (found.ranked) rows.push(["first choice right", T.percent(found.hits / found.ranked)]);
    }
    if (model.byBytes) {
      const spans = T.spanTotals(model, kept);
      const bits = (nats) => (spans.bytes ? T.nats(nats / spans.bytes / Math.LN2) : "");
      rows.push(["bytes that both share", T.count(spans.bytes)]);
      rows.push([withName(model.models[0] ?? "first model", ", bits per byte"), bits(spans.own)]);
      rows.push([withName(model.models[1] ?? "other model", ", bits per byte"), bits(spans.other)]);
    } else if (all.both) {
      rows.push([withName(model.models[1] ?? "other model", ", mean loss"), T.nats(all.other / all.both)]);
      rows.push(["difference", T.signed((all.own - all.other) / all.both)]);
    }
    return [T.table(["", ""], rows)];
  };
  const withName = (name, more) => {
    const made = T.element("span");
    made.append(T.named(name), more);
    return made;
  };

  const shareOf = (sum) => T.share(sum.trained, sum.tokens);
  const shareBar = (sum) => {
    const made = T.element("span", "share-cell");
    made.append(T.bar(sum.trained / sum.tokens, 40), shareOf(sum));
    return made;
  };

  const grouped = (head, map, name, hasScores, share = shareOf) =>
    T.table(
      [head, "tokens", "trained", ...(hasScores ? ["mean loss"] : [])],
      [...map].map(([key, sum]) => [name(key), T.count(sum.tokens), share(sum), ...(hasScores ? [mean(sum)] : [])]),
    );

  const roles = (model, found) =>
    found.roles.size
      ? [
          title("Trained, by role"),
          grouped(
            "role",
            found.roles,
            (role) => (role < 0 ? T.element("span", "muted", "between messages") : T.named(model.roles[role])),
            model.hasScores,
            shareBar,
          ),
        ]
      : [];
  const sources = (model, found) =>
    found.sources.size > 1 ? [title("By source"), grouped("source", found.sources, T.named, model.hasScores)] : [];

  const histogram = (found) => {
    if (!found.all.scored) return [];
    const values = [...found.histogram];
    const edge = (index) => index * T.HISTOGRAM_STEP;
    const names = values.map((_, index) => (index % 4 === 0 ? String(edge(index)) : ""));
    const told = (index) =>
      `${edge(index)} ${index === values.length - 1 ? "and more" : `to ${edge(index + 1)}`} nats: ${T.tokens(values[index])}, ${T.share(values[index], found.all.scored)}`;
    const most = values.indexOf(Math.max(...values));
    return [
      title("Loss of trained tokens"),
      T.columns(`Histogram of loss; most often ${told(most)}`, values, names, told, {
        over: (index) => (index === most ? T.count(values[index]) : ""),
      }),
      caption("tokens by their loss in nats; the last column is open"),
    ];
  };

  const calibration = (found) => {
    const bins = found.calibration;
    if (!bins.some((bin) => bin.count)) return [];
    const count = bins.reduce((sum, bin) => sum + bin.count, 0);
    const error = bins.reduce((sum, bin) => sum + Math.abs(bin.p - bin.right), 0) / count;
    return [
      title("Calibration"),
      T.calibrationCurve(bins),
      caption(`of ${T.count(count)} alternatives; claimed and true differ by ${T.percent(error)} on average`),
    ];
  };

  const positions = (found) => {
    const bands = [...found.bands].sort(([a], [b]) => a - b);
    if (bands.length < 2) return [];
    const values = bands.map(([, sum]) => T.meanOf(sum));
    const names = bands.map(([band]) => T.positionBandName(band).split("-")[0]);
    return [
      title("Loss by position in the document"),
      T.columns(
        "Mean loss by position in the document",
        values,
        names,
        (index) =>
          `${T.positionBandName(bands[index][0])}: ${T.nats(values[index])} nats, ${T.tokens(bands[index][1].scored)}`,
        {
          over: (index) => values[index].toFixed(2),
        },
      ),
      caption("mean in nats, by the position that predicts, from the one written below"),
    ];
  };

  const docLink = (model, index) => {
    const doc = model.docs[index];
    const made = T.element("a");
    made.href = T.link(model, doc.start);
    made.append(T.named(doc.name || doc.source || doc.key));
    return made;
  };

  // Documents that stand out: of the highest mean loss, or of the smallest share that is trained.
  const documents = (model, found) => {
    if (found.docs.size < 2) return [];
    const share = (sum) => sum.trained / sum.tokens;
    const order = model.hasScores
      ? ([, a], [, b]) => (T.meanOf(b) || 0) - (T.meanOf(a) || 0)
      : ([, a], [, b]) => share(a) - share(b);
    const sorted = [...found.docs].filter(([index]) => !model.docs[index].padding).sort(order);
    const made = [
      title(model.hasScores ? "Documents, worst first" : "Documents, least trained first"),
      grouped("document", new Map(sorted.slice(0, DOCUMENTS)), (index) => docLink(model, index), model.hasScores),
    ];
    if (sorted.length > DOCUMENTS) made.push(caption(`and ${T.count(sorted.length - DOCUMENTS)} more`));
    return made;
  };

  const tokenLink = (model, i, value) => {
    const made = T.element("li");
    const link = T.element("a");
    link.href = T.link(model, i);
    const before = T.element("span", "before");
    for (let j = Math.max(model.docs[model.doc[i]].start, i - 4); j < i; j++)
      before.append(T.glyphs(model, model.id[j], true));
    link.append(before, T.glyphsElement(model, model.target[i]));
    made.append(T.element("span", "nats", value), link);
    return made;
  };
  const tokenList = (model, heading, found, value) => {
    if (!found.length) return [];
    const made = T.element("ol", "worst");
    made.append(...found.map((i) => tokenLink(model, i, value(i))));
    return [title(heading), made];
  };

  const worst = (model, kept) => {
    if (!model.hasScores) return [];
    const lists = tokenList(model, "Worst tokens", T.worst(model, kept, WORST), (i) => model.nll[i].toFixed(2));
    if (!model.hasOther) return lists;
    const difference = (i) => model.nll[i] - model.other[i];
    const [first = "the first model", other = "the other model"] = model.models;
    const signed = (i) => (difference(i) > 0 ? "+" : "") + difference(i).toFixed(2);
    const only = (found, sign) => found.filter((i) => difference(i) * sign > 0);
    return [
      ...tokenList(
        model,
        `Where ${first} is better`,
        only(
          T.worst(model, kept, 12, (i) => -difference(i)),
          -1,
        ),
        signed,
      ),
      ...tokenList(model, `Where ${other} is better`, only(T.worst(model, kept, 12, difference), 1), signed),
      ...lists,
    ];
  };

  T.drawPanel = (model, kept, into) => {
    const found = T.statistics(model, kept);
    into.replaceChildren(
      ...(kept ? [caption("of the tokens that the filters keep")] : []),
      ...totals(model, found, kept),
      ...roles(model, found),
      ...documents(model, found),
      ...histogram(found),
      ...positions(found),
      ...calibration(found),
      ...sources(model, found),
      ...worst(model, kept),
    );
  };
})();
