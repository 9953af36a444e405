"use strict";
// The first thing to be read: how much is trained, and for what reasons the rest is not; a bar whose parts filter the text.
(() => {
  const T = (window.lmheadTokens ??= {});

  const bold = (text) => T.element("b", "", text);

  const sentence = (model, found) => {
    const trained = found.get(0) ?? 0;
    const padding = found.get(T.PADDING) ?? 0;
    const whole = model.count - padding;
    if (!model.count) return ["There are no tokens in this record."];
    if (!trained)
      return [
        bold("Nothing is trained: "),
        `none of ${T.tokens(whole)} has a target that counts. A model would read this and learn nothing.`,
      ];
    const rest = whole - trained;
    return [
      "Of ",
      T.tokens(whole),
      ", ",
      bold(`${T.count(trained)} ${trained === 1 ? "is" : "are"} trained`),
      ` (${T.share(trained, whole)}).`,
      rest ? ` The other ${T.count(rest)} ${rest === 1 ? "is" : "are"} read, not learnt.` : "",
      padding ? ` ${T.tokens(padding)} of padding beside.` : "",
    ];
  };

  const subject = (model) => {
    const parts = [];
    if (model.models.length) parts.push(["model", model.models.join(" and ")]);
    for (const each of model.tokenizers)
      if (each.name)
        parts.push(["tokenizer", each.name + (each.vocab_size ? ` (${T.count(each.vocab_size)} tokens)` : "")]);
    if (model.files.length) parts.push(["data", model.files.join(", ")]);
    parts.push([
      "",
      `${T.count(model.rows.length)} row${model.rows.length === 1 ? "" : "s"}, ${T.count(model.documents)} document${model.documents === 1 ? "" : "s"}`,
    ]);
    const made = [];
    for (const [name, text] of parts) {
      if (made.length) made.push(" \u00b7 ");
      made.push(name ? `${name} ` : "", T.named(text));
    }
    return made;
  };

  // Trained first, then reasons by how many tokens they have, padding last.
  const parts = (found) =>
    [...found].sort(
      ([a, one], [b, two]) => (b === 0) - (a === 0) || (a === T.PADDING) - (b === T.PADDING) || two - one,
    );

  T.drawHeadline = (model, { headline, subject: about, share }, choose) => {
    const found = T.reasons(model);
    headline.replaceChildren(...sentence(model, found));
    about.replaceChildren(...subject(model));
    const bar = T.element("div", "share-bar");
    bar.setAttribute("aria-hidden", "true");
    const keys = T.element("ul", "share-keys");
    for (const [reason, tokens] of parts(found)) {
      const words = T.reasonWords(model, reason);
      const className = T.reasonClass(model, reason);
      const segment = T.element("span", className);
      segment.style.width = `${(100 * tokens) / model.count}%`;
      segment.title = `${words.name}: ${T.tokens(tokens)}`;
      bar.append(segment);
      keys.append(key(reason, words, className, tokens, choose));
    }
    share.replaceChildren(bar, keys);
  };

  const key = (reason, words, className, tokens, choose) => {
    const made = T.element("li");
    const button = T.element("button");
    button.type = "button";
    button.title = words.sentence;
    button.dataset.reason = reason;
    button.setAttribute("aria-pressed", "false");
    button.append(
      T.element("span", `swatch ${className}`),
      T.element("span", "", words.name),
      T.element("span", "muted", T.count(tokens)),
    );
    button.addEventListener("click", () =>
      choose(button.getAttribute("aria-pressed") === "true" ? "" : String(reason)),
    );
    made.append(button);
    return made;
  };
})();
