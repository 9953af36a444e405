"use strict";
// What is told of tokens together: shares, means, histogram, calibration. Numbers only; drawn in panel.js.
// Means are over trained tokens, each counted once, whatever its weight.
(() => {
  const T = (window.lmheadTokens ??= {});
  T.HISTOGRAM_STEP = 0.5; // nats
  const HISTOGRAM_BINS = 24; // the last is open
  const CALIBRATION_BINS = 10;

  const tally = () => ({ tokens: 0, trained: 0, scored: 0, nats: 0, both: 0, own: 0, other: 0 });
  const meanOf = (sum) => (sum.scored ? sum.nats / sum.scored : NaN);
  T.meanOf = meanOf;

  const add = (sum, model, i) => {
    sum.tokens++;
    if (!T.trained(model, i)) return;
    sum.trained++;
    const nll = model.nll[i];
    if (Number.isNaN(nll)) return;
    sum.scored++;
    sum.nats += nll;
    if (Number.isNaN(model.other[i])) return;
    sum.both++;
    sum.own += nll;
    sum.other += model.other[i];
  };
  const at = (map, key) => {
    if (!map.has(key)) map.set(key, tally());
    return map.get(key);
  };

  // How many tokens stand before the one that predicts: 0-15, 16-63, 64-255, ..., as an evaluation's classes tell it.
  const positionBand = (before) => (before < 16 ? 0 : ((27 - Math.clz32(before)) >> 1) + 1);
  T.positionBandName = (band) => (band === 0 ? "0-15" : `${4 ** (band + 1)}-${4 ** (band + 2) - 1}`);

  // How many tokens each reason has.
  T.reasons = (model) => {
    const found = new Map();
    for (const reason of model.reason) found.set(reason, (found.get(reason) ?? 0) + 1);
    return found;
  };

  T.statistics = (model, kept) => {
    const made = {
      all: tally(),
      roles: new Map(),
      sources: new Map(),
      docs: new Map(),
      bands: new Map(),
      histogram: new Float64Array(HISTOGRAM_BINS),
      calibration: Array.from({ length: CALIBRATION_BINS }, () => ({ count: 0, p: 0, right: 0 })),
      hits: 0,
      ranked: 0,
      weighted: { weight: 0, nats: 0, odd: false },
    };
    for (let i = 0; i < model.count; i++) {
      if (kept && !kept[i]) continue;
      const doc = model.docs[model.doc[i]];
      if (doc.padding && !T.trained(model, i)) continue;
      add(made.all, model, i);
      if (model.role[i] >= 0 || model.roles.length) add(at(made.roles, model.role[i]), model, i);
      if (doc.source) add(at(made.sources, doc.source), model, i);
      add(at(made.docs, doc.index), model, i);
      if (T.trained(model, i)) addTrained(made, model, i);
    }
    return made;
  };

  const addTrained = (made, model, i) => {
    const nll = model.nll[i];
    const weight = T.weight(model, i);
    if (weight !== 1) made.weighted.odd = true;
    if (Number.isNaN(nll)) return;
    made.weighted.weight += weight;
    made.weighted.nats += weight * nll;
    made.histogram[Math.min(HISTOGRAM_BINS - 1, Math.max(0, Math.floor(nll / T.HISTOGRAM_STEP)))]++;
    add(at(made.bands, positionBand(T.position(model, i) - 1)), model, i);
    const found = T.alternativesAt(model, i);
    const rank = T.column(model, i, "rank");
    if (found || rank >= 0) {
      made.ranked++;
      made.hits += found ? found.ids[0] === model.target[i] : rank === 0; // of equals the first is chosen
    }
    if (found) calibrate(made.calibration, found, model.target[i]);
  };

  // Every alternative that is told is a claim with a probability, right where it is the target.
  const calibrate = (bins, { ids, logprobs }, target) => {
    ids.forEach((id, index) => {
      const p = Math.exp(logprobs[index]);
      const bin = bins[Math.min(CALIBRATION_BINS - 1, Math.floor(p * CALIBRATION_BINS))];
      bin.count++;
      bin.p += p;
      bin.right += id === target;
    });
  };

  // The trained tokens of the highest value, NaN left out.
  T.worst = (model, kept, count, value = (i) => model.nll[i]) => {
    const found = [];
    for (let i = 0; i < model.count; i++)
      if (T.trained(model, i) && (!kept || kept[i]) && !Number.isNaN(value(i))) found.push(i);
    return found.sort((a, b) => value(b) - value(a)).slice(0, count);
  };

  // Of spans that two tokenizers share and that are trained whole: bytes, and the nats of both.
  T.spanTotals = (model, kept) => {
    const made = { bytes: 0, own: 0, other: 0 };
    for (const span of new Set(model.spanOf.values())) {
      if (Number.isNaN(span.own + span.nll)) continue;
      let bytes = 0;
      let whole = true;
      for (let i = span.start; i < span.stop; i++) {
        whole &&= T.trained(model, i) && (!kept || Boolean(kept[i]));
        bytes += T.bytesOf(model, model.id[i]).length;
      }
      if (!whole) continue;
      made.bytes += bytes;
      made.own += span.own;
      made.other += span.nll;
    }
    return made;
  };
})();
