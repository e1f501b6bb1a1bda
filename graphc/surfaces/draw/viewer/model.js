"use strict";
/* What is visible of a stage: boxes, folded groups, and the edges between them. */
const graphc = { data: JSON.parse(document.getElementById("data").textContent) };

for (const stage of graphc.data.stages) stage.boxes = stage.boxes.map((i) => graphc.data.faces[i]);

graphc.PIECE = 150; // a group of more boxes is folded in pieces of this many

/** The numbers of a node's scopes, the outermost first. */
graphc.scopesOf = function (row) {
  const out = [];
  for (let s = row.scope; s !== undefined; s = graphc.data.scopes[s].parent) out.unshift(s);
  return out;
};

/** The keys of the groups around a box, the outermost first. */
graphc.keysOf = function (box, by) {
  const row = graphc.data.nodes[box.n], side = box.kind === "backward" ? " backward" : "";
  if (by === "line" && row.line !== undefined && box.kind !== "input") return ["line " + row.line + side];
  if (by === "kernel" && row.kernels) return ["kernel " + row.kernels[0]];
  if (by === "scope") return graphc.scopesOf(row).map((s) => "scope " + s + side);
  return [];
};

/** The groups, and for every box those around it, the outermost first. Groups of one box
    are none; those of too many boxes of their own are cut into parts. */
graphc.groupsOf = function (stage, by) {
  const members = new Map(), own = new Map();
  const add = (map, key, i) => (map.has(key) ? map.get(key).push(i) : map.set(key, [i]));
  const keys = stage.boxes.map((box, i) => {
    const path = graphc.keysOf(box, by);
    for (const key of path) add(members, key, i);
    if (path.length) add(own, path[path.length - 1], i);
    return path;
  });
  const groups = new Map(), parts = new Map();
  for (const [key, boxes] of members) {
    if (boxes.length > 1) groups.set(key, { id: key, boxes, lines: graphc.groupLines(stage, key, boxes, "") });
  }
  for (const [key, list] of own) {
    const count = Math.ceil(list.length / graphc.PIECE), size = Math.ceil(list.length / count);
    if (count < 2) continue;
    if (by !== "scope") groups.delete(key);
    list.forEach((i, place) => {
      const part = Math.floor(place / size) + 1, id = `${key} part ${part}`;
      if (!groups.has(id)) {
        const boxes = list.slice((part - 1) * size, part * size);
        groups.set(id, { id, boxes, lines: graphc.groupLines(stage, key, boxes, ` (${part} of ${count})`) });
      }
      parts.set(i, id);
    });
  }
  const paths = keys.map((path, i) => [...path, parts.get(i)].filter((id) => groups.has(id)));
  return { groups, paths };
};

graphc.groupLines = function (stage, key, boxes, part) {
  const row = graphc.data.nodes[stage.boxes[boxes[0]].n], { data } = graphc;
  const side = key.endsWith(" backward") ? ", backward" : "";
  const count = `${boxes.length} nodes${part}${side}`, number = +key.split(" ")[1];
  if (key.startsWith("kernel")) return [`kernel ${number}`, graphc.shorten(data.kernels[number].label), count];
  if (key.startsWith("scope")) return [data.scopes[number].name, count];
  const line = data.lines[row.line];
  const head = line.text || `${line.file}:${line.line}`;
  return line.text ? [head, `${line.file}:${line.line}`, count] : [head, count];
};

graphc.shorten = (text) => (text.length <= 44 ? text : text.slice(0, 28) + "\u2026" + text.slice(-15));

/** Inputs that only folded groups use, and the same ones, are a group too: a folded
    network has one box of weights for each of its parts, not a row of hundreds. */
graphc.groupInputs = function (stage, found, isOpen) {
  const { groups, paths } = found, users = new Map();
  const closed = (i) => paths[i].find((id) => !isOpen(id));
  for (const [s, t] of stage.edges) {
    if (stage.boxes[s].kind !== "input" || paths[s].length) continue;
    if (!users.has(s)) users.set(s, new Set());
    users.get(s).add(closed(t));
  }
  const alike = new Map();
  for (const [i, set] of users) {
    if (set.has(undefined)) continue;
    const id = "inputs of " + [...set].sort().join(", ");
    if (!alike.has(id)) alike.set(id, []);
    alike.get(id).push(i);
  }
  for (const [id, boxes] of alike) {
    if (boxes.length < 2) continue;
    boxes.sort((a, b) => a - b);
    const names = boxes.map((i) => stage.boxes[i].lines[0]);
    const some = names.length > 3 ? `${names[0]}, ${names[1]} \u2026 ${names[names.length - 1]}` : names.join(", ");
    groups.set(id, { id, boxes, lines: [`${boxes.length} inputs`, graphc.shorten(some)] });
    boxes.forEach((i) => (paths[i] = [id]));
  }
};

/** Items in topological order, and edges between them. */
graphc.visible = function (stage, by, isOpen) {
  const found = graphc.groupsOf(stage, by);
  if (by) graphc.groupInputs(stage, found, isOpen);
  const { groups, paths } = found;
  const items = [], itemOf = new Array(stage.boxes.length), made = new Map();
  stage.boxes.forEach((box, i) => {
    const depth = paths[i].findIndex((id) => !isOpen(id));
    if (depth < 0) {
      itemOf[i] = items.length;
      items.push({ id: "b" + i, boxes: [i], kind: box.kind, lines: box.lines, w: box.w, h: box.h, out: !!box.out, group: null, around: paths[i] });
      return;
    }
    const group = groups.get(paths[i][depth]);
    if (!made.has(group.id)) {
      made.set(group.id, items.length);
      const kinds = group.boxes.map((b) => stage.boxes[b].kind);
      const all = ["input", "backward"].find((kind) => kinds.every((k) => k === kind));
      items.push({
        id: group.id, boxes: group.boxes, group: group.id, lines: group.lines,
        kind: all || "forward", out: group.boxes.some((b) => stage.boxes[b].out),
        around: paths[i].slice(0, depth),
        w: Math.max(...group.lines.map((l) => l.length)) * 7.26 + 28, h: group.lines.length * 15 + 14,
      });
    }
    itemOf[i] = made.get(group.id);
  });
  const edges = [], seen = new Map();
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
  const whole = items.length === stage.boxes.length;
  return { ...(whole ? { items, edges, itemOf } : graphc.inOrder(items, edges, itemOf)), groups, paths, clusters: [], whole };
};

/** The same with items numbered such that edges go to larger numbers, but for those of
    cycles, which folding may make (Kahn's algorithm; stuck, it goes on with the first). */
graphc.inOrder = function (items, edges, itemOf) {
  const waits = items.map(() => 0), users = items.map(() => []), place = items.map(() => -1);
  for (const e of edges) { waits[e.t]++; users[e.s].push(e.t); }
  const ready = items.map((_, i) => i).filter((i) => !waits[i]).reverse(), order = [];
  for (let first = 0; order.length < items.length; ) {
    while (place[first] >= 0) first++;
    const i = ready.length ? ready.pop() : first;
    if (place[i] >= 0) continue;
    place[i] = order.length;
    order.push(items[i]);
    for (const t of users[i]) if (!--waits[t] && place[t] < 0) ready.push(t);
  }
  for (const e of edges) { e.s = place[e.s]; e.t = place[e.t]; }
  return { items: order, edges, itemOf: itemOf.map((i) => place[i]) };
};
