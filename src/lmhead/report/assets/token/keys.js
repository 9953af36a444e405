"use strict";
// The keyboard: arrows go from token to token and from line to line, wherever the next one is.
(() => {
  const T = (window.lmheadTokens ??= {});

  const neighbour = (flow, i, step) => {
    const doc = flow.model.docs[flow.model.doc[i]];
    const next = i + step;
    if (next >= doc.start && next < doc.stop) return next;
    const other = flow.shown[flow.shown.indexOf(doc) + step];
    if (!other) return -1;
    return step > 0 ? other.start : other.stop - 1;
  };

  // The token on the line above or below that is nearest to the middle of this one.
  const vertical = (flow, i, step) => {
    const own = T.chipAt(flow, i).getClientRects()[0];
    const middle = (own.left + own.right) / 2;
    let line = null;
    let best = -1;
    let least = Infinity;
    for (
      let next = neighbour(flow, i, step), seen = 0;
      next >= 0 && seen < 2000;
      next = neighbour(flow, next, step), seen++
    ) {
      const rects = T.chipAt(flow, next).getClientRects();
      const rect = step > 0 ? rects[0] : rects[rects.length - 1];
      if (!rect || Math.abs(rect.top - own.top) < 8) continue;
      line ??= rect.top;
      if (Math.abs(rect.top - line) >= 8) break;
      const distance = Math.max(0, rect.left - middle, middle - rect.right);
      if (distance < least) [best, least] = [next, distance];
    }
    return best;
  };

  const edge = (flow, i, last) => {
    const doc = flow.model.docs[flow.model.doc[i]];
    return last ? doc.stop - 1 : doc.start;
  };

  const MOVES = {
    ArrowRight: (flow, i) => neighbour(flow, i, 1),
    ArrowLeft: (flow, i) => neighbour(flow, i, -1),
    ArrowDown: (flow, i) => vertical(flow, i, 1),
    ArrowUp: (flow, i) => vertical(flow, i, -1),
    Home: (flow, i) => edge(flow, i, false),
    End: (flow, i) => edge(flow, i, true),
  };

  const isText = (target) => target.closest("input, select, textarea") !== null;

  T.listenToKeys = (flow, { search, step, close }) => {
    flow.root.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(MOVES, event.key) || !flow.shown.length)
        return;
      event.preventDefault();
      const known = flow.current >= 0 && flow.shown.includes(flow.model.docs[flow.model.doc[flow.current]]);
      const next = known ? MOVES[event.key](flow, flow.current) : flow.shown[0].start;
      if (next >= 0) T.select(flow, next, { far: event.key === "Home" || event.key === "End" || !known });
    });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Escape") close();
      if (isText(event.target)) return;
      if (event.key === "/") {
        event.preventDefault();
        search();
      } else if (event.key === "n" || event.key === "N") step(event.key === "n" ? 1 : -1);
    });
  };
})();
