"use strict";
// Elements of HTML and SVG, and axes.

/** An HTML element with attributes and children; a child that is text stays text. */
Player.element = function (name, attributes = {}, ...children) {
  return Player.filled(document.createElement(name), attributes, children);
};

/** The same of SVG. */
Player.shape = function (name, attributes = {}, ...children) {
  return Player.filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
};

Player.filled = function (made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};

/** The style that puts a mark at a place, set when the mark is made so that it does not travel there from the corner. */
Player.at = ([x, y]) => (Number.isFinite(x) && Number.isFinite(y) ? `transform: translate(${x}px, ${y}px)` : "");

/** Numbers between two ends, 1, 2 or 5 times a power of ten apart, about `count` of them. */
Player.marks = function (low, high, count = 6) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high; n++) found.push(Number((n * step).toPrecision(12)));
  return found;
};

/** Which of the places in a picture is nearest to a click. */
Player.nearest = function (svg, places, event) {
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const far = places.map(([x, y]) => (x - at.x) ** 2 + (y - at.y) ** 2);
  return far.indexOf(Math.min(...far));
};
