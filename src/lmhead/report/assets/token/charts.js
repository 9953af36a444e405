"use strict";
// Small charts, drawn as SVG: columns, a calibration curve. Each says in words what it shows.
(() => {
  const T = (window.lmheadTokens ??= {});
  const WIDTH = 340;

  const text = (x, y, told, anchor = "middle") => T.svg("text", { x, y, "text-anchor": anchor }, told);
  const chart = (height, label, ...children) =>
    T.svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label }, ...children);
  const titled = (shape, told) => {
    shape.append(T.svg("title", {}, told));
    return shape;
  };

  // Columns side by side: values, a label below each (empty ones are left out), what a column says when pointed at.
  T.columns = (label, values, names, told, { className = () => "ink", over = () => "" } = {}) => {
    const [left, top, height] = [4, 14, 84];
    const wide = (WIDTH - 2 * left) / values.length;
    const most = Math.max(...values.filter(Number.isFinite), 1e-12);
    const made = chart(
      top + height + 18,
      label,
      T.svg("line", { x1: left, x2: WIDTH - left, y1: top + height, y2: top + height, class: "rule" }),
    );
    values.forEach((value, index) => {
      const x = left + index * wide;
      const tall = Number.isFinite(value) ? (height * value) / most : 0;
      const bar = T.svg("rect", {
        x: x + 1,
        y: top + height - tall,
        width: Math.max(1, wide - 2),
        height: tall,
        rx: 1.5,
        class: className(index),
      });
      made.append(titled(bar, told(index)));
      if (over(index))
        made.append(
          text(
            index || wide > 30 ? x + wide / 2 : x,
            top + height - tall - 4,
            over(index),
            index || wide > 30 ? "middle" : "start",
          ),
        );
      if (names[index]) made.append(text(x + wide / 2, top + height + 13, names[index]));
    });
    return made;
  };

  // Probability that was claimed against how often it came true; on the diagonal both are one.
  T.calibrationCurve = (bins) => {
    const side = 150;
    const left = 34;
    const known = bins.filter((bin) => bin.count > 0);
    const x = (p) => left + p * side;
    const y = (p) => 8 + (1 - p) * side;
    const most = Math.max(...known.map((bin) => bin.count));
    const points = known.map((bin) => [x(bin.p / bin.count), y(bin.right / bin.count), bin]);
    const made = chart(
      side + 38,
      "Calibration: how often tokens of each predicted probability were right",
      T.svg("rect", { x: left, y: 8, width: side, height: side, fill: "none", class: "rule" }),
      T.svg("line", { x1: x(0), y1: y(0), x2: x(1), y2: y(1), class: "ideal" }),
      T.svg("polyline", { points: points.map(([px, py]) => `${px},${py}`).join(" "), class: "curve" }),
      text(left - 5, y(0) + 4, "0", "end"),
      text(left - 5, y(1) + 4, "1", "end"),
      text(x(0), y(0) + 14, "0"),
      text(x(1), y(0) + 14, "1"),
      text(x(0.5), y(0) + 27, "probability claimed"),
      text(x(1) + 12, y(1) + 10, "above the line: too modest", "start"),
      text(x(1) + 12, y(0) - 4, "below it: too sure", "start"),
    );
    for (const [px, py, bin] of points)
      made.append(
        titled(
          T.svg("circle", { cx: px, cy: py, r: 2.5 + 3.5 * Math.sqrt(bin.count / most), class: "ink" }),
          `claimed ${T.percent(bin.p / bin.count)}, right ${T.percent(bin.right / bin.count)}, ${T.count(bin.count)} alternatives`,
        ),
      );
    return made;
  };

  // A table: heads, and rows of cells that are text or elements; numbers to the right.
  T.table = (heads, rows, caption) => {
    const made = T.element("table");
    if (caption) made.append(T.element("caption", "caption", caption));
    const head = T.element("tr");
    heads.forEach((name, index) => head.append(T.element("th", index ? "number" : "", name)));
    const top = T.element("thead");
    top.append(head);
    const body = T.element("tbody");
    for (const cells of rows) {
      const line = T.element("tr");
      cells.forEach((cell, index) => {
        const made = T.element("td", index ? "number" : "");
        made.append(cell);
        line.append(made);
      });
      body.append(line);
    }
    made.append(top, body);
    return made;
  };
})();
