"use strict";
// Numbers as they are printed. One place, so that what the page prints is the record's number to the digits that are shown.
(() => {
  const T = (window.lmheadTokens ??= {});
  const grouped = new Intl.NumberFormat("en-US");

  T.count = (value) => grouped.format(value);
  T.tokens = (value) => `${T.count(value)} token${value === 1 ? "" : "s"}`;
  // Nats: four decimals; what would be 0.0000 in powers of ten.
  T.nats = (value) => (value === 0 || Math.abs(value) >= 0.001 ? value.toFixed(4) : value.toExponential(2));
  T.signed = (value) => (value > 0 ? "+" : "") + T.nats(value);
  // A probability: three digits of a percentage.
  T.percent = (p) => {
    const value = 100 * p;
    if (value === 0) return "0 %";
    if (value >= 99.95 && value < 100) return `${Number(value.toPrecision(5))} %`;
    return value >= 0.01 ? `${Number(value.toPrecision(3))} %` : `${value.toExponential(1)} %`;
  };
  // A share: whole percents, with "less than" rather than a 0 that is none.
  T.share = (part, whole) => {
    if (!whole || !part) return "0 %";
    const value = (100 * part) / whole;
    if (value < 1) return "< 1 %";
    return value > 99 && part < whole ? "> 99 %" : `${Math.round(value)} %`;
  };
  T.hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
})();
