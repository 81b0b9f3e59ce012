"use strict";
// Draws the charts one after the other, so that the page can be used meanwhile; those in a closed part once it is
// opened. Colours come from the style sheet, which has a dark and a light set.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const state = { scale: "linear", axis: "step", smoothing: 0.6 };
  const drawn = new Set();
  const narrow = window.matchMedia("(max-width: 46rem)");
  const coarse = window.matchMedia("(pointer: coarse)");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const several = data.runs.length > 1;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  // An exponential moving average, corrected for its start: otherwise the first values would pull it towards 0.
  function smooth(values, weight) {
    let mean = 0, known = 0;
    return values.map((value) => {
      if (value === null) return null;
      mean = mean * weight + value * (1 - weight);
      known = known * weight + 1 - weight;
      return mean / known;
    });
  }

  const axisOf = (chart) => (chart.group === "resource" ? "hour" : state.axis);
  const smoothed = (chart, curve) => chart.group !== "resource" && curve.kind === "train";

  // What other curves are compared with: a limit, or the speaker.
  const isLimit = (curve) => /(limit|the speaker)$/.test(curve.label);

  function dashOf(chart, curve, index) {
    if (isLimit(curve)) return "dashdot";
    if (!several) return "solid";
    if (chart.group === "resource") return index % 2 ? "dot" : "solid";
    return curve.kind === "eval" ? "dot" : "solid";
  }

  function colourOf(chart, curve, index) {
    if (isLimit(curve)) return colour("mark");
    if (chart.group === "resource" && !several) return colour(["run-0", "run-1", "average", "eval-1"][index % 4]);
    if (several) return colour(`run-${curve.run}`);
    return colour({ train: "run-0", eval: "eval", epoch: "average" }[curve.kind]);
  }

  // Each curve is one trace with all of its points; a training curve has a second, smoothed one above it.
  function traces(chart) {
    const result = [];
    chart.curves.forEach((curve, index) => {
      const x = data.axes[curve.axis][axisOf(chart)];
      const tint = colourOf(chart, curve, index);
      const soft = smoothed(chart, curve) && state.smoothing > 0;
      const isEval = curve.kind === "eval";
      result.push({
        type: "scatter", mode: isEval || curve.y.length < 40 ? "lines+markers" : "lines", name: curve.label, x, y: curve.y,
        legendgroup: curve.label, showlegend: !soft, opacity: soft ? 0.3 : 1, connectgaps: false,
        line: { color: tint, width: soft ? 1 : isEval && curve.y.length < 200 ? 2.2 : 1.6, dash: dashOf(chart, curve, index) },
        marker: { size: curve.y.length < 200 ? 5 : 3, color: tint }, hovertemplate: "%{y:.5g}",
      });
      if (soft) {
        result.push({
          type: "scatter", mode: "lines", name: curve.label, x, y: smooth(curve.y, state.smoothing),
          legendgroup: curve.label, line: { color: tint, width: 2 }, hoverinfo: "skip", meta: "smoothed",
        });
      }
    });
    return [...result, ...stars(chart)];
  }

  // The best model's star stands on the evaluation by which it was found to be the best.
  function stars(chart) {
    return chart.curves.filter((curve) => curve.kind === "eval").flatMap((curve) => {
      const axis = data.axes[curve.axis];
      const place = axis.step.indexOf(data.runs[curve.run].best);
      if (place < 0 || curve.y[place] === null) return [];
      const words = several ? `best of ${data.runs[curve.run].label}` : "best model";
      return [{
        type: "scatter", mode: "markers", name: words, x: [axis[state.axis][place]], y: [curve.y[place]], meta: "best",
        marker: { symbol: "star", size: 14, color: colour("best"), line: { width: 1, color: colour("card") } },
        hovertemplate: "%{y:.5g}",
      }];
    });
  }

  // A session's name is left out where it would overlap the one before; those of the second run are at the bottom.
  const NAME_WIDTH = several ? 75 : 60, PLOT_MARGINS = 62;
  function sessionStarts(chart) {
    const all = data.runs.flatMap((run, number) => run.starts.slice(1).map((start) => ({ ...start, number })));
    const [low, high] = spanOf(chart) ?? [0, 1];
    const pixels = (find(chart.id).clientWidth - PLOT_MARGINS) / (high - low);
    const named = data.runs.map(() => -Infinity);
    return all.map((start) => {
      const place = start[axisOf(chart)];
      const fits = (place - named[start.number]) * pixels >= NAME_WIDTH;
      if (fits) named[start.number] = place;
      return {
        type: "line", xref: "x", yref: "paper", y0: 0, y1: 1, x0: place, x1: place, layer: "above",
        line: { color: several ? colour(`run-${start.number}`) : colour("mark"), width: 1, dash: "dash" },
        label: !fits ? undefined : {
          text: `${several ? `${data.runs[start.number].label}, ` : ""}session ${start.session}`,
          textposition: start.number ? "start" : "end", textangle: 0, yanchor: "bottom", xanchor: "left", padding: 0,
          font: { size: 10, color: colour("soft") },
        },
      };
    });
  }

  // The same range for all charts of a kind, so that the same place means the same time in all of them.
  function spanOf(chart) {
    const kin = data.charts.filter((item) => (item.group === "resource") === (chart.group === "resource"));
    let low = Infinity, high = -Infinity;
    for (const curve of kin.flatMap((item) => item.curves)) {
      for (const place of data.axes[curve.axis][axisOf(chart)]) {
        if (place === null) continue;
        low = Math.min(low, place);
        high = Math.max(high, place);
      }
    }
    const rim = Math.max((high - low) * 0.02, 1e-3);
    return high >= low ? [low - rim, high + rim] : undefined;
  }

  function layout(chart) {
    const axis = { gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false, automargin: true };
    const log = state.scale === "log" && chart.group !== "resource";
    return {
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("ink") },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "x unified",
      hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink") } },
      dragmode: coarse.matches ? false : "zoom", margin: { l: 48, r: 14, t: 20, b: 40 },
      legend: { orientation: "h", x: 0, yref: "container", y: 0, yanchor: "bottom", font: { size: 11 }, bgcolor: "rgba(0,0,0,0)" },
      showlegend: true, uirevision: `${axisOf(chart)} ${state.scale}`, shapes: sessionStarts(chart),
      xaxis: {
        ...axis, range: spanOf(chart), title: { text: axisOf(chart) === "hour" ? "hours" : "step", standoff: 6 },
        tickformat: axisOf(chart) === "hour" ? "" : ",d", hoverformat: axisOf(chart) === "hour" ? ".2f" : ",d",
        nticks: narrow.matches ? 5 : 8, fixedrange: coarse.matches,
      },
      yaxis: {
        ...axis, type: log ? "log" : "linear", nticks: 6, fixedrange: coarse.matches, exponentformat: "power",
        rangemode: chart.group === "resource" ? "tozero" : "normal",
      },
    };
  }

  const config = {
    responsive: true, displaylogo: false, showTips: false, displayModeBar: false, doubleClick: "reset",
  };

  function draw(chart) {
    drawn.add(chart);
    return Plotly.react(find(chart.id), traces(chart), layout(chart), config);
  }

  function redraw(which) {
    for (const chart of [...drawn].filter(which)) draw(chart);
  }

  const closed = (chart) => find(chart.id).closest("details:not([open])") !== null;
  async function drawAll(charts) {
    for (const chart of charts.filter((item) => !drawn.has(item) && !closed(item))) {
      await draw(chart);
      await new Promise((resume) => setTimeout(resume));
    }
  }

  const visible = (chart) => {
    const place = find(chart.id).getBoundingClientRect();
    return place.bottom > 0 && place.top < window.innerHeight;
  };
  const scale = find("scale"), axis = find("axis"), smoothing = find("smoothing");
  const adjustable = (chart) => chart.group !== "resource";
  if (scale) {
    // A browser that returns to the page keeps what was chosen.
    Object.assign(state, { scale: scale.value, axis: axis.value, smoothing: Number(smoothing.value) });
    scale.addEventListener("change", () => { state.scale = scale.value; redraw(adjustable); });
    axis.addEventListener("change", () => { state.axis = axis.value; redraw(adjustable); });
    let waiting = 0;
    const say = () => { find("smoothing-value").textContent = state.smoothing.toFixed(2); };
    smoothing.addEventListener("input", () => {
      state.smoothing = Number(smoothing.value);
      say();
      cancelAnimationFrame(waiting);
      // While the slider moves, only visible charts are redrawn; the others when it is released.
      waiting = requestAnimationFrame(() => redraw((chart) => adjustable(chart) && visible(chart)));
    });
    smoothing.addEventListener("change", () => redraw(adjustable));
    say();
    scale.form.addEventListener("submit", (event) => event.preventDefault());
  }
  const details = find("details");
  if (details) details.addEventListener("toggle", () => drawAll(data.charts));
  for (const query of [dark, narrow]) query.addEventListener("change", () => redraw(() => true));
  drawAll(data.charts).then(() => document.documentElement.setAttribute("data-charts", "drawn"));
})();
