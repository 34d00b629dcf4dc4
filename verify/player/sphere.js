"use strict";
// The picture of tensor power iteration: v on the sphere with its trail, tokens around it, attention between them.

Player.pictures.sphere = function (choose) {
  const own = Player.scene.own;
  const [width, height, radius, around] = [640, 500, 155, 200];
  const centre = [width / 2, height / 2];
  const place = ([x, y]) => [centre[0] + radius * x, centre[1] - radius * y];
  const layers = own.layers.map(place), exact = own.reference.map(place);
  const count = Player.scene.run.tokens;
  const tokens = Array.from({ length: count }, (_, j) => {
    const turn = (2 * Math.PI * j) / count - Math.PI / 2;
    return [centre[0] + around * Math.cos(turn), centre[1] + around * Math.sin(turn)];
  });

  const svg = Player.shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", id: "plane" });
  const groups = Object.fromEntries(["axes", "lines", "trails", "means", "points", "chosen"].map((name) => [name, Player.shape("g", { id: name })]));
  svg.append(...Object.values(groups));
  Player.sphereAxes(groups.axes, own.axes, centre, radius);
  const dots = tokens.map(([cx, cy], j) => {
    const dot = Player.shape("circle", { class: "point", cx, cy, r: 13 });
    groups.points.append(dot, Player.shape("text", { class: "name", x: cx, y: cy + 4, "text-anchor": "middle" }, String(j)));
    return dot;
  });
  const ring = Player.shape("circle", { class: "chosen", r: 17 });
  groups.chosen.append(ring);
  const trail = Player.shape("polyline", { class: "trail vector" });
  const arrow = Player.shape("line", { class: "vector", x1: centre[0], y1: centre[1] });
  const tip = Player.shape("circle", { class: "mean vector", r: 6, style: Player.at(layers[0]) });
  const there = Player.shape("circle", { class: "exact", r: 10 });
  groups.trails.append(trail, arrow);
  groups.means.append(there, tip);
  svg.addEventListener("click", (event) => choose(Player.nearest(svg, tokens, event)));
  document.getElementById("picture").replaceChildren(svg);
  document.getElementById("picture-title").textContent = "The vector on the sphere, tokens and attention";
  const numbers = Player.sphereNumbers(own);

  return (view) => {
    const [x, y] = layers[view.done];
    trail.setAttribute("points", layers.slice(0, view.done + 1).join(" "));
    arrow.setAttribute("x2", x);
    arrow.setAttribute("y2", y);
    tip.style = Player.at([x, y]);
    there.setAttribute("cx", exact[view.done][0]);
    there.setAttribute("cy", exact[view.done][1]);
    ring.setAttribute("cx", tokens[view.token][0]);
    ring.setAttribute("cy", tokens[view.token][1]);
    Player.shaded(dots, view.at);
    groups.lines.replaceChildren(...Player.ringLines(view, tokens, centre));
    svg.setAttribute("aria-label", `The vector after ${view.done} steps among ${count} tokens; token ${view.token} is chosen.`);
    document.getElementById("legend").textContent = Player.sphereLegend(view);
    numbers(view);
  };
};

Player.sphereAxes = function (group, names, [x, y], radius) {
  group.append(
    Player.shape("circle", { class: "grid open", cx: x, cy: y, r: radius }),
    Player.shape("line", { class: "grid", x1: x - radius, x2: x + radius, y1: y, y2: y }),
    Player.shape("line", { class: "grid", x1: x, x2: x, y1: y - radius, y2: y + radius }),
    Player.shape("text", { class: "soft", x: x + radius - 4, y: y + 14, "text-anchor": "end" }, names[0]),
    Player.shape("text", { class: "soft", x: x + 5, y: y - radius + 14 }, names[1]),
  );
};

/** Tokens take the colour of their coordinate s of v, the stronger the larger; pale where the stream holds none. */
Player.shaded = function (dots, at) {
  const sizes = dots.map((_, token) => Player.held(at, "s", token)?.[0] ?? 0);
  const most = Math.max(...sizes.map(Math.abs)) || 1;
  dots.forEach((dot, token) => {
    const share = Math.round((100 * Math.abs(sizes[token])) / most);
    dot.style.fill = `color-mix(in srgb, var(${sizes[token] < 0 ? "--negative" : "--bar"}) ${share}%, var(--rule))`;
  });
};

/** The weight of the widest line: the largest, or the next where the largest is that of a sink. */
Player.widest = function (weights) {
  const [first, second] = [...weights].sort((a, b) => b - a);
  return second > 0 && first > 1000 * second ? second : first;
};

/** Lines from the chosen token; to itself a ring. */
Player.ringLines = function ({ at, head, token }, tokens, centre) {
  if (head < 0) return [];
  const weights = Player.attention(at, head, token);
  const most = Player.widest(weights);
  const [x1, y1] = tokens[token];
  return weights.flatMap((weight, key) => {
    if (!(weight > most / 1000)) return []; // thinner than can be seen
    const [x2, y2] = tokens[key];
    const width = Math.max((7 * Math.min(weight, most)) / most, 0.4);
    const outward = [x1 + (x1 - centre[0]) * 0.1, y1 + (y1 - centre[1]) * 0.1];
    const made = key === token
      ? Player.shape("circle", { class: "weight", cx: outward[0], cy: outward[1], r: 15, "stroke-width": width })
      : Player.shape("line", { class: "weight", x1, y1, x2, y2, "stroke-width": width });
    made.style.stroke = "var(--ink)";
    made.style.strokeOpacity = 0.5;
    if (weight > most) made.style.strokeDasharray = "10 9";
    made.append(Player.shape("title", {}, Player.whole(weight)));
    return [made];
  });
};

Player.sphereLegend = function ({ at, head, token }) {
  const parts = [
    "Inside: v of the layers with its trail, drawn at length 1; dashed ring: where the reference has it.",
    "Around: the tokens, coloured by their coordinate s of v (blue above 0, orange below).",
  ];
  if (head >= 0) parts.push("Lines: attention of the chosen token, width by weight, the largest the widest; a ring: to itself.");
  if (head >= 0 && Player.widest(Player.attention(at, head, token)) < Math.max(...Player.attention(at, head, token))) {
    parts.push("Dashed: to the sink, which takes more than a thousand times the others' weight.");
  }
  return parts.join(" ");
};

Player.sphereNumbers = function ({ played, columns }) {
  const table = Player.table(document.getElementById("numbers"), {
    columns,
    rows: [{ name: "v", colour: "var(--bar)" }],
    heading: "vector",
    value: (step, key) => played.steps[step - 1][key],
    empty: "The start: both begin at the same vector. Errors are compared after each step.",
  });
  const chart = Player.chart(document.getElementById("chart"), [
    { name: "error of v, all steps", style: "error", values: played.steps.map((step) => step.error) },
    { name: "its bound", style: "bound", values: played.steps.map((step) => step.bound) },
  ], "Error of v and its bound, against the step, on a logarithmic axis");
  return ({ done }) => {
    document.getElementById("numbers-title").textContent = done ? `Error and bound after step ${done}` : "Error and bound";
    table(done);
    chart(done);
  };
};
