"use strict";
// The text: documents, their chunks, and the tokens of those chunks that are near the window. A chunk that leaves keeps its
// height and loses its tokens.
(() => {
  const T = (window.lmheadTokens ??= {});

  T.makeFlow = (model, root, look) => {
    const flow = {
      model,
      root,
      look,
      sections: [],
      chunks: [],
      waiting: new Set(),
      frame: 0,
      current: -1,
      onSelect: () => {},
      onPoint: () => {},
    };
    const observer = new IntersectionObserver((entries) => see(flow, entries), { rootMargin: "800px 0px" });
    const width = Math.max(240, root.clientWidth - 100);
    for (const doc of model.docs) addDocument(flow, doc, width, observer);
    T.order(flow, model.docs);
    root.addEventListener("pointerover", (event) => {
      const i = indexOf(event.target);
      if (i >= 0) flow.onPoint(i);
    });
    root.addEventListener("click", (event) => {
      const i = indexOf(event.target);
      if (i >= 0) T.select(flow, i);
    });
    return flow;
  };

  const indexOf = (target) => Number(target.closest?.(".t")?.dataset.i ?? -1);

  const addDocument = (flow, doc, width, observer) => {
    const section = T.element("section", "doc");
    section.append(heading(flow.model, doc));
    for (const chunk of T.chunksOf(flow.model, doc)) {
      chunk.element = T.element("div", chunk.learns ? "chunk learns" : "chunk");
      chunk.element.append(gutter(flow.model, chunk), T.element("div", "run"));
      chunk.run = chunk.element.lastChild;
      chunk.run.dir = "auto";
      chunk.element.style.height = `${T.estimatedHeight(flow.model, chunk, width)}px`;
      chunk.element.lmheadChunk = chunk;
      flow.chunks.push(chunk);
      section.append(chunk.element);
      observer.observe(chunk.element);
    }
    flow.sections.push(section);
  };

  const heading = (model, doc) => {
    const made = T.element("h3");
    const title =
      doc.name || doc.source || (doc.padding ? `Padding of row ${doc.row}` : `Document ${doc.key.slice(1)}`);
    const told = T.element("span", "muted");
    let trained = 0;
    let nats = 0;
    let scored = 0;
    for (let i = doc.start; i < doc.stop; i++) {
      if (!T.trained(model, i)) continue;
      trained++;
      if (Number.isNaN(model.nll[i])) continue;
      scored++;
      nats += model.nll[i];
    }
    doc.trained = trained;
    doc.mean = scored ? nats / scored : NaN;
    const parts = [doc.key, `row ${doc.row}`, T.tokens(doc.stop - doc.start)];
    if (!doc.padding) parts.push(trained ? `${T.share(trained, doc.stop - doc.start)} trained` : "nothing trained");
    if (scored) parts.push(`mean loss ${T.nats(doc.mean)}`);
    told.textContent = parts.join(" \u00b7 ");
    made.append(T.named(title), told);
    return made;
  };

  const gutter = (model, chunk) => {
    const made = T.element("div", "gutter");
    if (chunk.role >= 0) {
      const role = T.element("b");
      role.append(T.named(model.roles[chunk.role]));
      made.append(role);
    }
    made.append(String(T.inDocument(model, chunk.start)));
    return made;
  };

  // What is in the window is drawn at once, what is near it a chunk a frame.
  const see = (flow, entries) => {
    for (const { target, isIntersecting, boundingClientRect: box } of entries) {
      const chunk = target.lmheadChunk;
      flow.waiting.delete(chunk);
      if (!isIntersecting) clear(flow, chunk, box.height);
      else if (box.top < window.innerHeight && box.bottom > 0) draw(flow, chunk);
      else flow.waiting.add(chunk);
    }
    drawWaiting(flow);
  };
  const drawWaiting = (flow) => {
    cancelAnimationFrame(flow.frame);
    const [next] = flow.waiting;
    if (!next) return;
    flow.frame = requestAnimationFrame(() => {
      flow.waiting.delete(next);
      draw(flow, next);
      drawWaiting(flow);
    });
  };

  const clear = (flow, chunk, height) => {
    if (!chunk.drawn || (flow.current >= chunk.start && flow.current < chunk.stop)) return;
    chunk.element.style.height = `${height}px`;
    chunk.run.replaceChildren();
    chunk.drawn = false;
  };

  const draw = (flow, chunk) => {
    if (chunk.drawn) return;
    const { model } = flow;
    const made = document.createDocumentFragment();
    for (let i = chunk.start; i < chunk.stop;) {
      const group = T.piece(model, model.id[i]).kind === "bytes" ? T.byteGroup(model, i, chunk.stop) : null;
      if (group === null || group.stop === i + 1) {
        made.append(chip(flow, i, repeats(model, chunk, i)));
        i++;
        continue;
      }
      const whole = T.element("span", "bytes");
      while (i < group.stop) whole.append(chip(flow, i++));
      const character = T.element("i", "char");
      character.append(T.named(group.text));
      whole.append(character);
      made.append(whole);
    }
    chunk.run.replaceChildren(made);
    chunk.element.style.height = "";
    chunk.drawn = true;
  };

  // Of padding one token stands for all that are equal: the others are a small mark each.
  const repeats = (model, chunk, i) => chunk.doc.padding && i > chunk.start && model.id[i] === model.id[i - 1];

  const chip = (flow, i, again = false) => {
    const made = T.element("span", chipClass(flow, i));
    made.dataset.i = i;
    made.setAttribute("role", "button");
    made.tabIndex = -1;
    if (T.isBlank(flow.model, flow.model.id[i])) made.setAttribute("aria-label", "white space");
    if (again) made.setAttribute("aria-label", "padding");
    made.append(again ? T.element("i", "mk", "\u25ab") : T.glyphs(flow.model, flow.model.id[i]));
    return made;
  };

  const chipClass = (flow, i) => {
    const { model, look } = flow;
    const classes = ["t", T.colourClass(model, look, i)];
    if (look.kept && !look.kept[i]) classes.push("dim");
    if (look.hits?.[i]) classes.push("hit");
    if (T.misplaced(model, i)) classes.push("wrong");
    if (model.found[i] >= 0) classes.push("found");
    if (model.ghost[i]) classes.push("ghost");
    if (i === flow.current) classes.push("on");
    return classes.join(" ");
  };

  // The look has changed: what is drawn takes its new classes.
  T.restyle = (flow) => {
    for (const chip of flow.root.querySelectorAll(".t")) chip.className = chipClass(flow, Number(chip.dataset.i));
  };

  T.order = (flow, docs) => {
    const shown = new Set(docs);
    flow.model.docs.forEach((doc) => (flow.sections[doc.index].hidden = !shown.has(doc)));
    flow.shown = docs;
    flow.root.replaceChildren(...docs.map((doc) => flow.sections[doc.index]));
    if (!docs.length) flow.root.append(T.element("p", "nothing", "No token matches."));
  };

  const chunkAt = (flow, i) => {
    let low = 0;
    let high = flow.chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (flow.chunks[middle].start <= i) low = middle;
      else high = middle - 1;
    }
    return flow.chunks[low];
  };

  // The element of a token, drawn if need be.
  T.chipAt = (flow, i) => {
    const chunk = chunkAt(flow, i);
    draw(flow, chunk);
    return chunk.run.querySelector(`[data-i="${i}"]`);
  };

  // Make a token the current one; far: bring it to the middle, where its neighbours may still be growing.
  T.select = (flow, i, { far = false } = {}) => {
    flow.root.querySelector(".t.on")?.classList.remove("on");
    flow.current = i;
    const chip = T.chipAt(flow, i);
    chip.classList.add("on");
    chip.setAttribute("aria-describedby", "tokens-token");
    if (far) settle(flow, chip, 0);
    chip.focus({ preventScroll: far });
    flow.onSelect(i);
  };

  const settle = (flow, chip, frames) => {
    chip.scrollIntoView({ block: "center" });
    if (frames < 4 || (flow.waiting.size && frames < 24)) requestAnimationFrame(() => settle(flow, chip, frames + 1));
  };
})();
