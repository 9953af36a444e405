// Puts the sections of a run's report in their places, those that have something to show; draws anew in the other mode.
"use strict";
{
  const { element, data } = runReport;
  const runs = data.runs.map((run, index) => ({ ...run, index }));
  const drawn = [];

  const fill = (id, made) => {
    const section = document.getElementById(id);
    const link = document.querySelector(`nav a[href="#${id}"]`);
    if (!made) {
      section.hidden = true;
      link.parentElement.hidden = true;
      return;
    }
    const parts = Array.isArray(made) ? made : made.made;
    section.append(...parts.filter(Boolean));
    if (made.draw) drawn.push(made.draw);
  };

  const state = document.getElementById("state");
  if (runs.length === 1) {
    const { word, mood } = runReport.state(runs[0]);
    if (word) state.replaceChildren(element("span", { class: `badge ${mood}`, text: word }));
  }
  document.getElementById("headline").append(...runReport.headline(runs));
  const logged = runs.some((run) => run.lines || run.evaluations.length);
  fill("curves", logged ? runReport.curves(runs) : null);
  fill("classes", runReport.classes(runs));
  fill("samples", runReport.samples(runs));
  fill("worst", runReport.worst(runs));
  fill("config", runReport.settings(runs, "config"));
  fill("data", runReport.settings(runs, "data_card", ["data", "tokenizer"]));
  fill("environment", runReport.settings(runs, "environment", ["started", "made_by", "model"]));

  const tokens = document.getElementById("tokens-title");
  if (tokens) {
    tokens.textContent = "Worst held-out rows, token by token";
    document.getElementById("tokens-headline").textContent =
      "Nothing is learnt from these rows. What is called trained below is what an evaluation scores in them: what training would learn.";
  }

  const draw = () => {
    document.querySelectorAll("[data-run]").forEach((key) => { key.style.color = runReport.colour.run(Number(key.dataset.run)); });
    drawn.forEach((each) => each());
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
