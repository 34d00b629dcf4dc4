"use strict";
// Curves against the step, on a logarithmic axis, with the present step marked.

/** `curves`: [{ name, style, values }], a value a step from 1 on, null where there is none. */
Player.chart = function (container, curves, label) {
  const width = 560, height = 190, left = 56, right = 190, top = 12, bottom = 30;
  const steps = curves[0].values.length;
  const sizes = curves.flatMap((curve) => curve.values).filter((value) => value > 0);
  const logs = sizes.map(Math.log10);
  const low = sizes.length ? Math.floor(Math.min(...logs)) : -1;
  const high = sizes.length ? Math.max(Math.ceil(Math.max(...logs)), low + 1) : 0;
  const x = (step) => left + ((width - left - right) * (steps > 1 ? (step - 1) / (steps - 1) : 0.5));
  const y = (value) => top + ((height - top - bottom) * (high - Math.log10(value))) / (high - low);

  const svg = Player.shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  const every = Math.max(1, Math.ceil((high - low) / 5));
  for (let power = low; power <= high; power += every) {
    const at = y(10 ** power);
    svg.append(
      Player.shape("line", { class: "grid", x1: left, x2: width - right, y1: at, y2: at }),
      Player.shape("text", { class: "soft", x: left - 6, y: at + 4, "text-anchor": "end" }, `1e${power}`),
    );
  }
  const apart = Math.max(1, Math.ceil(steps / 10));
  for (let step = 1; step <= steps; step += apart) {
    svg.append(Player.shape("text", { class: "soft", x: x(step), y: height - 14, "text-anchor": "middle" }, String(step)));
  }
  svg.append(Player.shape("text", { class: "soft", x: (left + width - right) / 2, y: height - 2, "text-anchor": "middle" }, "step"));
  curves.forEach((curve, number) => {
    const places = curve.values.map((value, t) => (value > 0 ? [x(t + 1), y(value)] : null));
    const path = places.map((at, t) => (at ? `${t && places[t - 1] ? "L" : "M"}${at[0]} ${at[1]}` : "")).join("");
    svg.append(Player.shape("path", { class: `curve ${curve.style}`, d: path || "M0 0" }));
    for (const at of places.filter(Boolean)) svg.append(Player.shape("circle", { class: `curve ${curve.style}`, cx: at[0], cy: at[1], r: 1.5 }));
    const line = 24 + 18 * number;
    svg.append(
      Player.shape("path", { class: `curve ${curve.style}`, d: `M${width - right + 12} ${line}h24` }),
      Player.shape("text", { x: width - right + 42, y: line + 4 }, curve.name),
    );
  });
  const now = Player.shape("line", { class: "now", y1: top, y2: height - bottom });
  svg.append(now);
  container.replaceChildren(svg);
  return (step) => {
    now.setAttribute("visibility", step >= 1 ? "visible" : "hidden");
    now.setAttribute("x1", x(Math.max(step, 1)));
    now.setAttribute("x2", x(Math.max(step, 1)));
  };
};
