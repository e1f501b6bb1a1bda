"use strict";
/* Drawing: only what lies in the window, and from afar only masses of colour. */
graphc.DETAIL_MOST = 700;

graphc.svg = function (tag, attributes, parent) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (parent) parent.appendChild(made);
  return made;
};

graphc.View = class {
  constructor(canvas) {
    this.canvas = canvas;
    this.world = canvas.querySelector("#world");
    this.clusterLayer = canvas.querySelector("#clusters");
    this.edgeLayer = canvas.querySelector("#edges");
    this.itemLayer = canvas.querySelector("#items");
    this.x = 0; this.y = 0; this.scale = 1;
    this.shown = { items: [], edges: [], clusters: [] };
    this.waiting = false;
    this.drawnItems = new Map();
    this.drawnEdges = new Map();
    this.style = { classes: () => "", fill: () => null, extra: () => [], clusterClass: () => "", edgeClass: () => "", edgeTexts: () => null };
  }

  show(shown) {
    this.shown = shown;
    this.redraw();
  }

  redraw() {
    this.edgeLayer.replaceChildren();
    this.itemLayer.replaceChildren();
    this.drawnItems.clear();
    this.drawnEdges.clear();
    this.clusterLayer.replaceChildren();
    for (const c of this.shown.clusters) this.drawCluster(c);
    this.draw();
  }

  drawCluster(c) {
    const g = graphc.svg("g", { class: `cluster ${this.style.clusterClass(c)}`, "data-id": c.id }, this.clusterLayer);
    graphc.svg("rect", { x: c.x0, y: c.y0, width: c.x1 - c.x0, height: c.y1 - c.y0, rx: 8 }, g);
    graphc.svg("text", { x: c.x0 + 8, y: c.y0 + 14, style: "text-anchor:start" }, g).textContent = c.lines[0];
  }

  extent() {
    let out = [Infinity, Infinity, -Infinity, -Infinity];
    for (const t of this.shown.items) {
      out = [Math.min(out[0], t.x - t.w / 2), Math.min(out[1], t.y - t.h / 2), Math.max(out[2], t.x + t.w / 2), Math.max(out[3], t.y + t.h / 2)];
    }
    return out;
  }

  fit() {
    const [x0, y0, x1, y1] = this.extent();
    const w = this.canvas.clientWidth, h = this.canvas.clientHeight;
    if (!(x1 > x0) || !w) return;
    const foot = 48; // the legend's
    this.scale = Math.max(0.002, Math.min(1.25, (w - 40) / (x1 - x0), (h - 20 - foot) / (y1 - y0)));
    this.x = w / 2 - this.scale * (x0 + x1) / 2;
    this.y = (h - foot + 10) / 2 - this.scale * (y0 + y1) / 2;
    this.later();
  }

  /** What is first seen: all of it if that can be read, else where it begins. */
  start() {
    this.fit();
    if (this.scale >= 0.3) return;
    const [x0, y0, x1] = this.extent(), w = this.canvas.clientWidth;
    const middle = (x0 + x1) / 2, off = (t) => Math.abs(t.x - middle);
    const row = this.shown.items.filter((t) => t.y - t.h / 2 < y0 + 40);
    const first = row.reduce((a, b) => (off(b) < off(a) ? b : a), row[0]);
    this.scale = Math.min(0.6, Math.max(0.3, (w - 40) / (x1 - x0)));
    this.x = w / 2 - this.scale * ((x1 - x0) * this.scale < w ? middle : first.x);
    this.y = 30 - this.scale * y0;
  }

  /** Move as little as brings an item into the window. */
  reveal(item) {
    const w = this.canvas.clientWidth, h = this.canvas.clientHeight;
    const x = this.x + this.scale * item.x, y = this.y + this.scale * item.y;
    if (x > 0 && x < w && y > 0 && y < h) return;
    this.x = w / 2 - this.scale * item.x;
    this.y = h / 2 - this.scale * item.y;
  }

  zoom(factor, cx, cy) {
    const scale = Math.min(4, Math.max(0.002, this.scale * factor));
    const f = scale / this.scale;
    cx ??= this.canvas.clientWidth / 2;
    cy ??= this.canvas.clientHeight / 2;
    this.x = cx - f * (cx - this.x);
    this.y = cy - f * (cy - this.y);
    this.scale = scale;
    this.later();
  }

  pan(dx, dy) { this.x += dx; this.y += dy; this.later(); }

  center(item) {
    this.scale = Math.max(this.scale, 0.7);
    this.x = this.canvas.clientWidth / 2 - this.scale * item.x;
    this.y = this.canvas.clientHeight / 2 - this.scale * item.y;
    this.later();
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  draw() {
    const { items, edges } = this.shown;
    this.world.setAttribute("transform", `translate(${this.x},${this.y}) scale(${this.scale})`);
    this.clusterLayer.style.fontSize = `${Math.min(24, Math.max(12, 9 / this.scale))}px`;
    const m = 60 / this.scale;
    const x0 = -this.x / this.scale - m, y0 = -this.y / this.scale - m;
    const x1 = x0 + this.canvas.clientWidth / this.scale + 2 * m, y1 = y0 + this.canvas.clientHeight / this.scale + 2 * m;
    const near = items.filter((t) => t.x + t.w / 2 > x0 && t.x - t.w / 2 < x1 && t.y + t.h / 2 > y0 && t.y - t.h / 2 < y1);
    const nearEdges = edges.filter((e) => e.box && e.box[2] >= x0 && e.box[0] <= x1 && e.box[3] >= y0 && e.box[1] <= y1);
    const far = near.length > graphc.DETAIL_MOST || nearEdges.length > 3 * graphc.DETAIL_MOST;
    if (far !== this.far) {
      this.far = far;
      this.edgeLayer.replaceChildren(); this.itemLayer.replaceChildren();
      this.drawnItems.clear(); this.drawnEdges.clear();
    }
    if (far) this.drawMasses();
    else {
      this.keep(this.drawnItems, near, (t) => this.drawItem(t));
      this.keep(this.drawnEdges, nearEdges, (e) => this.drawEdge(e));
    }
  }

  keep(drawn, wanted, draw) {
    const set = new Set(wanted);
    for (const [key, element] of drawn) if (!set.has(key)) { element.remove(); drawn.delete(key); }
    for (const key of wanted) if (!drawn.has(key)) drawn.set(key, draw(key));
  }

  drawMasses() {
    if (this.edgeLayer.firstChild) return;
    const masses = {};
    for (const t of this.shown.items) {
      const fill = this.style.fill(t);
      const key = fill ? fill.fill : t.kind;
      (masses[key] ||= { fill, d: [] }).d.push(`M${t.x - t.w / 2} ${t.y - t.h / 2}h${t.w}v${t.h}h${-t.w}z`);
    }
    graphc.svg("path", { class: "edge far", d: this.shown.edges.map((e) => `M${e.from}L${e.end}`).join("") }, this.edgeLayer);
    for (const key in masses) {
      const path = graphc.svg("path", { class: "mass " + (masses[key].fill ? "" : key), d: masses[key].d.join("") }, this.itemLayer);
      if (masses[key].fill) path.style.fill = key;
    }
  }

  drawItem(t) {
    const g = graphc.svg("g", { class: `item ${t.kind}${t.group ? " group" : ""} ${this.style.classes(t)}`, "data-id": t.id, role: "button", "aria-label": t.lines.join(", ") }, this.itemLayer);
    const x = t.x - t.w / 2, y = t.y - t.h / 2;
    graphc.svg("path", { class: "shape", d: graphc.outline(t.kind, !!t.group, x, y, t.w, t.h) }, g);
    if (t.out) graphc.svg("path", { class: "ring", d: graphc.outline(t.kind, !!t.group, x + 3, y + 3, t.w - 6, t.h - 6) }, g);
    const fill = this.style.fill(t);
    if (fill) g.querySelector(".shape").style.fill = fill.fill;
    const lines = t.lines.map((text, i) => [text, i ? "" : "title"]).concat(this.style.extra(t));
    lines.forEach(([text, kind], i) => {
      const element = graphc.svg("text", { x: t.x, y: y + 17.4 + i * 15, class: kind }, g);
      element.textContent = text;
      if (fill) element.style.fill = fill.text;
    });
    return g;
  }

  drawEdge(e) {
    const g = graphc.svg("g", {}, this.edgeLayer);
    const path = graphc.svg("path", { class: `edge ${e.back ? "back" : ""} ${this.style.edgeClass(e)}`, d: e.d }, g);
    if (e.count > 1) path.style.strokeWidth = Math.min(3.6, 1.3 + 0.6 * Math.log2(e.count));
    const texts = this.style.edgeTexts(e);
    if (texts) {
      const left = e.port < 0.5;
      const anchor = `text-anchor:${left ? "end" : "start"}`;
      texts.forEach(([text, kind]) => {
        const y = e.end[1] - (kind === "edge-value" ? 20 : 9);
        const element = graphc.svg("text", { x: e.end[0] + (left ? -5 : 5), y, class: kind, style: anchor }, g);
        element.textContent = text;
      });
    }
    return g;
  }
};

/** The border of a box: its shape tells its kind. */
graphc.outline = function (kind, group, x, y, w, h) {
  if (group) return `M${x + 6} ${y}h${w - 6}v${h - 6}l-6 6h${6 - w}v${6 - h}zM${x} ${y + 6}`;
  if (kind === "constant") return `M${x} ${y}h${w}v${h}h${-w}z`;
  if (kind === "backward") return `M${x + 9} ${y}h${w - 18}l9 ${h / 2}l-9 ${h / 2}h${18 - w}l-9 ${-h / 2}z`;
  const r = Math.min(kind === "input" ? h / 2 : 5, w / 2, h / 2);
  return `M${x + r} ${y}h${w - 2 * r}a${r} ${r} 0 0 1 ${r} ${r}v${h - 2 * r}a${r} ${r} 0 0 1 ${-r} ${r}h${2 * r - w}a${r} ${r} 0 0 1 ${-r} ${-r}v${2 * r - h}a${r} ${r} 0 0 1 ${r} ${-r}z`;
};
