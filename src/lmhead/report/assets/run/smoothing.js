// Smoothing: an exponential mean over what came before, its length a share of the axis; nothing of the future is in it,
// so a loss that jumps is seen to jump where it did.
"use strict";

// [points]; null where there is no value yet.
runReport.smoothed = (xs, ys, length) => {
  if (!(length > 0)) return ys;
  let [total, weight, before] = [0, 0, null];
  return ys.map((value, index) => {
    if (value === null || value === undefined || xs[index] === null) return null;
    const kept = before === null ? 0 : Math.exp(-Math.max(0, xs[index] - before) / length);
    before = xs[index];
    total = kept * total + (1 - kept) * value;
    weight = kept * weight + (1 - kept);
    return weight > 0 ? total / weight : value;
  });
};
