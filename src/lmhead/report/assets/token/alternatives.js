"use strict";
// What else the model held likely in a token's place: a bar for each, the target among them or below.
(() => {
  const T = (window.lmheadTokens ??= {});
  const SVG = "http://www.w3.org/2000/svg";

  T.svg = (name, attributes, ...children) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  T.bar = (share, width = 84) =>
    T.svg(
      "svg",
      { width, height: 10, "aria-hidden": "true" },
      T.svg("rect", { width, height: 10, rx: 2, fill: "var(--line)" }),
      T.svg("rect", { width: Math.max(share > 0 ? 1 : 0, share * width), height: 10, rx: 2, fill: "var(--trained)" }),
    );

  const line = (model, id, p, isTarget, rank) => {
    const made = T.element("tr", isTarget ? "target" : "");
    const token = T.element("td");
    token.append(T.glyphsElement(model, id), isTarget ? " \u2190 target" : "");
    const bar = T.element("td", "bar");
    bar.append(T.bar(p));
    made.append(
      T.element("td", "number", rank >= 0 ? T.count(rank) : ""),
      token,
      bar,
      T.element("td", "number", T.percent(p)),
    );
    return made;
  };

  // They are most of the data, and read when they are first asked for.
  const ofRow = (model, row) => {
    model.alternatives ??= JSON.parse(document.getElementById("data-token-alternatives").textContent);
    return model.alternatives[row];
  };

  // {ids, logprobs} in the place of token i by the model, "scores", or by the other, "against"; null where there are none.
  // What has no probability that is a number is none.
  T.alternativesAt = (model, i, whose = "scores") => {
    const found = model.at[i] > 0 ? ofRow(model, model.row[i])[whose] : null;
    if (!found) return null;
    const from = (model.at[i] - 1) * found.k;
    const ids = [];
    const logprobs = [];
    for (let at = from; at < from + found.k; at++) {
      if (!(found.ids[at] >= 0) || typeof found.logprobs[at] !== "number") continue;
      ids.push(found.ids[at]);
      logprobs.push(found.logprobs[at]);
    }
    return ids.length ? { ids, logprobs } : null;
  };

  // A table of alternatives, or null where the record has none here.
  T.alternatives = (model, found, { target, nll, rank }) => {
    if (!found) return null;
    const { ids, logprobs } = found;
    const made = T.element("table", "odds");
    const head = T.element("tr");
    for (const [name, className] of [
      ["rank", "number"],
      ["token", ""],
      ["", ""],
      ["probability", "number"],
    ])
      head.append(T.element(name ? "th" : "td", className, name));
    const body = T.element("tbody");
    ids.forEach((id, index) => body.append(line(model, id, Math.exp(logprobs[index]), id === target, index)));
    if (!ids.includes(target) && !Number.isNaN(nll)) body.append(line(model, target, Math.exp(-nll), true, rank ?? -1));
    const top = T.element("thead");
    top.append(head);
    made.append(top, body);
    return made;
  };
})();
