// Loss by class of token over training: a chart and a table for each way to tell tokens apart.
"use strict";
{
  const { element, number, percent, count } = runReport;
  const words = new Map(Object.entries({
    position: ["By position in the document", "How much the text before helps: tokens at a document's beginning have little of it.", true],
    frequency: ["By frequency in the training data", "How often the target occurs in what is trained on.", true],
    source: ["By source", "Where the held-out documents come from.", false],
    part: ["By part of the conversation", "A response is what is learnt. A prompt is read and not learnt: here for comparison, of some conversations.", false],
    depth: ["By tokens ahead", "Of multi-token prediction: 1 is the next token, which the main head predicts. Acceptance is the share of its drafts that the main head would choose, where it would choose all before.", true],
  }));

  const kindsOf = (runs) => [...new Set(runs.flatMap((run) => run.evaluations.flatMap((line) => Object.keys(line.classes ?? {}))))];
  const judged = (run, kind) => run.evaluations.filter((line) => line.classes?.[kind]);

  // The classes of all runs, in the order of the evaluation that has most of them: a part may lack the rare ones.
  const namesOf = (runs, kind) => {
    const told = runs.flatMap((run) => judged(run, kind).map((line) => Object.keys(line.classes[kind])));
    return [...new Set(told.sort((a, b) => b.length - a.length).flat())];
  };

  const seriesOf = (runs, kind, names) => runs.flatMap((run) => {
    const along = judged(run, kind).filter((line) => line.name !== "full");
    const lines = along.length ? along : judged(run, kind);
    const whole = along.length ? judged(run, kind).filter((line) => line.name === "full") : [];
    return names.flatMap((name, at) => {
      const colour = runReport.colour.kind(at, names.length, words.get(kind)?.[2]);
      const series = (chosen, role) => ({
        label: name, run, role, colour, dash: runs.length > 1 ? runReport.colour.dashOf(run.index) : [],
        xs: chosen.map((line) => line.step), ys: chosen.map((line) => line.classes[kind][name]?.[0] ?? null),
      });
      return [series(lines, lines.length > 60 ? "smooth" : "points"), ...(whole.length ? [series(whole, "whole")] : [])];
    });
  });

  // Of a depth of the last evaluation, whose class counts the next token as 1: a figure, in percent.
  const ofDepth = (line, name, figure) => {
    const value = name === "1" ? (figure === "accuracy" ? line?.figures.accuracy : undefined) : line?.depths?.[name - 2]?.[figure];
    return value === undefined ? "–" : percent(value);
  };

  // Class, its share of the tokens, its loss at the beginning and now; of a depth how often it is right, and accepted.
  const table = (runs, kind, names) => {
    const several = runs.length > 1;
    const head = several
      ? ["class", ...runs.map((run) => run.name)]
      : ["class", ...(kind === "depth" ? ["accuracy", "acceptance"] : [kind === "part" ? "tokens" : "share of tokens"]), "first", "last", "change"];
    const rows = names.map((name, at) => {
      const key = element("span", { class: "key line" });
      key.style.color = runReport.colour.kind(at, names.length, words.get(kind)?.[2]);
      const of = (line) => line?.classes[kind][name];
      const cells = runs.flatMap((run) => {
        const lines = judged(run, kind);
        const [first, last] = [of(lines[0]), of(lines[lines.length - 1])];
        if (several) return [last ? number(last[0]) : "–"];
        const all = Object.values(lines[lines.length - 1]?.classes[kind] ?? {}).reduce((sum, [, tokens]) => sum + tokens, 0);
        const share = kind === "part" && last ? count(last[1]) : last && all ? (last[1] / all < 5e-4 ? `${count(last[1])} of ${count(all)}` : percent(last[1] / all)) : "–";
        const told = kind === "depth" ? ["accuracy", "acceptance"].map((figure) => ofDepth(lines[lines.length - 1], name, figure)) : [share];
        return [...told, first ? number(first[0]) : "–", last ? number(last[0]) : "–",
          first && last && lines.length > 1 ? `${last[0] > first[0] ? "+" : "−"}${number(Math.abs(last[0] - first[0]), 3)}` : "–"];
      });
      return element("tr", {}, element("th", { scope: "row" }, key, element("bdi", { text: name })),
        ...cells.map((cell) => element("td", { class: "number", text: cell })));
    });
    return element("div", { class: "scrolled", tabindex: 0, role: "region", "aria-label": `${words.get(kind)?.[0] ?? kind}: figures` },
      element("table", {}, element("thead", {}, element("tr", {}, ...head.map((text, at) =>
        element("th", { scope: "col", class: at ? "number" : null }, element("bdi", { text }))))), element("tbody", {}, ...rows)));
  };

  // A chart of lines with their values under the cursor, and a table of them.
  const figure = (runs, { title, note, series, table }) => {
    const box = element("div", { class: "chart", tabindex: 0, role: "application",
      "aria-label": `Loss by step. ${title}. Arrow keys read the values.` });
    const reading = element("div", { class: "reading", "aria-live": "polite" });
    const read = (values, x) => {
      if (x === null) return reading.replaceChildren();
      const told = series.map((each, at) => [each, values[at]]).filter(([each, value]) => value && each.role !== "whole");
      reading.replaceChildren(element("span", { class: "at", text: `step ${count(x)}` }), ...told.map(([each, value]) => {
        const key = element("span", { class: "key line" });
        key.style.color = each.colour;
        return element("span", { class: "entry" }, key, element("bdi", { text: runs.length > 1 ? `${each.run.name}, ${each.label}` : each.label }),
          " ", element("b", { text: number(value.value) }));
      }));
    };
    const heading = element("h3", {}, element("span", { text: title }), " ", element("small", { text: "nats per token" }));
    const made = element("section", { class: "figure" }, heading, note ? element("p", { class: "muted", text: note }) : null, box, reading, table);
    return { made, box, read, spec: { kind: "step", height: 220, zooms: false, series } };
  };

  const seen = (runs) => runs.filter((run) => !runReport.hidden.has(run.name));

  const panel = (runs, kind) => {
    const [title, note] = words.get(kind) ?? [kind, ""];
    const names = namesOf(runs, kind);
    return figure(runs, { title, note, series: seriesOf(seen(runs), kind, names), table: table(runs, kind, names) });
  };

  // Of training: what each step's own loss is by source, exact over each stretch of steps that is drawn as one.
  const trained = (runs) => runs.filter((run) => run.sources);
  const trainedNames = (runs) => [...new Set([...namesOf(runs, "source"), ...trained(runs).flatMap((run) => Object.keys(run.sources.table))])];

  // Means smoothed over steps, each by its tokens: a step with few of them moves its source's line little.
  const weighed = (steps, means, tokens) => {
    const there = means.filter((value) => value !== null);
    const length = 0.02 * (steps[steps.length - 1] - steps[0]);
    if (there.length < 20) return there;
    const [nats, weights] = [means.map((value, at) => (value ?? 0) * tokens[at]), tokens].map((each) => runReport.smoothed(steps, each, length));
    return nats.map((value, at) => value / weights[at]).filter((_, at) => tokens[at]);
  };

  const trainedPanel = (runs) => {
    const names = trainedNames(runs);
    const colour = (name) => runReport.colour.kind(names.indexOf(name), names.length, false);
    const series = trained(seen(runs)).flatMap((run) => Object.entries(run.sources.curves).map(([name, [means, tokens]]) => ({
      label: name, run, role: "smooth", colour: colour(name), dash: runs.length > 1 ? runReport.colour.dashOf(run.index) : [],
      xs: run.sources.steps.filter((_, at) => tokens[at]), ys: weighed(run.sources.steps, means, tokens),
    })));
    const several = trained(runs).length > 1;
    const head = several ? ["source", ...trained(runs).map((run) => run.name)] : ["source", "share of tokens", "first tenth", "last tenth", "held out, last"];
    const rows = names.map((name) => {
      const key = element("span", { class: "key line" });
      key.style.color = colour(name);
      const told = (value) => (value === null || value === undefined ? "–" : number(value));
      const cells = trained(runs).flatMap((run) => {
        const [tokens, first, last] = run.sources.table[name] ?? [0, null, null];
        if (several) return [told(last)];
        const all = Object.values(run.sources.table).reduce((sum, [each]) => sum + each, 0);
        const judgedLast = judged(run, "source").slice(-1)[0]?.classes.source[name];
        return [tokens / all < 5e-4 ? count(tokens) : percent(tokens / all), told(first), told(last), told(judgedLast?.[0])];
      });
      return element("tr", {}, element("th", { scope: "row" }, key, element("bdi", { text: name })),
        ...cells.map((cell) => element("td", { class: "number", text: cell })));
    });
    const shown = element("div", { class: "scrolled", tabindex: 0, role: "region", "aria-label": "Training loss by source: figures" },
      element("table", {}, element("thead", {}, element("tr", {}, ...head.map((text, at) =>
        element("th", { scope: "col", class: at ? "number" : null }, element("bdi", { text }))))), element("tbody", {}, ...rows)));
    const note = `Of the tokens that each step learns, smoothed.${names.length > 12 ? " Drawn are the dozen with the most tokens." : ""}`;
    return figure(runs, { title: "Training loss by source", note, series, table: shown });
  };

  runReport.classes = (runs) => {
    const kinds = kindsOf(runs).filter((kind) => namesOf(runs, kind).length > 1); // one class is all tokens
    if (!kinds.length && !trained(runs).length) return null;
    const grid = element("div", { class: "figures" });
    const known = runs.length > 1 ? element("p", { class: "muted" }, "Lines of a run: ",
      runs.map((run) => `${run.name} ${["solid", "dashed", "dotted", "dash-dotted", "long dashes", "short dashes"][run.index % 6]}`).join(", "), ".") : null;
    let open = [];
    const draw = () => {
      open.forEach((chart) => chart.remove());
      const panels = [...(trained(runs).length ? [trainedPanel(runs)] : []), ...kinds.map((kind) => panel(runs, kind))];
      grid.replaceChildren(...panels.map(({ made }) => made));
      open = panels.map(({ box, spec, read }) => runReport.chart(box, spec, read));
    };
    document.addEventListener("run-shown", draw);
    return { made: [known, grid], draw };
  };
}
