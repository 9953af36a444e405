"use strict";
// Puts the view together from the block of data "tokens".
(() => {
  const T = (window.lmheadTokens ??= {});
  const byId = (name) => document.getElementById(`tokens-${name}`);

  const hint = () => {
    const made = T.element("p", "keys");
    made.append("Point at a token, or go through them with ");
    for (const name of ["\u2190", "\u2192", "\u2191", "\u2193"]) made.append(T.element("kbd", "", name), " ");
    made.append(
      "after a click. ",
      T.element("kbd", "", "/"),
      " searches, ",
      T.element("kbd", "", "n"),
      " goes to the next match.",
    );
    return made;
  };

  const model = (T.model = T.read(JSON.parse(document.getElementById("data-tokens").textContent)));
  const look = {
    colour: model.hasOther ? "difference" : model.hasScores ? "loss" : "reason",
    untrained: false, // whether tokens that are not trained show their loss too
    kept: null,
    hits: null,
    matches: [],
    match: -1,
  };
  T.markFindings(model);
  T.fillFilters(model, look);
  const flow = (T.flow = T.makeFlow(model, byId("flow"), look));

  // To a token, wherever it is: filters that hide it are cleared.
  const go = (i) => {
    if (!flow.shown.includes(model.docs[model.doc[i]])) {
      T.clearFilters();
      apply();
    }
    T.select(flow, i, { far: true });
  };
  // Links within the view are followed here: in a notebook's frame the browser would follow them to the notebook.
  document.getElementById("tokens").addEventListener("click", (event) => {
    const i = T.ofLink(model, event.target.closest("a")?.getAttribute("href") ?? "");
    if (i < 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(i);
  });

  const show = (i) => T.drawDetails(model, look, i, byId("token"));
  const rest = () => (flow.current >= 0 ? show(flow.current) : byId("token").replaceChildren(hint()));

  let panelTimer = 0;
  const drawPanel = () => {
    clearTimeout(panelTimer);
    panelTimer = setTimeout(() => T.drawPanel(model, look.kept, byId("panel")), 60);
  };

  let searchTimer = 0;
  const apply = () => {
    clearTimeout(searchTimer);
    searchTimer = 0;
    T.order(flow, T.applyFilters(model, look));
    T.restyle(flow);
    drawPanel();
  };
  const recolour = () => {
    look.colour = byId("colour").value;
    look.untrained = byId("untrained").checked;
    T.drawLegend(model, look, byId("legend"));
    T.restyle(flow);
    rest();
  };
  const step = (by) => {
    if (!look.matches.length) return;
    look.match = (look.match + by + look.matches.length) % look.matches.length;
    go(look.matches[look.match]);
    byId("matches").textContent = `${T.count(look.match + 1)} of ${T.count(look.matches.length)}`;
  };

  flow.onPoint = show;
  flow.onSelect = (i) => {
    show(i);
    byId("details").classList.add("open");
    if (location.protocol !== "about:") history.replaceState(null, "", T.link(model, i));
  };
  flow.root.addEventListener("pointerleave", rest);
  const close = () => byId("details").classList.remove("open");
  byId("close").addEventListener("click", close);

  const later = () => {
    clearTimeout(searchTimer);
    searchTimer = setTimeout(apply, 120);
  };
  for (const name of ["search", "document", "above"]) byId(name).addEventListener("input", later);
  for (const name of ["reason", "role", "source", "order"]) byId(name).addEventListener("change", apply);
  for (const name of ["colour", "untrained"]) byId(name).addEventListener("change", recolour);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("search").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    if (searchTimer) apply();
    step(event.shiftKey ? -1 : 1);
    byId("search").focus({ preventScroll: true });
  });
  byId("next").addEventListener("click", () => step(1));
  byId("previous").addEventListener("click", () => step(-1));
  byId("clear").addEventListener("click", () => {
    T.clearFilters();
    apply();
  });
  T.listenToKeys(flow, {
    search: () => {
      byId("tools").open = true;
      byId("search").focus();
    },
    step,
    close,
  });

  const choose = (reason) => {
    byId("reason").value = reason;
    apply();
  };
  T.drawHeadline(model, { headline: byId("headline"), subject: byId("subject"), share: byId("share") }, choose);
  T.drawFindings(model, byId("findings"));
  const narrow = window.matchMedia("(max-width: 960px)");
  const fold = () => ["summary", "tools"].forEach((name) => (byId(name).open = !narrow.matches));
  narrow.addEventListener("change", fold);
  fold();
  recolour();
  apply();

  const follow = () => {
    const i = T.ofLink(model, location.hash);
    if (i >= 0) go(i);
  };
  window.addEventListener("hashchange", follow);
  follow();
})();
