// Colours of runs and of classes, from the style sheet, for either mode. Runs differ in their dashes too.
"use strict";
{
  const value = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dashes = [[], [7, 4], [2, 3], [9, 3, 2, 3], [14, 4], [4, 4]];

  runReport.colour = {
    of: (name) => value(`--${name}`),
    run: (index) => value(`--hue-${index % 8}`),
    dash: (index) => dashes[Math.floor(index / 8) % dashes.length],
    dashOf: (index) => dashes[index % dashes.length],
    kind: (index, count, ordered) => (ordered ? shade(count < 2 ? 0.3 : index / (count - 1)) : value(`--hue-${index % 8}`)),
    faint: (colour, share) => `${colour}${Math.round(255 * share).toString(16).padStart(2, "0")}`,
  };

  // Along the style sheet's scale, which is read from dark to light or the other way round, as the mode has it.
  const shade = (share) => {
    const stops = [0, 1, 2, 3, 4].map((index) => value(`--scale-${index}`));
    const at = share * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    return mixed(stops[low], stops[low + 1], at - low);
  };

  const mixed = (first, second, share) => {
    const parts = (hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
    const [a, b] = [parts(first), parts(second)];
    return `#${a.map((each, i) => Math.round(each + share * (b[i] - each)).toString(16).padStart(2, "0")).join("")}`;
  };
}
