// Samples: what the same prompts became along the run, side by side.
"use strict";
{
  const { element, count, number } = runReport;

  const common = (texts) => {
    let length = texts.length > 1 ? Math.min(...texts.map((text) => text.length)) : 0;
    while (length && !texts.every((text) => text.startsWith(texts[0].slice(0, length)))) length -= 1;
    return texts[0]?.slice(0, length) ?? "";
  };

  const card = (run, line, prompt) => {
    const near = run.evaluations.filter((each) => each.step === line.step && each.figures.nll !== undefined).pop();
    const begins = prompt && line.sample.startsWith(prompt);
    return element("article", { class: "sample", "aria-label": `Step ${count(line.step)}` },
      element("h4", {}, `step ${count(line.step)}`, near ? element("small", { text: ` held out ${number(near.figures.nll)} nats` }) : null),
      element("div", { class: "text", dir: "auto" }, begins ? element("span", { class: "given", text: prompt }) : null,
        element("span", { text: begins ? line.sample.slice(prompt.length) : line.sample })));
  };

  const strip = (run, lines, prompt, several) => {
    const known = prompt || common(lines.map((line) => line.sample));
    const name = several ? element("h4", {}, element("bdi", { text: run.name })) : null;
    return element("div", {}, name, element("div", { class: "strip", tabindex: 0, role: "region",
      "aria-label": `Samples of ${run.name}, from the first to the last` }, ...lines.map((line) => card(run, line, known))));
  };

  runReport.samples = (runs) => {
    if (!runs.some((run) => run.samples.length)) return null;
    const prompts = [...new Set(runs.flatMap((run) => run.samples.map((line) => line.prompt)))];
    const made = prompts.map((prompt) => {
      const strips = runs.map((run) => [run, run.samples.filter((line) => line.prompt === prompt)]).filter(([, lines]) => lines.length);
      const name = prompt.replaceAll(/\s+/g, " ").trim();
      const title = name ? element("h3", {}, "Prompt: ", element("bdi", { text: name.length > 120 ? `${name.slice(0, 120)}…` : name })) : null;
      return element("section", { class: "prompt-samples" }, title, ...strips.map(([run, lines]) => strip(run, lines, prompt, runs.length > 1)));
    });
    const dropped = runs.reduce((sum, run) => sum + run.dropped.samples, 0);
    return [element("p", { class: "muted", text: `The prompt is grey.${dropped ? ` ${count(dropped)} samples in between are left out here; the log has them.` : ""}` }), ...made];
  };
}
