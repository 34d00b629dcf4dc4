"use strict";
// The layer that has just run, as formulas: the algorithm's own, the heads and the parts of the MLP.

Player.FEW_HEADS = 4; // of more, the one that is drawn is written out

Player.formulas = function (container) {
  return ({ at, head }) => {
    const layer = Player.layer(at);
    if (layer === null) {
      container.replaceChildren(Player.element("p", { class: "does" }, "The start: what the first layer reads. No layer has run yet."));
      return;
    }
    const parts = [Player.element("p", { class: "does" }, layer.does)];
    if (layer.step) parts.push(Player.part("the algorithm", layer.step));
    const many = layer.heads.length > Player.FEW_HEADS;
    layer.heads.forEach((one, number) => {
      if (many && number !== head) return;
      const made = Player.part(`head ${number + 1}${number === head ? ", drawn" : ""}`, one.formula);
      made.classList.toggle("drawn", number === head);
      parts.push(made);
    });
    if (many) parts.push(Player.element("p", {}, `${layer.heads.length} heads in all; choose one above to see its formula.`));
    if (layer.norm) parts.push(Player.part("norm of what the heads add", layer.norm));
    for (const formula of layer.mlp) parts.push(Player.part("MLP", formula));
    container.replaceChildren(...parts);
  };
};

Player.part = function (name, formula) {
  const made = Player.element("div", { class: "part" }, Player.element("b", {}, name));
  made.insertAdjacentHTML("beforeend", formula); // MathML that the command wrote from its own formulas
  return made;
};
