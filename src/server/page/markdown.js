// Markdown to DOM nodes. Nothing is ever parsed as HTML, so a model's text cannot become markup;
// links are http and https only.

const element = (name, ...children) => {
  const node = document.createElement(name);
  node.append(...children);
  return node;
};

const INLINE =
  /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*([^\s*][\s\S]*?)\*\*|__([^\s_][\s\S]*?)__|\*([^\s*][^*]*)\*|(?<!\w)_([^\s_][^_]*)_(?!\w)|~~([\s\S]+?)~~|\[([^\]]*)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>"')\]]+)/g;

function link(text, url) {
  const node = element("a", text);
  node.href = url;
  node.rel = "noreferrer noopener";
  node.target = "_blank";
  return node;
}

/** The nodes of one run of text. */
function inline(text) {
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index > at) nodes.push(text.slice(at, match.index));
    at = match.index + match[0].length;
    const [, , code, bold, bold2, italic, italic2, struck, label, url, bare] = match;
    if (code !== undefined) nodes.push(element("code", code));
    else if (bold ?? bold2) nodes.push(element("strong", ...inline(bold ?? bold2)));
    else if (italic ?? italic2) nodes.push(element("em", ...inline(italic ?? italic2)));
    else if (struck !== undefined) nodes.push(element("del", ...inline(struck)));
    else nodes.push(link(url ? label || url : bare, url ?? bare));
  }
  if (at < text.length) nodes.push(text.slice(at));
  return nodes;
}

function codeBlock(lines, language) {
  const code = element("code", lines.join("\n"));
  if (language) code.dataset.language = language;
  const copy = element("button", "Copy");
  copy.type = "button";
  copy.addEventListener("click", () => navigator.clipboard?.writeText(code.textContent));
  return element("pre", copy, code);
}

const BULLET = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;

/** A list whose items are indented by at least `indent`; returns [node, lines used]. */
function list(lines, indent) {
  const first = BULLET.exec(lines[0]);
  const node = element(first[2] ? "ol" : "ul");
  if (first[2] && first[2] !== "1") node.start = Number(first[2]);
  let used = 0;
  while (used < lines.length) {
    const match = BULLET.exec(lines[used]);
    if (match && match[1].length > indent && node.lastChild) {
      const [inner, count] = list(lines.slice(used), match[1].length);
      node.lastChild.append(inner);
      used += count;
    } else if (match && match[1].length === indent) {
      node.append(element("li", ...inline(match[3])));
      used += 1;
    } else if (!match && lines[used].startsWith(" ") && lines[used].trim() && node.lastChild) {
      node.lastChild.append(" ", ...inline(lines[used].trim()));
      used += 1;
    } else {
      break;
    }
  }
  return [node, used];
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

function table(lines) {
  const row = (line, name) => element("tr", ...cells(line).map((cell) => element(name, ...inline(cell))));
  return element("table", element("thead", row(lines[0], "th")),
    element("tbody", ...lines.slice(2).map((line) => row(line, "td"))));
}

/** The nodes of a whole text; an unclosed fence runs to the end, as it does while streaming. */
export function markdown(text) {
  const lines = text.split("\n");
  const nodes = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = /^\s*(```+|~~~+)\s*([\w+#.-]*)/.exec(line);
    const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (fence) {
      let end = at + 1;
      while (end < lines.length && !lines[end].trim().startsWith(fence[1])) end += 1;
      nodes.push(codeBlock(lines.slice(at + 1, end), fence[2]));
      at = end + 1;
    } else if (heading) {
      nodes.push(element(`h${Math.min(6, heading[1].length + 1)}`, ...inline(heading[2])));
      at += 1;
    } else if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
      nodes.push(element("hr"));
      at += 1;
    } else if (BULLET.test(line)) {
      const [node, used] = list(lines.slice(at), BULLET.exec(line)[1].length);
      nodes.push(node);
      at += Math.max(1, used);
    } else if (line.startsWith(">")) {
      let end = at;
      while (end < lines.length && lines[end].startsWith(">")) end += 1;
      nodes.push(element("blockquote", ...markdown(lines.slice(at, end).map((l) => l.replace(/^>\s?/, "")).join("\n"))));
      at = end;
    } else if (line.includes("|") && /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/.test(lines[at + 1] ?? "")) {
      let end = at + 2;
      while (end < lines.length && lines[end].includes("|")) end += 1;
      nodes.push(table(lines.slice(at, end)));
      at = end;
    } else if (!line.trim()) {
      at += 1;
    } else {
      let end = at + 1;
      while (end < lines.length && lines[end].trim() && !/^\s*(```|~~~|#{1,6}\s|>)/.test(lines[end]) &&
             !BULLET.test(lines[end])) end += 1;
      const runs = lines.slice(at, end).flatMap((l, i) => (i ? [element("br"), ...inline(l)] : inline(l)));
      nodes.push(element("p", ...runs));
      at = end;
    }
  }
  return nodes;
}
