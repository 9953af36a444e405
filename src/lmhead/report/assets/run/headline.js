// The headline: how a run stands in one sentence and some figures; of several runs a table; what went wrong, first.
"use strict";
{
  const { element, count, number, short, percent, duration } = runReport;

  // With a loss that is no number, or that has not come back.
  const ended = (run) => run.events.some((event) => (event.kind === "not finite" ? event.until >= run.last.step : event.until === null))
    || run.findings.some((finding) => finding.code === "not_finite");
  const step = (run) => run.last.step ?? run.evaluations[run.evaluations.length - 1]?.step ?? 0;

  const state = (run) => {
    if (ended(run)) return { word: "diverged", mood: "error" };
    if (run.whole && (!run.steps || step(run) >= run.steps)) return { word: "finished", mood: "good" };
    if (run.steps && step(run) < run.steps) return { word: `${percent(step(run) / run.steps)} done`, mood: "info" };
    return { word: run.lines || run.evaluations.length ? "" : "nothing logged yet", mood: "info" };
  };

  const last = (run, figure) => [...run.evaluations].reverse().find((line) => line.figures[figure] !== undefined);

  // The mean of the last twentieth of the steps.
  const loss = (run) => {
    const values = (run.curves.curves.loss?.mean ?? []).filter((value) => value !== null);
    const tail = values.slice(-Math.max(1, Math.round(values.length / 20)));
    return tail.length ? tail.reduce((sum, value) => sum + value, 0) / tail.length : null;
  };

  const speed = (run) => {
    const values = (run.curves.curves.tokens_per_second?.mean ?? []).filter((value) => value !== null).sort((a, b) => a - b);
    return values.length ? values[values.length >> 1] : null;
  };

  // [label, value, what it is of], those that are known.
  const tiles = (run) => {
    const made = [];
    for (const [figure, label, told] of [["bits_per_byte", "bits per byte", number], ["nll", "nats per token", number],
      ["perplexity", "perplexity", number], ["accuracy", "accuracy", percent]]) {
      if (!last(run, figure)) continue;
      const line = figure === "perplexity" ? last(run, "nll") ?? last(run, figure) : last(run, figure); // it may be infinite
      const of = line.name === "full" ? "held out, all of it" : line.name === "quick" ? "held out, a part" : `held out, ${line.name}`;
      made.push([label, told(line.figures[figure] ?? Math.exp(line.figures.nll)), line.step === step(run) ? of : `${of}, step ${count(line.step)}`]);
    }
    const answers = last(run, "answers");
    if (answers?.figures.answers) {
      made.push(["answers exact", `${count(answers.figures.exact)} of ${count(answers.figures.answers)}`, "held out"]);
    }
    const drafts = last(run, "decoded_length") ?? last(run, "accepted_length");
    if (drafts) {
      const own = drafts.figures.decoded_length;
      made.push(["tokens a forward", number(own ?? drafts.figures.accepted_length), own === undefined ? "with drafts, held-out text" : "greedy, with drafts"]);
    }
    if (loss(run) !== null) made.push(["training loss", number(loss(run)), "mean of the last 5 % of the steps"]);
    const parameters = run.header.model?.parameters;
    if (Number.isFinite(parameters)) made.push(["parameters", short(parameters), ""]);
    if (run.lines) made.push(["steps", count(step(run)), run.steps ? `of ${count(run.steps)}` : ""]);
    if (typeof run.last.tokens === "number") made.push(["scored tokens", short(run.last.tokens), ""]);
    if (typeof run.last.seconds === "number") made.push(["time", duration(run.last.seconds), ""]);
    if (speed(run) !== null) made.push(["scored tokens a second", short(speed(run)), "median"]);
    return made;
  };

  // In rows of equal length, or nearly.
  const cards = (run) => {
    const told = tiles(run);
    const made = element("dl", { class: "tiles" }, ...told.map(([label, value, of]) =>
      element("div", {}, element("dt", { text: label }), element("dd", {}, element("b", { text: value }),
        of ? element("small", { text: of }) : null))));
    made.style.setProperty("--columns", Math.ceil(told.length / Math.max(1, Math.ceil(told.length / 8))) || 1);
    return made;
  };

  // Runs below one another, the best of each column marked.
  const comparison = (runs) => {
    const columns = [
      ["state", (run) => state(run).word || undefined], ["steps", (run) => step(run), count], ["scored tokens", (run) => run.last.tokens, short],
      ["time", (run) => run.last.seconds, duration], ["tokens a second", speed, short, 1],
      ["bits per byte", (run) => last(run, "bits_per_byte")?.figures.bits_per_byte, number, -1],
      ["nats per token", (run) => last(run, "nll")?.figures.nll, number, -1],
      ["accuracy", (run) => last(run, "accuracy")?.figures.accuracy, percent, 1],
      ["tokens a forward", (run) => last(run, "accepted_length")?.figures.accepted_length, number, 1], ["training loss", loss, number, -1],
    ].filter(([, of]) => runs.some((run) => of(run) !== undefined && of(run) !== null));
    const best = columns.map(([, of, , sign]) => sign && Math.max(...runs.map(of).filter(Number.isFinite).map((value) => sign * value)));
    const head = element("tr", {}, element("th", { scope: "col", text: "run" }), ...columns.map(([label, of]) =>
      element("th", { scope: "col", class: typeof of(runs[0]) === "number" ? "number" : null, text: label })));
    const body = runs.map((run, index) => {
      const key = element("span", { class: "key line" });
      key.dataset.run = index;
      const cells = columns.map(([, of, told, sign], at) => {
        const value = of(run);
        if (typeof value === "string") return element("td", { class: state(run).mood === "error" ? "bad" : null, text: value });
        const top = sign && sign * value === best[at] && runs.length > 1;
        return element("td", { class: top ? "number best" : "number", text: typeof value === "number" ? told(value) : "–" },
          top ? element("span", { class: "for-readers", text: " (best)" }) : null);
      });
      return element("tr", {}, element("th", { scope: "row" }, key, element("bdi", { text: run.name })), ...cells);
    });
    return element("div", { class: "scrolled", tabindex: 0, role: "region", "aria-label": "Runs compared" },
      element("table", { class: "comparison" }, element("thead", {}, head), element("tbody", {}, ...body)));
  };

  const at = (run, wanted) => element("button", { type: "button", class: "inline", onclick: () => runReport.showStep(run, wanted) },
    `Show step ${count(wanted)}`);

  // [mood, what, more, step]
  const troubles = (run) => {
    const made = [];
    for (const finding of run.findings) {
      const mood = finding.severity === "error" || finding.severity === "warning" ? finding.severity : "info";
      const what = finding.message ?? finding.code ?? "a finding";
      made.push([mood, finding.code === "not_finite" ? `Training stopped at ${what}` : what, finding.remedy ?? "", finding.step]);
    }
    for (const event of [...run.events].reverse()) {
      const from = event.before === null ? "" : ` It came from ${number(event.before)} nats.`;
      const until = event.until === event.step ? ` at step ${count(event.step)}` : ` from step ${count(event.step)} to ${count(event.until ?? step(run))}`;
      if (event.kind === "not finite") {
        const of = event.count > 1 ? `in ${count(event.count)} steps ${until.trim()}` : until.trim();
        made.push(["error", `The ${event.figure} is not a finite number ${of}.`,
          `${from.trim()} ${event.until >= run.last.step ? "It has not become one again: what was trained after that step is lost." : ""}`, event.step]);
      } else if (event.kind === "jump" && event.until === null) {
        made.unshift(["error", `The loss jumped at step ${count(event.step)} and has not come back.`,
          `From ${number(event.before)} to ${number(event.worst)} nats at the worst. The steps before it, their rate and their data are where to look.`, event.step]);
      } else if (event.kind === "jump") {
        made.push(["warning", `The loss was out${until}, up to ${number(event.worst)} nats, and came back.`, from, event.step]);
      } else if (event.kind === "climb" && event.until === null) {
        made.unshift(["error", `The loss has climbed since step ${count(event.step)}: from ${number(event.before)} to ${number(event.worst)} nats at the worst.`,
          "These are medians of some steps: no single batch is to blame. A rate that is too high does this, or data of another kind from there on.", event.step]);
      } else if (event.kind === "climb") {
        made.push(["warning", `The loss climbed from step ${count(event.step)} on, from ${number(event.before)} to ${number(event.worst)} nats, and was back near that only at step ${count(event.until)}.`,
          "", event.step]);
      }
    }
    const spikes = run.events.filter((event) => event.kind === "spike");
    if (spikes.length) made.push(["warning", `The loss has ${count(spikes.length)} spike${spikes.length > 1 ? "s" : ""}.`, "", null, spikes]);
    for (const note of runReport.data.notes[run.index] ?? []) made.push(["info", note, "", null]);
    return made;
  };

  const spikeList = (run, spikes) => element("ul", { class: "spikes" }, ...spikes.map((event) => element("li", {},
    element("button", { type: "button", class: "inline", onclick: () => runReport.showStep(run, event.step) }, `step ${count(event.step)}`),
    ` ${number(event.before)} → ${number(event.worst)}${event.count > 1 ? ` (${count(event.count)} steps)` : ""}`)));

  const banner = (run, several) => ([mood, what, more, step, spikes]) => element("div", { class: `banner ${mood}` },
    element("p", { class: "what" }, several ? element("bdi", { text: `${run.name}: ` }) : null, element("span", { text: what })),
    more.trim() ? element("p", { class: "more", text: more.trim() }) : null,
    spikes ? spikeList(run, spikes) : null,
    Number.isInteger(step) && run.lines ? at(run, step) : null);

  runReport.headline = (runs) => {
    const order = ["error", "warning", "info"];
    const several = runs.length > 1;
    const banners = runs.flatMap((run) => troubles(run).map((trouble) => [trouble[0], banner(run, several)(trouble)]))
      .sort((a, b) => order.indexOf(a[0]) - order.indexOf(b[0]));
    const told = several ? comparison(runs) : cards(runs[0]);
    return [...banners.map(([, made]) => made), told];
  };
  runReport.state = state;
}
