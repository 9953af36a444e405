// Curves: one chart a figure, every run on the same axes, raw and smoothed; the tools that go for all of them.
"use strict";
{
  const { element, number, short } = runReport;
  const known = (value) => value !== null && value !== undefined;

  // What is drawn, in this order; others that a trainer logs come behind. `step` is a figure of steps, `held` of evaluations;
  // of `each` several stand in one chart, which what follows `step` in their names tells apart.
  const figures = [
    { title: "Loss", unit: "nats per token", step: "loss", held: "nll", wide: true, log: true },
    { title: "Held-out bits per byte", unit: "bits per byte", held: "bits_per_byte" },
    { title: "Accuracy", unit: "share of tokens", step: "accuracy", held: "accuracy", tick: (value) => `${Number((100 * value).toPrecision(3))} %` },
    { title: "Loss of further tokens", unit: "nats per token that is so many further ahead", step: "mtp_loss_", each: (k) => `${k} further`, log: true },
    { title: "Tokens a forward", unit: "of decoding with drafts, held to held-out text", held: "accepted_length" },
    { title: "Gradient norm", unit: "before clipping", step: "grad_norm", log: true },
    { title: "Gradient norm of the modules", unit: "of multi-token prediction, before clipping", step: "mtp_grad_norm", log: true },
    { title: "Total loss", unit: "nats, of the next token and further ones as they weigh", step: "total_loss", log: true },
    { title: "Speed", unit: "scored tokens a second", step: "tokens_per_second" },
    { title: "Learning rate", unit: "share of its peak", step: "rate" },
    { title: "Entropy", unit: "nats", step: "entropy", held: "entropy" },
  ];
  // The names of a run's curves that are in a figure.
  const stepsOf = (run, figure) =>
    Object.keys(run.curves.curves).filter((name) => (figure.each ? name.startsWith(figure.step) : name === figure.step));
  const settings = { kind: "step", smoothing: 0.01, log: false, all: false, hidden: new Set() };

  const drawn = (runs) => {
    const named = new Set(runs.flatMap((run) => figures.flatMap((figure) => stepsOf(run, figure))));
    const others = new Set(runs.flatMap((run) => Object.keys(run.curves.curves)).filter((name) => !named.has(name)));
    return [...figures, ...[...others].map((name) => ({ title: name, unit: "as logged", step: name, log: true }))].filter(
      (figure) => runs.some((run) => stepsOf(run, figure).length || heldOut(run, figure.held).length));
  };

  // The evaluations that have a figure, by what they are of: {name, whole, lines}.
  const heldOut = (run, figure) => {
    if (!figure) return [];
    const groups = new Map();
    for (const line of run.evaluations) {
      if (!known(line.figures[figure])) continue;
      const key = JSON.stringify([line.name, line.set]);
      if (!groups.has(key)) groups.set(key, { name: line.name, set: line.set, lines: [] });
      groups.get(key).lines.push(line);
    }
    const alone = groups.size === 1;
    return [...groups.values()].map((group) => ({
      ...group,
      label: `held out${group.set ? `, ${group.set}` : alone ? "" : group.name === "full" ? ", all of it" : ", a part"}`,
      whole: !alone && group.name === "full",
    }));
  };

  const seriesOf = (run, index, figure, several) => {
    const { kind } = settings;
    const own = runReport.colour.run(index);
    const dash = runReport.colour.dash(index);
    const made = [];
    const xs = runReport.axis.of(run, kind);
    const steps = stepsOf(run, figure);
    steps.forEach((step, place) => {
      const curve = run.curves.curves[step];
      const which = figure.each ? figure.each(step.slice(figure.step.length)) : "training";
      const name = !several ? which : figure.each ? `${run.name}, ${which}` : run.name;
      const colour = figure.each && !several ? runReport.colour.run(place) : own;
      const values = xs.filter(known);
      const length = settings.smoothing * (values[values.length - 1] - values[0] || 0);
      const few = values.length < 20 || figure.step === "rate" || !length;
      if (!few) made.push({ label: `${name}, raw`, quiet: true, role: "raw", colour, xs, ys: curve.mean, low: curve.low, high: curve.high });
      const drawn = figure.each && several ? runReport.colour.dashOf(place) : dash;
      made.push({ label: name, run, role: "smooth", colour, dash: drawn, xs, ys: few ? curve.mean : runReport.smoothed(xs, curve.mean, length),
        ...(few ? { low: curve.low, high: curve.high } : {}) });
    });
    for (const group of heldOut(run, figure.held)) {
      made.push({
        label: several ? run.name : group.label,
        run,
        role: group.whole ? "whole" : "points",
        colour: several || !steps.length ? own : runReport.colour.of("hue-held"),
        dash: several && steps.length ? [3, 3] : dash,
        xs: group.lines.map((line) => runReport.axis.place(run, kind, line.step)),
        ys: group.lines.map((line) => line.figures[figure.held]),
      });
    }
    return made;
  };

  const mild = (event) => event.kind === "spike" || (event.kind === "climb" && event.until !== null);
  const marksOf = (run) =>
    run.events.map((event) => {
      const at = (step) => runReport.axis.place(run, settings.kind, step);
      const last = event.until ?? run.last.step;
      return { x: at(event.step), until: at(last), colour: runReport.colour.of(mild(event) ? "odd" : "bad") };
    });

  const entry = (series, alone) => {
    const shape = series.role === "whole" ? "ring" : series.role === "points" ? "dot" : "line";
    const key = element("span", { class: `key ${shape}` });
    key.style.color = series.colour;
    return element("span", { class: "entry" }, ...(alone ? [] : [key, element("bdi", { text: series.label })]));
  };

  // A figure with its chart, and below it what the lines are, and their values under the cursor.
  const panel = (runs, figure) => {
    const shown = runs.map((run, index) => ({ run, index })).filter(({ run }) => !settings.hidden.has(run.name));
    const series = shown.flatMap(({ run, index }) => seriesOf(run, index, figure, runs.length > 1));
    const kind = runReport.axis.kinds[settings.kind];
    const label = `${figure.title} by ${kind.label}. Arrow keys read the values, plus and minus zoom, 0 shows all.`;
    const box = element("div", { class: "chart", tabindex: 0, role: "application", "aria-label": label });
    const place = element("span", { class: "at" });
    const reading = element("div", { class: "reading", "aria-live": "polite" }, place);
    const entries = new Map(); // of several runs one each, of one run a line each
    const alone = runs.length === 1 && series.filter((each) => !each.quiet).length === 1;
    const cells = series.map((each) => {
      if (each.quiet) return null;
      if (!entries.has(each.label)) entries.set(each.label, entry(each, alone));
      const value = element("b");
      entries.get(each.label).append(" ", value);
      return value;
    });
    reading.append(...entries.values());
    const read = (values, x) => {
      place.textContent = x === null ? "" : kind.exact(x);
      cells.forEach((cell, index) => {
        if (!cell) return;
        const at = values?.[index];
        cell.textContent = at ? (figure.tick ?? number)(at.value) : "";
      });
    };
    const both = runs.length > 1 && figure.held && series.some((each) => each.role === "smooth");
    const rings = runs.length > 1 && series.some((each) => each.role === "whole");
    const told = [figure.unit, both ? "dotted: held out" : "", rings ? "rings: all of it" : ""].filter(Boolean).join(" · ");
    const heading = element("h3", {}, element("span", { text: figure.title }), " ", element("small", { text: told }),
      figure.wide && runs.some((run) => run.worst.length) ? element("a", { href: "#worst", class: "beside" }, "the worst tokens") : null);
    const made = element("section", { class: figure.wide ? "figure wide" : "figure" }, heading, box, reading);
    return { made, box, read, spec: {
      kind: settings.kind, height: figure.wide ? 320 : 210, log: settings.log && figure.log, all: settings.all, tick: figure.tick,
      series, marks: figure.step === "loss" || figure.step === "grad_norm" ? shown.flatMap(({ run }) => marksOf(run)) : [],
    } };
  };

  let open = [];
  // From 0 to the last of all runs, whatever is drawn of them: charts below one another read alike.
  const wholeOf = (runs) => {
    const ends = runs.flatMap((run) => [run.last.step, ...run.events.map((event) => event.step), ...run.evaluations.map((line) => line.step)]
      .filter(known).map((step) => runReport.axis.place(run, settings.kind, step))).filter(known);
    return [0, Math.max(1, ...ends)];
  };

  const draw = (runs, grid) => {
    open.forEach((chart) => chart.remove());
    const whole = wholeOf(runs);
    const panels = drawn(runs).map((figure) => panel(runs, figure));
    panels.forEach(({ spec }) => { spec.whole = whole; });
    grid.replaceChildren(...panels.map(({ made }) => made));
    open = panels.map(({ box, spec, read }) => runReport.chart(box, spec, read));
  };

  const tools = (runs, again) => {
    const changed = (name, value) => {
      settings[name] = value;
      if (name === "kind") runReport.zoom.set(null);
      again();
    };
    const kinds = runReport.axis.known(runs);
    const axis = element("select", { onchange: (event) => changed("kind", event.target.value) },
      ...kinds.map((kind) => element("option", { value: kind, text: runReport.axis.kinds[kind].label })));
    const stops = [0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1];
    const told = element("output", { text: "1 %" });
    const smoothing = element("input", { type: "range", min: 0, max: stops.length - 1, step: 1, oninput: (event) => {
      const share = stops[Number(event.target.value)];
      told.textContent = share ? `${Number((100 * share).toPrecision(2))} %` : "off";
      event.target.setAttribute("aria-valuetext", share ? `${told.textContent} of the run` : "off");
      changed("smoothing", share);
    } });
    smoothing.value = stops.indexOf(settings.smoothing);
    smoothing.setAttribute("aria-valuetext", "1 % of the run");
    const check = (name, label) => element("label", { class: "check" },
      element("input", { type: "checkbox", onchange: (event) => changed(name, event.target.checked) }), label);
    const reset = element("button", { type: "button", onclick: () => runReport.zoom.set(null) }, "Show all");
    const zoomed = () => { reset.disabled = !runReport.zoom.get(); };
    document.addEventListener("run-zoom", zoomed);
    zoomed();
    return element("form", { class: "tools", "aria-label": "All curves", onsubmit: (event) => event.preventDefault() },
      kinds.length > 1 ? element("label", {}, "Over ", axis) : null,
      element("label", {}, "Smoothing ", smoothing, " ", told), check("log", "log scale"), check("all", "outliers too"), reset,
      element("span", { class: "hint muted" }, "Drag across a chart to zoom in, double-click to see all."));
  };

  // Which run has which colour; a box takes it out of the charts.
  const keys = (runs, again) => element("ul", { class: "run-keys", "aria-label": "Runs" }, ...runs.map((run, index) => {
    const key = element("span", { class: "key line" });
    key.style.color = runReport.colour.run(index);
    const box = element("input", { type: "checkbox", checked: !settings.hidden.has(run.name), onchange: (event) => {
      settings.hidden[event.target.checked ? "delete" : "add"](run.name);
      again();
    } });
    return element("li", {}, element("label", { class: "check" }, box, key, element("bdi", { text: run.name })));
  }));

  runReport.curves = (runs) => {
    const grid = element("div", { class: "figures" });
    const list = element("div");
    const again = () => {
      if (runs.length > 1) list.replaceChildren(keys(runs, shown));
      draw(runs, grid);
    };
    const shown = () => {
      draw(runs, grid);
      document.dispatchEvent(new CustomEvent("run-shown"));
    };
    return { made: [tools(runs, () => draw(runs, grid)), list, grid], draw: again };
  };
  runReport.hidden = settings.hidden;
  runReport.showStep = (run, step) => {
    const near = Math.max(20, Math.round((run.last.step ?? step) / 50));
    const at = [Math.max(0, step - near), step + near].map((each) => runReport.axis.place(run, settings.kind, each));
    runReport.zoom.set(at);
    document.getElementById("curves").scrollIntoView({ block: "start" });
  };
}
