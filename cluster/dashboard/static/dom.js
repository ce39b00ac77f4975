// Elements from plain values: no markup is ever parsed, so nothing that a node says can become markup.

const SHORT = 16;

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "text") made.textContent = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function fill(parent, ...children) {
  parent.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

// `fill` for tables that change while somebody reads them: each keeps its place and the focus.
export function renew(parent, ...children) {
  const before = [...parent.querySelectorAll(".scroll")].map((region) => ({
    top: region.scrollTop,
    left: region.scrollLeft,
    focused: region === document.activeElement,
  }));
  fill(parent, ...children);
  parent.querySelectorAll(".scroll").forEach((region, index) => {
    const was = before[index];
    if (!was) return;
    region.scrollTo(was.left, was.top);
    if (was.focused) region.focus();
  });
}

// A table of text: `rows` hold one value a column; numbers stand to the right.
export function table(caption, columns, rows) {
  const head = element(
    "tr",
    {},
    ...columns.map((name, index) =>
      element("th", {
        scope: "col",
        class: rows.some((row) => typeof row[index] === "number") ? "number" : null,
        text: name,
      }),
    ),
  );
  const body = rows.map((row) =>
    element("tr", {}, ...row.map((value) => element("td", { class: kindOf(value), text: cell(value) }))),
  );
  return element(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    element(
      "table",
      {},
      element("caption", { text: caption }),
      element("thead", {}, head),
      element("tbody", {}, ...body),
    ),
  );
}

// A name must not break at its hyphen, while a sentence may anywhere.
function kindOf(value) {
  if (typeof value === "number") return "number";
  return String(value ?? "").length <= SHORT ? "short" : null;
}

function cell(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
}

// A labelled choice; `choose` hears of the new value.
export function choice(label, values, chosen, choose) {
  const select = element(
    "select",
    { onchange: () => choose(select.value) },
    ...values.map(([value, text]) => element("option", { value, text, selected: value === chosen })),
  );
  return element("label", { class: "choice" }, element("span", { text: label }), select);
}

export function download(name, type, text) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
