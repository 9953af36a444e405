// What the scripts of a run's report share: elements, text and numbers. Text goes into text nodes alone.
"use strict";
const runReport = {};

// The data, in objects that have nothing but what was given: a class may be called "constructor".
runReport.bare = (value) => {
  if (Array.isArray(value)) return typeof value[0] === "object" ? value.map(runReport.bare) : value;
  if (typeof value !== "object" || value === null) return value;
  const made = Object.create(null);
  for (const [name, each] of Object.entries(value)) made[name] = runReport.bare(each);
  return made;
};
runReport.data = runReport.bare(JSON.parse(document.getElementById("data-run").textContent));

runReport.element = (tag, given = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "text") made.append(runReport.shown(value));
    else if (name in { checked: 1, value: 1, hidden: 1 }) made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};

// Characters that are not seen, or that turn the text around, as their number; the rest as it is.
runReport.shown = (text) => {
  const unseen = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/gu;
  const made = document.createDocumentFragment();
  let done = 0;
  for (const found of String(text).matchAll(unseen)) {
    const code = found[0].codePointAt(0).toString(16).toUpperCase().padStart(2, "0");
    const mark = document.createElement("span");
    mark.className = "unseen";
    mark.textContent = code.length > 2 ? `U+${code}` : `\\x${code}`;
    made.append(String(text).slice(done, found.index), mark);
    done = found.index + found[0].length;
  }
  made.append(String(text).slice(done));
  return made;
};

runReport.count = (value) => Math.round(value).toLocaleString("en-US");

// Four digits that matter; whole numbers whole.
runReport.number = (value, digits = 4) => {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return runReport.count(value);
  if (size >= 1e6 || (size < 1e-3 && size > 0)) return value.toExponential(Math.max(0, digits - 2)).replace("e+", "e");
  if (size >= 10 ** (digits - 1)) return runReport.count(value);
  return value.toFixed(Math.max(0, digits - 1 - Math.max(0, Math.floor(Math.log10(size || 1)))));
};

// 12.3 k, 4.56 M.
runReport.short = (value) => {
  for (const [factor, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= factor) return `${Number((value / factor).toPrecision(3))} ${letter}`;
  }
  return `${Number(value.toPrecision(3))}`;
};

runReport.percent = (share) => `${(100 * share).toFixed(1)} %`;

runReport.duration = (seconds) => {
  if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
};
