"use strict";
// The stream of the chosen token: a bar for each number of each block, on the block's own scale.

Player.bars = function (container) {
  const largest = Player.largest();
  return ({ at, token }) => {
    const layer = Player.layer(at);
    container.replaceChildren(...Player.scene.blocks.map((block) => Player.barsOf(block, at, token, layer, largest)));
  };
};

/** The largest size that a block's numbers reach in the run. */
Player.largest = function () {
  const run = Player.scene.run;
  const found = {};
  for (const state of run.states) {
    for (const [name, place] of Object.entries(state.blocks)) {
      for (const row of run.values[place].rows) {
        for (const value of row) found[name] = Math.max(found[name] ?? 0, Math.abs(value ?? 0));
      }
    }
  }
  return found;
};

Player.barsOf = function (block, at, token, layer, largest) {
  const symbol = Player.element("span", { class: "symbol" });
  symbol.innerHTML = block.symbol;
  const title = Player.element("div", {}, symbol);
  if (layer && layer.written.includes(block.name)) title.append(Player.element("span", { class: "written" }, "written"));
  if (layer && layer.emptied.includes(block.name)) title.append(Player.element("span", { class: "emptied" }, "emptied"));
  title.append(Player.element("span", { class: "holds" }, block.holds));
  const values = Player.held(at, block.name, token);
  const made = Player.element("div", { class: "block", "data-block": block.name }, title);
  if (values === null) return made;
  const scale = largest[block.name] || 1;
  const signed = Player.signed(block.name);
  values.forEach((value, index) => made.append(Player.entry(value, index, values.length, scale, signed)));
  return made;
};

/** Whether a block ever holds a number below 0: its bars then begin in the middle. */
Player.signed = function (name) {
  Player.signs ??= {};
  Player.signs[name] ??= Player.scene.run.states.some(
    (state) => name in state.blocks && Player.scene.run.values[state.blocks[name]].rows.some((row) => row.some((value) => value < 0)),
  );
  return Player.signs[name];
};

Player.entry = function (value, index, count, scale, signed) {
  const bar = Player.element("i", value < 0 ? { class: "negative" } : {});
  const share = (100 * Math.abs(value ?? 0)) / scale / (signed ? 2 : 1);
  bar.style.width = `${share}%`;
  bar.style.left = signed ? `${value < 0 ? 50 - share : 50}%` : "0";
  return Player.element(
    "div",
    { class: "entry" },
    Player.element("span", { class: "index" }, count > 1 ? String(index) : ""),
    Player.element("span", { class: "track" }, bar),
    Player.element("span", { class: "value", title: Player.whole(value) }, Player.printed(value)),
  );
};
