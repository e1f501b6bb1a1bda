"use strict";
/* What is visible of a stage: boxes, folded groups, and the edges between them. */
const graphc = { data: JSON.parse(document.getElementById("data").textContent) };

graphc.PIECE = 150; // a group of more boxes is folded in pieces of this many

/** The group of every box, null for none; groups of one box are none. */
graphc.groupsOf = function (stage, by) {
  const nodes = graphc.data.nodes;
  const members = new Map();
  stage.boxes.forEach((box, i) => {
    const row = nodes[box.n];
    let key = null;
    if (by === "line" && row.line !== undefined && box.kind !== "input") {
      key = "line " + row.line + (box.kind === "backward" ? " backward" : "");
    } else if (by === "kernel" && row.kernels) {
      key = "kernel " + row.kernels[0];
    }
    if (key !== null) {
      if (!members.has(key)) members.set(key, []);
      members.get(key).push(i);
    }
  });
  const groups = new Map();
  const groupOf = new Array(stage.boxes.length).fill(null);
  for (const [key, list] of members) {
    const parts = Math.ceil(list.length / graphc.PIECE);
    const size = Math.ceil(list.length / parts);
    for (let p = 0; p < parts; p++) {
      const boxes = list.slice(p * size, (p + 1) * size);
      if (boxes.length < 2) continue;
      const id = parts > 1 ? `${key} part ${p + 1}` : key;
      const part = parts > 1 ? ` (${p + 1} of ${parts})` : "";
      groups.set(id, { id, boxes, lines: graphc.groupLines(stage, boxes, by, part) });
      boxes.forEach((b) => (groupOf[b] = id));
    }
  }
  return { groups, groupOf };
};

graphc.groupLines = function (stage, boxes, by, part) {
  const row = graphc.data.nodes[stage.boxes[boxes[0]].n];
  const count = `${boxes.length} nodes${part}`;
  if (by === "kernel") {
    const number = row.kernels[0];
    return [`kernel ${number}`, graphc.shorten(graphc.data.kernels[number].label), count];
  }
  const line = graphc.data.lines[row.line];
  const head = line.text || `${line.file}:${line.line}`;
  return line.text ? [head, `${line.file}:${line.line}`, count] : [head, count];
};

graphc.shorten = (text) => (text.length <= 44 ? text : text.slice(0, 28) + "\u2026" + text.slice(-15));

/** Items in topological order of their first boxes, and edges between them. */
graphc.visible = function (stage, by, isOpen) {
  const { groups, groupOf } = graphc.groupsOf(stage, by);
  const items = [];
  const itemOf = new Array(stage.boxes.length);
  const made = new Map();
  stage.boxes.forEach((box, i) => {
    const group = groupOf[i] !== null && !isOpen(groupOf[i]) ? groups.get(groupOf[i]) : null;
    if (group === null) {
      itemOf[i] = items.length;
      items.push({ id: "b" + i, boxes: [i], kind: box.kind, lines: box.lines, w: box.w, h: box.h, out: !!box.out, group: null });
      return;
    }
    if (!made.has(group.id)) {
      made.set(group.id, items.length);
      const kinds = group.boxes.map((b) => stage.boxes[b].kind);
      items.push({
        id: group.id, boxes: group.boxes, group: group.id, lines: group.lines,
        kind: kinds.every((k) => k === "backward") ? "backward" : "forward",
        out: group.boxes.some((b) => stage.boxes[b].out),
        w: Math.max(...group.lines.map((l) => l.length)) * 7.26 + 28, h: group.lines.length * 15 + 14,
      });
    }
    itemOf[i] = made.get(group.id);
  });
  const edges = [];
  const seen = new Map();
  stage.edges.forEach(([s, t, position, port], number) => {
    const a = itemOf[s], b = itemOf[t];
    if (a === b) return;
    const single = !items[a].group && !items[b].group;
    const key = single ? `${a} ${b} ${position}` : `${a} ${b}`;
    if (seen.has(key)) { seen.get(key).count++; return; }
    const edge = {
      s: a, t: b, port: items[b].group ? 0.5 : port, count: 1, number: single ? number : -1,
      back: items[a].kind === "backward",
      read: items[a].kind !== "backward" && items[b].kind === "backward",
    };
    seen.set(key, edge);
    edges.push(edge);
  });
  return { items, edges, itemOf, groups, groupOf, whole: items.length === stage.boxes.length };
};
