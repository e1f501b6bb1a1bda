"use strict";
/* Where items lie. Small graphs come with positions; folded ones are laid out by dagre,
   and what is too large for it by layers alone. */
graphc.DAGRE_MOST = 1000; // items, and layers that edges pass: what its time goes with

graphc.place = function (stage, shown, side) {
  if (side) return graphc.placeSides(stage, shown);
  const all = shown.items.map((_, i) => i);
  const ready = shown.whole && stage.centers;
  if (ready && graphc.placeAround(shown, [all])) return shown;
  if (ready) {
    shown.items.forEach((item, i) => ([item.x, item.y] = stage.centers[i]));
    shown.edges.forEach((edge) => {
      const route = stage.routes[edge.number];
      edge.d = graphc.routePath(route);
      graphc.bounds(edge, route);
    });
    return shown;
  }
  graphc.placeSome(shown, all);
  return shown;
};

/** Lay some sets of items out with borders around unfolded groups; tell whether it was
    possible, and there are any. */
graphc.placeAround = function (shown, sets) {
  if (!shown.items.some((t) => t.around.length)) return false;
  for (const members of sets) {
    const inside = new Set(members), own = shown.edges.filter((e) => inside.has(e.s) && inside.has(e.t));
    try {
      if (graphc.workOf(own, graphc.layersOf(own, members), members) > graphc.DAGRE_MOST) throw new Error("too many");
      graphc.placeByDagre(shown, own, members, true);
    } catch (error) { shown.clusters = []; return false; }
  }
  return true;
};

/** What dagre's time goes with: items, and layers that edges pass. */
graphc.workOf = (edges, layer, members) => edges.reduce((sum, e) => sum + Math.max(0, Math.abs(layer.get(e.t) - layer.get(e.s)) - 1), members.length);

/** Straight down through layers, curved through the gaps between them. */
graphc.routePath = function (route) {
  let d = `M${route[0]}`;
  for (let i = 1; i < route.length; i++) {
    const [x0, y0] = route[i - 1], [x1, y1] = route[i];
    if (x0 === x1 && Math.abs(y0 - y1) < 0.2) continue; // an arrow needs a direction
    const m = (y0 + y1) / 2;
    d += i % 2 || x0 === x1 ? `L${x1},${y1}` : `C${x0},${m} ${x1},${m} ${x1},${y1}`;
  }
  return d;
};

graphc.bounds = function (edge, points) {
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
  edge.box = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  edge.from = points[0];
  edge.end = points[points.length - 1];
};

graphc.placeSome = function (shown, members) {
  const { items, edges } = shown;
  const inside = new Set(members);
  const own = edges.filter((e) => inside.has(e.s) && inside.has(e.t));
  const layer = graphc.layersOf(own, members);
  if (graphc.workOf(own, layer, members) <= graphc.DAGRE_MOST) {
    try {
      graphc.placeByDagre(shown, own, members);
      return;
    } catch (error) { /* what it cannot lay out, layers can */ }
  }
  graphc.placeByLayers(items, own, members, layer);
};

graphc.placeByDagre = function (shown, edges, members, strict) {
  const { items } = shown, clusters = graphc.clustersOf(shown, members);
  const g = graphc.runDagre(items, edges, members, clusters, strict);
  if (g.isCompound()) shown.clusters.push(...clusters);
  members.forEach((i) => { const n = g.node(String(i)); items[i].x = n.x; items[i].y = n.y; });
  const moved = graphc.sortLeaves(items, edges, members);
  edges.forEach((e, k) => {
    if (moved.has(e.s)) { graphc.direct(items, e); return; }
    const ends = [e.s, e.t].sort((a, b) => a - b).map(String);
    const points = g.edge(...ends, String(k)).points.map((p) => [p.x, p.y]);
    if (e.s > e.t) points.reverse();
    const a = items[e.s], b = items[e.t];
    if (a.y + a.h / 2 < b.y - b.h / 2) { // from the middle below to the argument's place above
      points[0] = [a.x, a.y + a.h / 2];
      points[points.length - 1] = [b.x + (e.port - 0.5) * b.w, b.y - b.h / 2];
    }
    let d = `M${points[0]}`;
    for (let i = 1; i < points.length - 1; i++) {
      const last = i === points.length - 2;
      const x = last ? points[i + 1][0] : (points[i][0] + points[i + 1][0]) / 2;
      const y = last ? points[i + 1][1] : (points[i][1] + points[i + 1][1]) / 2;
      d += `Q${points[i]} ${x},${y}`;
    }
    if (points.length === 2) d += `L${points[1]}`;
    e.d = d;
    graphc.bounds(e, points);
  });
};

/** Put leaves side by side that only one box uses in the order of its arguments, which
    dagre does not know of; the set of those that moved. */
graphc.sortLeaves = function (items, edges, members) {
  const uses = new Map(), parts = new Map(), inner = new Set(), moved = new Set();
  for (const e of edges) {
    uses.set(e.s, (uses.get(e.s) || 0) + 1);
    inner.add(e.t);
    if (!parts.has(e.t)) parts.set(e.t, []);
    parts.get(e.t).push(e);
  }
  for (const list of parts.values()) {
    const leaves = list.filter((e) => uses.get(e.s) === 1 && !inner.has(e.s)).sort((a, b) => a.port - b.port);
    const at = leaves.map((e) => items[e.s]), y = at.length && at[0].y;
    if (at.length < 2 || at.some((t) => t.y !== y)) continue;
    const left = Math.min(...at.map((t) => t.x - t.w / 2)), right = Math.max(...at.map((t) => t.x + t.w / 2));
    const between = members.some((i) => items[i].y === y && items[i].x > left && items[i].x < right && !at.includes(items[i]));
    if (between || at.every((t, k) => !k || at[k - 1].x < t.x)) continue;
    const gap = (right - left - at.reduce((sum, t) => sum + t.w, 0)) / (at.length - 1);
    let x = left;
    for (const t of at) { t.x = x + t.w / 2; x += t.w + gap; }
    leaves.forEach((e) => moved.add(e.s));
  }
  return moved;
};

/** A graph that dagre has laid out, with clusters if it can. Folding may make cycles, so
    edges that go back are turned: with cycles left to it, dagre makes edges of great length. */
graphc.runDagre = function (items, edges, members, clusters, strict) {
  const g = new dagre.graphlib.Graph({ multigraph: true, compound: clusters.length > 0 });
  g.setGraph({ ranksep: 38, nodesep: 24, edgesep: 12, ranker: "tight-tree", align: members.length > 400 ? "UL" : undefined });
  members.forEach((i) => g.setNode(String(i), { width: items[i].w, height: items[i].h }));
  clusters.forEach((c) => g.setNode(c.id, {}));
  clusters.forEach((c) => c.outer && g.setParent(c.id, c.outer));
  if (clusters.length) members.forEach((i) => items[i].around.length && g.setParent(String(i), items[i].around.at(-1)));
  edges.forEach((e, k) => g.setEdge(String(Math.min(e.s, e.t)), String(Math.max(e.s, e.t)), {}, String(k)));
  try {
    dagre.layout(g);
  } catch (error) { // it fails on some graphs with clusters
    if (strict || !clusters.length) throw error;
    return graphc.runDagre(items, edges, members, []);
  }
  return g;
};

/** The unfolded groups around some items, outer ones first. */
graphc.clustersOf = function (shown, members) {
  const found = new Map();
  for (const i of members) {
    shown.items[i].around.forEach((id, depth, path) => {
      if (!found.has(id)) found.set(id, { id, depth, outer: path[depth - 1], items: [], lines: shown.groups.get(id).lines });
      found.get(id).items.push(shown.items[i]);
    });
  }
  return [...found.values()].sort((a, b) => a.depth - b.depth);
};

/** The borders of unfolded groups, once their items have places. */
graphc.placeClusters = function (shown) {
  const deepest = shown.clusters.reduce((most, c) => Math.max(most, c.depth), 0);
  for (const c of shown.clusters) {
    const margin = 10 + 8 * (deepest - c.depth), head = 16 * (deepest - c.depth + 1);
    const least = (of) => c.items.reduce((out, t) => Math.min(out, of(t)), Infinity);
    c.x0 = least((t) => t.x - t.w / 2) - margin;
    c.y0 = least((t) => t.y - t.h / 2) - margin / 2 - head;
    c.x1 = -least((t) => -t.x - t.w / 2) + margin;
    c.y1 = -least((t) => -t.y - t.h / 2) + margin;
  }
};

/** The layer of each item, by longest paths; what needs little stands by its users. */
graphc.layersOf = function (edges, members) {
  const layer = new Map(members.map((i) => [i, 0]));
  const before = new Map(members.map((i) => [i, []]));
  for (const e of edges) if (e.s < e.t) before.get(e.t).push(e.s); // folding may make cycles
  for (const i of members) for (const a of before.get(i)) layer.set(i, Math.max(layer.get(i), layer.get(a) + 1));
  const users = new Map(members.map((i) => [i, []]));
  for (const e of edges) if (e.s < e.t) users.get(e.s).push(e.t);
  for (const i of [...members].reverse()) {
    if (users.get(i).length && new Set(before.get(i).filter((a) => before.get(a).length)).size < 2) {
      layer.set(i, users.get(i).reduce((least, u) => Math.min(least, layer.get(u)), Infinity) - 1);
    }
  }
  return layer;
};

/** Layers, and barycenters within them; linear in items and edges. */
graphc.placeByLayers = function (items, edges, members, layer) {
  const before = new Map(), after = new Map();
  members.forEach((i) => { before.set(i, []); after.set(i, []); });
  for (const e of edges) {
    before.get(e.t).push(e.s);
    after.get(e.s).push(e.t);
  }
  const rows = [];
  for (const i of members) (rows[layer.get(i)] ||= []).push(i);
  const place = () => rows.forEach((row) => {
    let x = -row.reduce((sum, i) => sum + items[i].w + 24, 0) / 2;
    for (const i of row) { items[i].x = x + items[i].w / 2; x += items[i].w + 24; }
  });
  place();
  for (let sweep = 0; sweep < 4; sweep++) {
    const near = sweep % 2 ? after : before;
    for (const row of sweep % 2 ? [...rows].reverse() : rows) {
      const wish = new Map(row.map((i) => {
        const list = near.get(i);
        return [i, list.length ? list.reduce((sum, a) => sum + items[a].x, 0) / list.length : items[i].x];
      }));
      row.sort((a, b) => wish.get(a) - wish.get(b));
    }
    place();
  }
  let y = 0;
  for (const row of rows) {
    const tall = Math.max(...row.map((i) => items[i].h));
    for (const i of row) items[i].y = y + tall / 2;
    y += tall + 38 + Math.min(60, row.length * 2);
  }
  edges.forEach((e) => graphc.direct(items, e));
};

graphc.direct = function (items, e) {
  const a = items[e.s], b = items[e.t];
  const from = [a.x, a.y + a.h / 2], end = [b.x + (e.port - 0.5) * b.w, b.y - b.h / 2];
  const m = (from[1] + end[1]) / 2;
  e.long = Math.abs(end[1] - from[1]) > 200;
  e.d = `M${from}C${from[0]},${m} ${end[0]},${m} ${end}`;
  graphc.bounds(e, [from, end]);
};

/** The forward part on the left going down, the backward part on the right going up. */
graphc.placeSides = function (stage, shown) {
  const { items, edges } = shown;
  const left = [], right = [];
  items.forEach((item, i) => (item.kind === "backward" ? right : left).push(i));
  if (shown.whole && stage.sides && !graphc.placeAround(shown, [left, right])) {
    const edgeOf = new Map(edges.map((e) => [e.number, e]));
    for (const part of stage.sides) {
      part.boxes.forEach((box, k) => ([items[box].x, items[box].y] = part.centers[k]));
      part.edges.forEach((number, k) => {
        const e = edgeOf.get(number);
        e.d = graphc.routePath(part.routes[k]);
        graphc.bounds(e, part.routes[k]);
      });
    }
  } else if (!shown.whole || !stage.sides) for (const members of [left, right]) graphc.placeSome(shown, members);
  const extent = (members) => members.reduce(([x0, x1, y0, y1], i) => {
    const t = items[i];
    return [Math.min(x0, t.x - t.w / 2), Math.max(x1, t.x + t.w / 2), Math.min(y0, t.y - t.h / 2), Math.max(y1, t.y + t.h / 2)];
  }, [Infinity, -Infinity, Infinity, -Infinity]);
  const [, edge, top, bottom] = extent(left);
  if (!right.length) return shown;
  const [first, , above, below] = extent(right);
  const dx = edge + 170 - first;
  const height = Math.max(bottom - top, below - above);
  right.forEach((i) => { items[i].x += dx; items[i].y = height - (items[i].y - above) + top; });
  const flip = (x, y) => [x + dx, height - (y - above) + top];
  for (const e of edges) {
    const a = items[e.s], b = items[e.t];
    if (a.kind === "backward" && b.kind === "backward") {
      e.d = e.d.replace(/(-?[\d.]+(?:e-?\d+)?),(-?[\d.]+(?:e-?\d+)?)/g, (_, x, y) => flip(+x, +y).join(","));
      graphc.bounds(e, [flip(...e.from), flip(...e.end)]);
    } else if (a.kind === "backward" || b.kind === "backward") {
      const sign = a.kind === "backward" ? -1 : 1;
      const from = [a.x + sign * a.w / 2, a.y], end = [b.x - sign * b.w / 2, b.y];
      const m = (from[0] + end[0]) / 2;
      e.d = `M${from}C${m},${from[1]} ${m},${end[1]} ${end}`;
      graphc.bounds(e, [from, end]);
    }
  }
  return shown;
};
