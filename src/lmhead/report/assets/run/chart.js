// One chart by uPlot: lines, bands from minimum to maximum, points, and marks where something happened.
// spec: {height, log, all, tick, kind (of the axis), whole (its range), zooms, marks,
//        series: [{label, colour, dash, xs, ys, low, high, role}]}
// role: "raw" faint, "smooth" strong, "points" joined dots, "whole" dots alone. marks: [{x, until, colour}]
"use strict";
{
  const charts = new Set();
  let zoom = null; // [least, greatest] of the axis, of all charts

  const setZoom = (range) => {
    zoom = range;
    for (const chart of charts) if (chart.zooms) chart.redraw();
    document.dispatchEvent(new CustomEvent("run-zoom"));
  };

  const known = (value) => value !== null && value !== undefined;

  // The tables of all series on one axis; a line goes on where a step has no value.
  const joined = (series) => {
    const tables = series.map((each) => {
      const kept = each.xs.map((_, i) => i).filter((i) => known(each.xs[i]) && known(each.ys[i]));
      return ["xs", "ys", "low", "high"].filter((name) => each[name]).map((name) => kept.map((i) => each[name][i]));
    });
    return tables.length ? uPlot.join(tables) : [[]];
  };

  const styled = (each, alone) => {
    const { colour } = runReport;
    const faint = each.role === "raw";
    const dots = each.role === "points" || each.role === "whole";
    return {
      label: each.label,
      stroke: faint ? colour.faint(each.colour, 0.4) : each.colour,
      width: faint ? 1 : each.role === "whole" ? 0 : 2,
      dash: each.dash?.length ? each.dash : undefined,
      paths: each.role === "whole" ? () => null : undefined,
      points: dots || alone
        ? { show: true, size: each.role === "whole" ? 9 : 6, fill: each.role === "whole" ? colour.of("paper") : each.colour,
            stroke: each.colour, width: 2 }
        : { show: false },
      spanGaps: false,
    };
  };

  // What the plot has: uPlot's series and bands, in the order of the joined tables.
  const layers = (series) => {
    const made = { series: [{}], bands: [], of: [] };
    for (const each of series) {
      const count = each.ys.filter(known).length;
      made.of.push({ ...each, at: made.series.length });
      made.series.push(styled(each, count === 1));
      if (!each.low) continue;
      const edge = { stroke: "transparent", width: 0, points: { show: false } };
      made.series.push(edge, { ...edge });
      const [low, high] = [made.series.length - 2, made.series.length - 1];
      made.bands.push({ series: [high, low], fill: runReport.colour.faint(each.colour, 0.2) });
    }
    return made;
  };

  // The range that shows all, but single outliers where they would press the rest flat.
  const range = (plot, layered, log, all, [low, high]) => {
    const xs = plot.data[0];
    const values = [];
    let [least, greatest] = [Infinity, -Infinity];
    for (let index = 1; index < plot.data.length; index++) {
      const column = plot.data[index];
      const strong = layered.of.some((each) => each.at === index && each.role !== "raw");
      for (let i = 0; i < xs.length; i++) {
        const value = column[i];
        if (!known(value) || xs[i] < low || xs[i] > high || (log && value <= 0)) continue;
        values.push(value);
        if (!strong) continue;
        least = Math.min(least, value);
        greatest = Math.max(greatest, value);
      }
    }
    if (!values.length) return log ? [0.1, 10] : [0, 1];
    values.sort((a, b) => a - b);
    let [bottom, top] = [values[0], values[values.length - 1]];
    if (!all) {
      const at = (share) => values[Math.round(share * (values.length - 1))];
      const height = at(0.98) - at(0.02);
      if (height > 0 && top - at(0.98) > 2 * height) top = Math.max(at(0.98), Math.min(greatest, at(0.98) + 2 * height));
      if (height > 0 && at(0.02) - bottom > 2 * height) bottom = Math.min(at(0.02), Math.max(least, at(0.02) - 2 * height));
    }
    if (log) return [bottom / 1.15, top * 1.15];
    const margin = (top - bottom || Math.abs(top) || 1) * 0.06;
    return [bottom >= 0 && bottom - margin < 0 ? 0 : bottom - margin, top + margin];
  };

  // Marks behind the curves; triangles at the edge for what lies beyond it.
  const drawMarks = (plot, marks) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const mark of marks) {
      const [from, to] = [plot.valToPos(mark.x, "x", true), plot.valToPos(mark.until ?? mark.x, "x", true)];
      ctx.fillStyle = runReport.colour.faint(mark.colour, 0.16);
      ctx.fillRect(from, bbox.top, Math.max(to - from, 0), bbox.height);
      ctx.fillStyle = mark.colour;
      ctx.fillRect(from - devicePixelRatio / 2, bbox.top, 1.5 * devicePixelRatio, bbox.height);
    }
    ctx.restore();
  };

  const drawBeyond = (plot, layered) => {
    const { ctx, bbox } = plot;
    const { max } = plot.scales.y;
    const xs = plot.data[0];
    const size = 5 * devicePixelRatio;
    ctx.save();
    for (const each of layered.of) {
      let last = -Infinity;
      const column = plot.data[each.high ? each.at + 2 : each.at];
      ctx.fillStyle = each.colour;
      for (let i = 0; i < xs.length; i++) {
        if (!(column[i] > max) || xs[i] < plot.scales.x.min || xs[i] > plot.scales.x.max) continue;
        const at = plot.valToPos(xs[i], "x", true);
        if (at - last < size) continue;
        last = at;
        ctx.beginPath();
        ctx.moveTo(at, bbox.top);
        ctx.lineTo(at - size, bbox.top + 1.6 * size);
        ctx.lineTo(at + size, bbox.top + 1.6 * size);
        ctx.fill();
      }
    }
    ctx.restore();
  };

  const axes = (spec) => {
    const { colour } = runReport;
    const shared = {
      stroke: colour.of("muted"),
      grid: { stroke: colour.faint(colour.of("line"), 0.7), width: 1 },
      ticks: { stroke: colour.of("line"), width: 1, size: 5 },
      font: `12px ${colour.of("sans")}`,
    };
    const kind = runReport.axis.kinds[spec.kind];
    return [
      { ...shared, values: (_, splits) => splits.map((value) => (value === null ? "" : kind.format(value))), space: 80, size: 30 },
      { ...shared, values: (_, splits) => splits.map((value) => (value === null ? "" : (spec.tick ?? runReport.short)(value))),
        size: 58 },
    ];
  };

  // {redraw, remove, plot}; `read(values, x)` is told what lies under the cursor, one value a series, x null for none.
  runReport.chart = (box, spec, read) => {
    const layered = layers(spec.series);
    const data = joined(spec.series);
    const xs = data[0];
    const whole = spec.whole ?? [xs[0] ?? 0, xs[xs.length - 1] ?? 1];
    const seen = () => (spec.zooms !== false && zoom ? zoom : whole[0] === whole[1] ? [whole[0] - 1, whole[1] + 1] : whole);
    const plot = new uPlot(
      {
        width: Math.max(box.clientWidth, 200),
        height: spec.height,
        legend: { show: false },
        padding: [10, 12, 0, 0],
        scales: {
          x: { time: false, range: () => seen() },
          y: { distr: spec.log ? 3 : 1, range: (self) => range(self, layered, spec.log, spec.all, seen()) },
        },
        cursor: {
          drag: { x: spec.zooms !== false, y: false, dist: 4, setScale: false },
          points: { size: 7 },
          sync: spec.zooms === false ? undefined : { key: "run", filters: { pub: (type) => /^mouse(move|leave)$/.test(type) } },
          bind: { dblclick: () => () => (spec.zooms === false ? null : setZoom(null)) },
        },
        axes: axes(spec),
        series: layered.series,
        bands: layered.bands,
        hooks: {
          drawClear: [(self) => drawMarks(self, spec.marks ?? [])],
          draw: [(self) => drawBeyond(self, layered)],
          setSelect: [
            (self) => {
              if (self.select.width < 4) return;
              const ends = [self.select.left, self.select.left + self.select.width].map((at) => self.posToVal(at, "x"));
              self.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
              setZoom(ends);
            },
          ],
          setCursor: [(self) => read(...under(self, layered))],
        },
      },
      data,
      box,
    );
    const chart = {
      plot,
      zooms: spec.zooms !== false,
      redraw: () => plot.setScale("x", { min: seen()[0], max: seen()[1] }),
      remove: () => (charts.delete(chart), watcher.disconnect(), plot.destroy()),
    };
    const watcher = new ResizeObserver(() => {
      const width = Math.max(box.clientWidth, 200);
      if (width !== plot.width) plot.setSize({ width, height: spec.height });
    });
    watcher.observe(box);
    keyboard(box, plot, chart, whole);
    charts.add(chart);
    return chart;
  };

  // The values under the cursor: of each series the nearest that there is.
  const under = (plot, layered) => {
    const index = plot.cursor.idx;
    if (!known(index) || plot.cursor.left < 0) return [null, null];
    const x = plot.data[0][index];
    const reach = (plot.scales.x.max - plot.scales.x.min) / 12;
    const values = layered.of.map((each) => {
      const column = plot.data[each.at];
      for (let away = 0; away < column.length; away++) {
        for (const at of [index - away, index + away]) {
          if (at < 0 || at >= column.length || Math.abs(plot.data[0][at] - x) > reach) continue;
          if (known(column[at])) {
            return { value: column[at], low: each.low && plot.data[each.at + 1][at], high: each.low && plot.data[each.at + 2][at] };
          }
        }
        if (Math.abs((plot.data[0][index + away] ?? Infinity) - x) > reach
          && Math.abs((plot.data[0][index - away] ?? -Infinity) - x) > reach) break;
      }
      return null;
    });
    return [values, x];
  };

  const keyboard = (box, plot, chart, whole) => {
    const narrow = (factor) => {
      const [low, high] = zoom ?? whole;
      const at = known(plot.cursor.idx) ? plot.data[0][plot.cursor.idx] : (low + high) / 2;
      const middle = Math.min(Math.max(at, low), high);
      const next = [middle - (middle - low) * factor, middle + (high - middle) * factor];
      return next[0] <= whole[0] && next[1] >= whole[1] ? null : [Math.max(next[0], whole[0]), Math.min(next[1], whole[1])];
    };
    const move = (by) => {
      const xs = plot.data[0];
      const shown = xs.map((_, i) => i).filter((i) => xs[i] >= plot.scales.x.min && xs[i] <= plot.scales.x.max);
      const stride = Math.max(1, Math.round(shown.length / 100)) * by;
      const now = shown.indexOf(plot.cursor.idx ?? shown[0]);
      const next = shown[Math.min(Math.max((now < 0 ? 0 : now) + stride, 0), shown.length - 1)];
      if (next !== undefined) plot.setCursor({ left: plot.valToPos(xs[next], "x"), top: plot.bbox.height / devicePixelRatio / 2 });
    };
    const keys = {
      ArrowLeft: () => move(-1), ArrowRight: () => move(1), PageUp: () => move(-10), PageDown: () => move(10),
      "+": () => chart.zooms && setZoom(narrow(0.5)), "=": () => chart.zooms && setZoom(narrow(0.5)),
      "-": () => chart.zooms && setZoom(narrow(2)), 0: () => chart.zooms && setZoom(null), Escape: () => chart.zooms && setZoom(null),
    };
    box.addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
  };

  // The charts that there are, as they stand in the page.
  runReport.open = () => [...charts].sort((a, b) => (a.plot.root.compareDocumentPosition(b.plot.root) & 4 ? -1 : 1));
  runReport.zoom = { set: setZoom, get: () => zoom };
}
