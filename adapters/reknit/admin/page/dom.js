// Makes elements; nothing of what is shown is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element with these attributes, and these children: elements or texts. */
export function html(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** The element with that id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Change an element's text, if it is another. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
