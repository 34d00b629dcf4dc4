"use strict";
// The page put together: every part is told what is shown after each change.

Player.start = function () {
  const part = (id) => document.getElementById(id);
  const picture = Player.pictures[Player.scene.kind];
  const choose = (token) => Player.controls.change({ token });
  const parts = [Player.formulas(part("formulas")), Player.bars(part("bars")), picture(choose), Player.heaviest(part("heaviest"))];
  Player.controls = new Player.Controls((view) => {
    const layer = Player.layer(view.at);
    const when = layer === null ? "Start" : `Step ${view.step} of ${Player.scene.run.states.at(-1).step}, layer ${layer.name}`;
    part("said").textContent = `${when}; token ${view.token} (0 to ${Player.scene.run.tokens - 1})`;
    part("stream-title").textContent = `The stream of token ${view.token}`;
    part("layer-title").textContent = layer === null ? "The layer" : `Layer ${layer.name}, in step ${view.step}`;
    for (const show of parts) show(view);
  });
};

/** The tokens to which the chosen one gives most, equal weights together: the lines of the picture in words. */
Player.heaviest = function (container) {
  const most = 5, named = 4;
  return ({ at, head, token }) => {
    if (head < 0) {
      container.replaceChildren();
      return;
    }
    const weights = Player.attention(at, head, token);
    const groups = new Map();
    weights.forEach((weight, key) => groups.set(weight, [...(groups.get(weight) ?? []), key]));
    const largest = [...groups].sort(([a], [b]) => b - a).slice(0, most);
    container.replaceChildren(...largest.map(([weight, keys]) => {
      const first = keys.slice(0, named).join(", ");
      const who = keys.length === 1 ? ` to token ${first}` : ` to each of ${keys.length} tokens: ${first}${keys.length > named ? ", ..." : ""}`;
      return Player.element("li", {}, Player.element("span", { class: "weight", title: Player.whole(weight) }, Player.printed(weight)), who);
    }));
  };
};

Player.start();
