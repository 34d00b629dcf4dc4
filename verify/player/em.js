"use strict";
// The picture of EM: points coloured by responsibilities, means with their trails, attention as lines.

Player.pictures.em = function (choose) {
  const own = Player.scene.own;
  const size = [640, 500], margin = 36;
  const all = [...own.points, ...own.layers.flat(), ...own.em.flat()].filter((at) => at.every(Number.isFinite));
  const range = (axis) => [Math.min(...all.map((at) => at[axis])), Math.max(...all.map((at) => at[axis]))];
  const [[left, right], [bottom, top]] = [range(0), range(1)];
  const scale = Math.min((size[0] - 2 * margin) / (right - left || 1), (size[1] - 2 * margin) / (top - bottom || 1));
  const middle = [(left + right) / 2, (bottom + top) / 2];
  const place = ([x, y]) => [size[0] / 2 + scale * (x - middle[0]), size[1] / 2 - scale * (y - middle[1])];
  const points = own.points.map(place);
  const layers = own.layers.map((means) => means.map(place));
  const exact = own.em.map((means) => means.map(place));

  const svg = Player.shape("svg", { viewBox: `0 0 ${size.join(" ")}`, role: "img", id: "plane" });
  const groups = Object.fromEntries(["axes", "lines", "points", "trails", "means", "chosen", "weights"].map((name) => [name, Player.shape("g", { id: name })]));
  svg.append(...Object.values(groups));
  Player.planeAxes(groups.axes, own.axes, size, scale, middle);
  const radius = points.length > 250 ? 3.2 : 4.5;
  const dots = points.map(([cx, cy]) => Player.shape("circle", { class: "point", cx, cy, r: radius }));
  groups.points.append(...dots);
  const ring = Player.shape("circle", { class: "chosen", r: radius + 3.5 });
  groups.chosen.append(ring);
  const means = Player.means(groups, own.colours, layers, exact);
  svg.addEventListener("click", (event) => choose(Player.nearest(svg, points, event)));
  document.getElementById("picture").replaceChildren(svg);
  const numbers = Player.emNumbers(own);

  return (view) => {
    Player.coloured(dots, own.colours, view.at);
    means(view.done);
    const [cx, cy] = points[view.token];
    ring.setAttribute("cx", cx);
    ring.setAttribute("cy", cy);
    const ends = Player.attentionEnds(own, view, points, layers);
    groups.lines.replaceChildren(...Player.attentionLines(points[view.token], ends));
    groups.weights.replaceChildren(...Player.attentionNames(ends));
    svg.setAttribute("aria-label", Player.emSummary(view));
    document.getElementById("legend").textContent = Player.emLegend(view);
    numbers(view);
  };
};

Player.planeAxes = function (group, names, size, scale, middle) {
  const [width, height] = size;
  const within = (axis) => Player.marks(middle[axis] - size[axis] / 2 / scale, middle[axis] + size[axis] / 2 / scale);
  for (const mark of within(0)) {
    const x = width / 2 + scale * (mark - middle[0]);
    group.append(Player.shape("line", { class: "grid", x1: x, x2: x, y1: 0, y2: height }), Player.shape("text", { class: "soft", x: x + 3, y: height - 4 }, String(mark)));
  }
  for (const mark of within(1)) {
    const y = height / 2 - scale * (mark - middle[1]);
    group.append(Player.shape("line", { class: "grid", x1: 0, x2: width, y1: y, y2: y }), Player.shape("text", { class: "soft", x: 3, y: y - 3 }, String(mark)));
  }
  group.append(
    Player.shape("text", { x: width - 6, y: height - 18, "text-anchor": "end" }, names[0]),
    Player.shape("text", { x: 24, y: 14 }, names[1]),
  );
};

/** Points take the colours of the components, mixed by the responsibilities that the stream held last. */
Player.coloured = function (dots, colours, at) {
  let from = at;
  while (from > 0 && Player.held(from, "resp", 0) === null) from -= 1;
  const parts = colours.map((text) => [1, 3, 5].map((place) => parseInt(text.slice(place, place + 2), 16)));
  dots.forEach((dot, token) => {
    const shares = Player.held(from, "resp", token);
    if (shares === null) {
      dot.style.fill = "var(--unknown)";
      return;
    }
    const mixed = [0, 1, 2].map((place) => parts.reduce((sum, part, k) => sum + (shares[k] ?? 0) * part[place], 0));
    dot.style.fill = `rgb(${mixed.map((value) => Math.round(Math.min(value, 255))).join(" ")})`;
  });
};

/** Means of the layers with their trails, and around them where EM has them. */
Player.means = function (groups, colours, layers, exact) {
  const drawn = colours.map((colour, k) => {
    const trail = Player.shape("polyline", { class: "trail", stroke: colour });
    const dot = Player.shape("circle", { class: "mean", r: 7, fill: colour, "data-mean": k, style: Player.at(layers[0][k]) });
    const around = Player.shape("circle", { class: "exact", r: 11 });
    const name = Player.shape("text", { class: "name", "text-anchor": "middle" }, String(k));
    groups.trails.append(trail);
    groups.means.append(around, dot, name);
    return { trail, dot, around, name };
  });
  const known = (at) => at.every(Number.isFinite);
  return (done) => drawn.forEach(({ trail, dot, around, name }, k) => {
    trail.setAttribute("points", layers.slice(0, done + 1).map((means) => means[k]).filter(known).join(" "));
    const [here, there] = [layers[done][k], exact[done][k]];
    for (const [mark, at] of [[dot, here], [name, here], [around, there]]) mark.setAttribute("visibility", known(at) ? "visible" : "hidden");
    if (known(here)) {
      dot.style = Player.at(here);
      name.setAttribute("x", here[0]);
      name.setAttribute("y", here[1] - 13);
    }
    if (known(there)) {
      around.setAttribute("cx", there[0]);
      around.setAttribute("cy", there[1]);
    }
  });
};

/** Where the lines of the drawn head end, with the weight that goes there and its colour. */
Player.attentionEnds = function (own, { at, head, token }, points, layers) {
  if (head < 0) return [];
  const weights = Player.attention(at, head, token);
  if (Player.layer(at).heads[head].ends === "points") {
    return weights.map((weight, key) => ({ place: points[key], weight, colour: "var(--ink)", named: false }));
  }
  const before = layers[Player.scene.run.states[at - 1].step];
  const sums = own.colours.map(() => 0);
  weights.forEach((weight, key) => { sums[own.slots[key]] += weight; });
  return sums.map((weight, k) => ({ place: before[k], weight, colour: own.colours[k], named: true }));
};

Player.attentionLines = function ([x1, y1], ends) {
  const most = Math.max(...ends.map(({ weight }) => weight));
  // As many lines of equal weight would spread the attention as much: the more, the paler.
  const spread = 1 / ends.reduce((sum, { weight }) => sum + weight ** 2, 0);
  const strong = Math.min(0.7, 3.2 / Math.sqrt(spread));
  const drawn = [];
  for (const { place, weight, colour, named } of ends) {
    if (!(weight > most / 1000) || !place.every(Number.isFinite)) continue; // thinner than can be seen
    const [x2, y2] = place;
    const line = Player.shape("line", { class: "weight", x1, y1, x2, y2, "stroke-width": Math.max((named ? 9 * weight : (2.4 * weight) / most), 0.25) });
    line.style.stroke = colour;
    line.style.strokeOpacity = named ? 0.75 : 0.05 + (strong * weight) / most;
    line.append(Player.shape("title", {}, Player.whole(weight)));
    drawn.push(line);
  }
  return drawn;
};

/** The weights of lines that end at means, beside these. */
Player.attentionNames = function (ends) {
  return ends.filter(({ named, weight, place }) => named && weight > 0.005 && place.every(Number.isFinite)).map(({ weight, place: [x, y] }) =>
    Player.shape("text", { class: "name", x: x + 14, y: y + 17 }, weight.toFixed(3)));
};

Player.emSummary = function ({ at, token, done }) {
  const means = Player.scene.own.layers[done].map((mean, k) => `component ${k} at ${mean.map((v) => Player.printed(v, 3)).join(", ")}`);
  return `Scatter plot of ${Player.scene.run.tokens} points after ${done} steps; means: ${means.join("; ")}; token ${token} is chosen.`;
};

Player.emLegend = function ({ at, head }) {
  const parts = [at === 0 ? "Points: grey, no responsibilities yet." : "Points: a colour a component, mixed by the responsibilities of the last E layer."];
  parts.push("Discs: means of the layers, with their trail; dashed rings: where EM has them.");
  if (head >= 0) {
    const means = Player.layer(at).heads[head].ends === "means";
    parts.push(means
      ? "Lines: attention of the chosen token, summed over the tokens that keep the same component, drawn to its mean; width by weight."
      : "Lines: attention of the chosen token to every point; width by weight, the largest the widest, none below a thousandth of it.");
  }
  return parts.join(" ");
};

/** The table of errors and bounds, and their curves. */
Player.emNumbers = function ({ played, columns, colours }) {
  const value = (step, key, k) => key.split(".").reduce((found, name) => found[name], played.steps[step - 1])[k];
  const table = Player.table(document.getElementById("numbers"), {
    columns,
    rows: colours.map((colour, k) => ({ name: String(k), colour })),
    heading: "component",
    value,
    empty: "The start: both begin at the same weights and means. Errors are compared after each step.",
  });
  const largest = (group, name) => played.steps.map((step) => {
    const found = step[group][name].filter((one, k) => one !== null && (group === "path" || step.compared[k]));
    return found.length ? Math.max(...found) : null;
  });
  const chart = Player.chart(document.getElementById("chart"), [
    { name: "error of a mean, all steps", style: "error", values: largest("path", "mean_error") },
    { name: "its bound", style: "bound", values: played.steps.map((step, t) => (step.claimed ? largest("path", "mean_bound")[t] : null)) },
    { name: "error, this step alone", style: "error alone", values: largest("one_step", "mean_error") },
    { name: "its bound", style: "bound alone", values: largest("one_step", "mean_bound") },
  ], "Largest error of a mean and its bound, against the step, on a logarithmic axis");
  return ({ done }) => {
    document.getElementById("numbers-title").textContent = done ? `Error and bound after step ${done}` : "Error and bound";
    table(done);
    chart(done);
  };
};
