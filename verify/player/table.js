"use strict";
// The numbers of a step: a row a component. The text of a number was printed by the command that made the page,
// the number itself is in the title.

/**
 * `columns`: [{ group, heading, key, printed }]; `rows`: [{ name, colour }] under `heading`; `value(step, key, row)`:
 * a number; `empty`: what is said before the first step.
 */
Player.table = function (container, { columns, rows, heading, value, empty }) {
  const groups = [];
  for (const { group } of columns) {
    if (groups.length && groups.at(-1).name === group) groups.at(-1).span += 1;
    else groups.push({ name: group, span: 1 });
  }
  const head = Player.element("thead", {},
    Player.element("tr", {}, Player.element("th", { rowspan: 2 }, heading),
      ...groups.map(({ name, span }) => Player.element("th", { colspan: span, scope: "colgroup" }, name))),
    Player.element("tr", {}, ...columns.map((column) => Player.element("th", { scope: "col" }, column.heading))));
  return (step) => {
    if (step < 1) {
      container.replaceChildren(Player.element("p", {}, empty));
      return;
    }
    const made = rows.map(({ name, colour }, k) => {
      const dot = Player.element("i");
      dot.style.background = colour;
      const cells = columns.map(({ key, printed }) => Player.element(
        "td", { "data-key": key, title: Player.whole(value(step, key, k) ?? null) }, printed[step - 1][k] ?? "",
      ));
      return Player.element("tr", {}, Player.element("th", { scope: "row" }, dot, name), ...cells);
    });
    container.replaceChildren(Player.element("table", {}, head, Player.element("tbody", {}, ...made)));
  };
};
