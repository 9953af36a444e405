// The worst held-out tokens: where the model is most wrong, each with a link to its place in the text.
"use strict";
{
  const { element, number, percent, count } = runReport;
  const linked = Boolean(document.getElementById("tokens"));
  const visible = (text) => text.replaceAll("\n", "⏎\n").replaceAll("\t", "⇥\t");
  const token = (text, kind) => element("span", { class: kind, text: /^ +$/.test(text) ? "␣".repeat(text.length) : visible(text) });

  // Of what stands around a token no more than two lines before and the rest of its own.
  const lead = (text) => text.split("\n").slice(-2).join("\n").trimStart();
  const rest = (text) => text.split("\n")[0];

  const row = (each) => {
    const passage = element("div", { class: "passage", dir: "auto" }, element("span", { text: lead(each.before) }),
      token(each.target, "wanted"), element("span", { class: "muted", text: rest(each.after) }));
    const expected = (each.top ?? []).slice(0, 3).map(([text, share]) =>
      element("span", { class: "entry" }, token(text, "token"), ` ${percent(share)}`));
    return element("tr", {}, element("td", { class: "number", text: number(each.nll) }), element("td", {}, passage,
      element("small", { class: "muted" }, element("bdi", { text: each.name }), linked
        ? element("a", { href: `#row${each.row}-t${each.at}` }, each.name ? " in its text" : "in its text") : null)),
      element("td", { class: "number", text: each.rank === undefined ? "–" : count(each.rank) }), element("td", {}, ...expected));
  };

  const table = (worst, name) => element("div", { class: "scrolled", tabindex: 0, role: "region", "aria-label": `Worst tokens of ${name}` },
    element("table", { class: "worst" }, element("thead", {}, element("tr", {}, element("th", { scope: "col", class: "number", text: "nats" }),
      element("th", { scope: "col", text: "the token, in its text" }), element("th", { scope: "col", class: "number", text: "rank" }),
      element("th", { scope: "col", text: "the model expected" }))), element("tbody", {}, ...worst.map(row))));

  runReport.worst = (runs) => {
    const known = runs.filter((run) => run.worst.length);
    if (!known.length) return null;
    return [element("p", { class: "muted", text: "Rank 0 is the model's first choice. A token that nobody could know is no fault; a whole list of one kind is." }),
      ...known.map((run, at) => element("details", { open: at === 0 }, element("summary", {}, runs.length > 1 ? element("bdi", { text: run.name })
        : `${run.worst.length} tokens`), table(run.worst, run.name)))];
  };
}
