"use strict";
// The scene that the page holds, and how numbers are read from it and printed.

const Player = { pictures: {} };

Player.scene = JSON.parse(document.getElementById("scene").textContent);

/** What token number `token` holds in a block at state number `at`; null where the block holds nothing. */
Player.held = function (at, block, token) {
  const run = Player.scene.run;
  const place = run.states[at].blocks[block];
  if (place === undefined) return null;
  const values = run.values[place];
  return values.rows[run.classes[values.of][token]];
};

/** The weights that token number `token` gave to every token, in the layer that led to state `at`. */
Player.attention = function (at, head, token) {
  const run = Player.scene.run;
  const weights = run.weights[run.states[at].heads[head]];
  const row = weights.rows[run.classes[weights.queries][token]];
  return run.classes[weights.keys].map((key) => row[key]);
};

/** The layer that led to state `at`; null at the start. */
Player.layer = function (at) {
  const number = Player.scene.run.states[at].layer;
  return number === null ? null : Player.scene.layers[number];
};

/** A number with four significant digits; all of them are in the title of what shows it. */
Player.printed = function (value, digits = 4) {
  if (value === null) return "-";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 0.01 || size >= 1e4) return value.toExponential(digits - 1).replace(/e([+-])(\d)$/, "e$10$2");
  return String(Number(value.toPrecision(digits)));
};

/** All digits of a number. */
Player.whole = function (value) {
  return value === null ? "no number" : String(value);
};
