"use strict";
// Documents -> chunks: runs of tokens that begin on a line of their own, at a message's start, after a line's end, or where
// a run grows too long. A chunk is what is drawn, or not, as a whole.
(() => {
  const T = (window.lmheadTokens ??= {});
  const LONGEST = 160; // tokens
  const SHORTEST = 50; // unless a message begins

  // Where messages begin: the template's text before one goes with it, from the end of a line or a control token.
  const messageStarts = (model, doc) => {
    const starts = new Set();
    for (let i = doc.start + 1; i < doc.stop; i++) {
      if (model.role[i] === model.role[i - 1]) continue;
      if (model.role[i] >= 0) {
        let from = i;
        while (from > doc.start && model.role[from - 1] < 0) from--;
        starts.add(from === doc.start ? from : from === i ? i : headOf(model, from, i));
      }
    }
    return starts;
  };

  const headOf = (model, from, to) => {
    for (let i = from; i < to - 1; i++) if (endsLine(model, i)) return i + 1;
    for (let i = to - 1; i > from; i--) if (T.piece(model, model.id[i]).kind === "control") return i;
    return from;
  };

  const endsLine = (model, i) => {
    const { kind, text } = T.piece(model, model.id[i]);
    return kind === "text" && text.endsWith("\n");
  };
  const startsWord = (model, i) => {
    const { kind, text } = T.piece(model, model.id[i]);
    return kind !== "bytes" && !/^[\p{L}\p{M}\p{N}]/u.test(text);
  };

  T.chunksOf = (model, doc) => {
    const starts = messageStarts(model, doc);
    const chunks = [];
    for (let start = doc.start; start < doc.stop;) {
      let stop = start + 1;
      while (stop < doc.stop && !starts.has(stop) && !isEnd(model, start, stop)) stop++;
      chunks.push(chunkOf(model, doc, start, stop, starts));
      start = stop;
    }
    return chunks;
  };

  const isEnd = (model, start, stop) => {
    const length = stop - start;
    if (length >= SHORTEST && endsLine(model, stop - 1)) return true;
    return (length >= LONGEST && startsWord(model, stop)) || length >= LONGEST + 40;
  };

  const chunkOf = (model, doc, start, stop, starts) => {
    let role = -1;
    let learns = false;
    for (let i = start; i < stop; i++) {
      if (role < 0) role = model.role[i];
      learns ||= T.trained(model, i);
    }
    return {
      doc,
      start,
      stop,
      role: start === doc.start || starts.has(start) ? role : -1,
      learns,
      drawn: false,
      element: null,
    };
  };

  // About how high a chunk will be, in pixels, until it is drawn.
  T.estimatedHeight = (model, chunk, width) => {
    const perLine = Math.max(10, Math.floor(width / 8.4));
    let lines = 0;
    let column = 0;
    for (let i = chunk.start; i < chunk.stop; i++) {
      const { kind, text } = T.piece(model, model.id[i]);
      if (chunk.doc.padding) column += 1;
      else column += kind === "bytes" ? text.length * 1.2 : text.length;
      if (kind === "text" && text.includes("\n")) {
        lines += Math.ceil(Math.max(1, column) / perLine);
        column = 0;
      }
    }
    return Math.ceil((lines + Math.ceil(column / perLine)) * 27.3 + 4);
  };
})();
