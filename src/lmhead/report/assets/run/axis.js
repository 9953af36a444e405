// What curves are drawn over: steps, scored tokens or time; and where a step lies on it.
"use strict";
{
  const kinds = {
    step: { label: "step", format: runReport.short, exact: (value) => `step ${runReport.count(value)}` },
    tokens: { label: "scored tokens", format: runReport.short, exact: (value) => `${runReport.short(value)} tokens` },
    seconds: { label: "time", format: runReport.duration, exact: runReport.duration },
  };

  // A step's place: between the two logged ones beside it.
  const place = (run, kind, step) => {
    const steps = run.curves.axes.step ?? [];
    if (kind === "step" || !steps.length) return step;
    const at = run.curves.axes[kind];
    let [low, high] = [0, steps.length - 1];
    if (step <= steps[0]) return at[0] === null ? null : (at[0] * step) / (steps[0] || 1);
    if (step >= steps[high]) return at[high];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] <= step) low = middle;
      else high = middle;
    }
    if (at[low] === null || at[high] === null) return at[low];
    return at[low] + ((step - steps[low]) / (steps[high] - steps[low])) * (at[high] - at[low]);
  };

  runReport.axis = {
    kinds,
    // Those that every run knows.
    known: (runs) => Object.keys(kinds).filter((kind) => runs.every((run) => !run.lines || run.curves.axes[kind])),
    place,
    of: (run, kind) => run.curves.axes[kind] ?? [],
  };
}
