"use strict";
/* The state of the page, and what keys, clicks and controls do to it. */
graphc.App = class {
  constructor() {
    const get = (id) => document.getElementById(id);
    this.get = get;
    this.data = graphc.data;
    this.stage = 0;
    this.by = "";
    this.open = new Set();
    this.openAll = false;
    this.side = false;
    this.colour = "";
    this.selected = null; // a box
    this.selectedGroup = null;
    this.hits = [];
    this.hit = -1;
    this.view = new graphc.View(get("canvas"));
    this.panel = new graphc.Panel(get("panel"), this);
    this.player = new graphc.Player(this);
    this.view.style = {
      classes: (t) => this.classes(t), fill: (t) => this.fill(t),
      extra: (t) => (t.group ? [] : this.player.extra(t.boxes[0])),
      clusterClass: (c) => (c.id === this.selectedGroup ? "selected" : ""), edgeClass: (e) => this.edgeClass(e), edgeTexts: (e) => this.player.edgeTexts(e),
    };
    this.data.stages.forEach((stage, i) => {
      const option = graphc.element("option", `${i}: ${stage.name}`, get("stage"));
      option.value = String(i);
    });
    const disable = (id, value) => (get(id).querySelector(`[value=${value}]`).disabled = true);
    if (!this.data.kernels.length) disable("group", "kernel");
    if (!this.data.scopes.length) disable("group", "scope");
    if (!this.data.steps.length) disable("colour", "t");
    const boxes = this.data.stages[0].boxes.length, given = this.data.scopes.some((s) => !s.function);
    if (boxes > (given ? 100 : 300)) {
      this.by = given ? "scope" : "line";
      this.side = get("side").checked = this.data.stages[0].boxes.some((b) => b.kind === "backward");
    }
    get("group").value = this.by;
    this.listen();
    this.setStage(0);
  }

  get stageNow() { return this.data.stages[this.stage]; }

  setStage(number) {
    this.stage = Math.max(0, Math.min(this.data.stages.length - 1, number));
    const stage = this.stageNow;
    this.get("stage").value = String(this.stage);
    this.get("stage-back").disabled = this.stage === 0;
    this.get("stage-next").disabled = this.stage === this.data.stages.length - 1;
    this.selected = this.selectedGroup = null;
    this.added = null;
    if (this.stage > 0) {
      const before = this.data.stages[this.stage - 1];
      const old = new Set(before.boxes.map((b) => b.n)), now = new Set(stage.boxes.map((b) => b.n));
      const fresh = stage.boxes.map((_, i) => i).filter((i) => !old.has(stage.boxes[i].n));
      const gone = before.boxes.filter((b) => !now.has(b.n));
      this.compare(fresh, gone);
    }
    this.addedSet = new Set(this.added || []);
    const count = `${stage.boxes.length} boxes`;
    this.get("stage-note").textContent = this.added ? `${count}: ${this.added.length} added, ${this.removed.length} removed` : count;
    this.users = null;
    const both = stage.boxes.some((b) => b.kind === "backward");
    this.get("side").disabled = !both;
    this.get("side-tools").hidden = !both;
    this.player.load();
    this.find();
    this.layout(true);
    this.panel.overview();
  }

  /** Nodes are immutable: what stands on something new is new too, though it reads the
      same. Only what has no counterpart among those that went was made by a rule. */
  compare(fresh, gone) {
    const text = (box) => {
      const row = this.data.nodes[box.n]; // a title names arguments, so it may change
      return [row.op, row.name, row.params, row.type, row.line, ...box.lines.slice(2)].join("\n");
    };
    const left = new Map();
    for (const box of gone) left.set(text(box), (left.get(text(box)) || 0) + 1);
    this.added = [];
    this.rebuilt = new Set();
    for (const i of fresh) {
      const key = text(this.stageNow.boxes[i]);
      if (left.get(key)) { left.set(key, left.get(key) - 1); this.rebuilt.add(i); } else this.added.push(i);
    }
    this.removed = [];
    for (const box of gone) if (left.get(text(box))) { left.set(text(box), left.get(text(box)) - 1); this.removed.push(box.lines[0]); }
  }

  layout(fit) {
    this.shown = graphc.visible(this.stageNow, this.by, (id) => this.openAll || this.open.has(id));
    const range = this.colour ? this.shown.items.map((t) => this.costOf(t)).filter((v) => v > 0) : [];
    this.low = range.reduce((a, b) => Math.min(a, b), Infinity);
    this.high = range.reduce((a, b) => Math.max(a, b), 0);
    graphc.place(this.stageNow, this.shown, this.side && this.stageNow.boxes.some((b) => b.kind === "backward"));
    this.kept = new Set(this.side ? this.shown.edges.filter((e) => e.read).map((e) => e.s) : []);
    this.shown.items.forEach((t, i) => (t.index = i));
    graphc.placeClusters(this.shown);
    this.view.show(this.shown);
    if (fit) this.view.start();
    this.legend();
  }

  // ------------------------------------------------------------------ looks

  costOf(t) {
    if (this.colour === "t") return this.timeOf(t.boxes);
    return t.boxes.reduce((sum, b) => sum + (this.data.nodes[this.stageNow.boxes[b].n][this.colour] || 0), 0);
  }

  /** Seconds of the steps that compute some boxes, each once: what is fused into one
      kernel, or run in one pipeline, cannot be timed apart. */
  timeOf(boxes) {
    const { kernels, nodes, steps } = this.data, found = new Set();
    for (const b of boxes) for (const k of nodes[this.stageNow.boxes[b].n].kernels || []) found.add(kernels[k].step);
    return [...found].reduce((sum, s) => sum + (steps[s] || 0), 0);
  }

  stepText(row) {
    const { kernels } = this.data, step = kernels[row.kernels[0]].step;
    return kernels.filter((k) => k.step === step).length > 1 ? "pipeline" : "kernel";
  }

  fill(t) { return this.colour ? graphc.heat(this.costOf(t), this.low, this.high) : null; }

  classes(t) {
    const out = [];
    if (t.group ? this.selectedGroup === t.group : t.boxes[0] === this.selected) out.push("selected");
    if (this.hitSet && t.boxes.some((b) => this.hitSet.has(b))) out.push("hit");
    if (this.kept.has(t.index)) out.push("kept");
    if (t.boxes.some((b) => this.addedSet.has(b))) out.push("added");
    else if (this.added && t.boxes.some((b) => this.rebuilt.has(b))) out.push("rebuilt");
    const now = this.player.now();
    if (now) {
      if (t.boxes.includes(now[1])) out.push("now");
      if (!t.boxes.some((b) => this.player.reached("value", b))) out.push("waiting");
    }
    return out.join(" ");
  }

  edgeClass(e) {
    const at = (i) => { const t = this.shown.items[i]; return t.group ? t.group === this.selectedGroup : t.boxes[0] === this.selected; };
    if (at(e.s) || at(e.t)) return "near";
    return this.side && e.read ? "read" : e.long ? "long" : "";
  }

  legend() {
    const place = this.get("legend");
    place.replaceChildren();
    const entry = (text) => graphc.element("span", text, place);
    if (this.colour) {
      const show = this.colour === "t" ? graphc.seconds : graphc.short;
      entry(show(this.low === Infinity ? 0 : this.low));
      const bar = graphc.element("i", undefined, place);
      bar.className = "scale";
      bar.style.background = `linear-gradient(to right, ${graphc.SCALE.join(",")})`;
      const sizes = Object.entries(this.data.sizes).map(([k, v]) => `${k} = ${v}`).join(", ");
      if (this.colour === "t") entry(`${show(this.high)} measured, of the step that computes it`);
      else entry(`${show(this.high)} ${this.colour === "b" ? "bytes" : "flops"}${sizes ? " with " + sizes : ""}`);
      return;
    }
    for (const kind of ["input", "constant", "forward", "backward"]) {
      if (!this.stageNow.boxes.some((b) => b.kind === kind)) continue;
      const span = entry("");
      const swatch = graphc.element("i", undefined, span);
      swatch.style.cssText = `background: var(--${kind}); border-color: var(--${kind}-edge)`;
      span.append(kind);
    }
    if (this.shown.items.some((t) => t.out)) entry("double border: output");
    if (this.side) entry("thick: read by the backward");
    if (this.added) entry("pink: added by this step; dashed: on new arguments");
  }

  // -------------------------------------------------------------- selection

  select(item) {
    this.selected = item && !item.group ? item.boxes[0] : null;
    this.selectedGroup = item ? item.group : null;
    this.view.redraw();
    if (!item) this.panel.overview();
    else if (item.group) this.panel.group(item);
    else this.panel.node(item.boxes[0]);
  }

  itemOf(box) { return this.shown.items[this.shown.itemOf[box]]; }

  goTo(box) {
    if (this.itemOf(box).group) { this.shown.paths[box].forEach((id) => this.open.add(id)); this.layout(false); }
    this.view.center(this.itemOf(box));
    this.select(this.itemOf(box));
  }

  toggle(group) {
    if (this.openAll) { this.openAll = false; this.shown.groups.forEach((_, id) => this.open.add(id)); }
    if (this.open.has(group)) this.open.delete(group); else this.open.add(group);
    const box = this.shown.groups.get(group).boxes[0];
    this.layout(false);
    this.view.center(this.itemOf(box));
    this.select(this.itemOf(box));
  }

  /** The group that `f` folds or unfolds: the selected one, or that around a box. */
  groupHere() { return this.selectedGroup ?? (this.selected === null ? null : this.shown.paths[this.selected].at(-1) ?? null); }

  links() {
    if (this.users) return;
    this.users = this.stageNow.boxes.map(() => []);
    this.args = this.stageNow.boxes.map(() => []);
    for (const [s, t] of this.stageNow.edges) {
      if (!this.users[s].includes(t)) this.users[s].push(t);
      this.args[t].push(s);
    }
  }

  argumentsOf(box) { this.links(); return this.args[box]; }

  usersOf(box) { this.links(); return this.users[box]; }

  keptBoxes() {
    const boxes = this.stageNow.boxes, out = new Set();
    for (const [s, t] of this.stageNow.edges) if (boxes[s].kind !== "backward" && boxes[t].kind === "backward") out.add(s);
    return [...out].sort((a, b) => a - b);
  }

  // ----------------------------------------------------------------- search

  find() {
    const wanted = this.get("search").value.trim().toLowerCase();
    this.hits = [];
    this.hit = -1;
    if (wanted) {
      this.stageNow.boxes.forEach((box, i) => {
        const row = this.data.nodes[box.n], line = this.data.lines[row.line];
        const text = [...box.lines, row.op, row.name, row.written, ...graphc.scopesOf(row).map((s) => this.data.scopes[s].name), line ? `${line.file}:${line.line} ${line.text}` : ""].join("\n");
        if (text.toLowerCase().includes(wanted)) this.hits.push(i);
      });
    }
    this.hitSet = wanted ? new Set(this.hits) : null;
    this.get("hits").textContent = wanted ? `${this.hits.length} found` : "";
  }

  nextHit(step) {
    if (!this.hits.length) return;
    this.hit = (this.hit + step + this.hits.length) % this.hits.length;
    this.get("hits").textContent = `${this.hit + 1} of ${this.hits.length}`;
    this.goTo(this.hits[this.hit]);
  }

  // ----------------------------------------------------------------- events

  listen() {
    const { get, view } = this;
    const on = (id, event, go) => get(id).addEventListener(event, go);
    on("search", "input", () => { this.find(); view.redraw(); });
    on("search", "keydown", (e) => { if (e.key === "Enter") this.nextHit(e.shiftKey ? -1 : 1); if (e.key === "Escape") { get("search").value = ""; this.find(); view.redraw(); get("canvas").focus(); } });
    on("group", "change", () => { this.by = get("group").value; this.open.clear(); this.openAll = false; this.select(null); this.layout(true); });
    on("fold-all", "click", () => { if (!this.by) { this.by = this.data.scopes.some((s) => !s.function) ? "scope" : "line"; get("group").value = this.by; } this.openAll = false; this.open.clear(); this.select(null); this.layout(true); });
    on("open-all", "click", () => { this.openAll = true; this.select(null); this.layout(true); });
    on("colour", "change", () => { this.colour = get("colour").value; this.layout(false); });
    on("side", "change", () => { this.side = get("side").checked; this.layout(true); });
    on("fit", "click", () => view.fit());
    on("help", "click", () => this.panel.help());
    on("theme", "click", () => {
      const root = document.documentElement;
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
    });
    on("stage", "change", () => this.setStage(+get("stage").value));
    on("stage-back", "click", () => this.setStage(this.stage - 1));
    on("stage-next", "click", () => this.setStage(this.stage + 1));
    on("play", "click", () => this.player.toggle());
    on("play-back", "click", () => this.player.go((this.player.time ?? this.player.steps.length) - 1));
    on("play-next", "click", () => this.player.go((this.player.time ?? -1) + 1));
    on("time", "input", () => this.player.go(+get("time").value));
    this.listenToCanvas();
    document.addEventListener("keydown", (e) => this.key(e));
    addEventListener("resize", () => view.later());
  }

  listenToCanvas() {
    const canvas = this.get("canvas"), { view } = this;
    let last = null, moved = 0;
    canvas.addEventListener("pointerdown", (e) => { last = [e.clientX, e.clientY]; moved = 0; });
    addEventListener("pointermove", (e) => {
      if (!last) return;
      const dx = e.clientX - last[0], dy = e.clientY - last[1];
      moved += Math.abs(dx) + Math.abs(dy);
      if (moved < 4) return;
      canvas.classList.add("moving");
      view.pan(dx, dy);
      last = [e.clientX, e.clientY];
    });
    addEventListener("pointerup", () => { last = null; canvas.classList.remove("moving"); });
    canvas.addEventListener("wheel", (e) => {
      e.preventDefault();
      const at = canvas.getBoundingClientRect();
      view.zoom(Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.0015)), e.clientX - at.left, e.clientY - at.top);
    }, { passive: false });
    canvas.addEventListener("click", (e) => { if (moved < 4) this.select(this.itemAt(e)); });
    canvas.addEventListener("dblclick", (e) => {
      const item = this.itemAt(e);
      const group = item && (item.group || this.shown.paths[item.boxes[0]].at(-1));
      if (group) this.toggle(group);
    });
  }

  itemAt(e) {
    const at = this.get("canvas").getBoundingClientRect(), { view } = this;
    const x = (e.clientX - at.left - view.x) / view.scale, y = (e.clientY - at.top - view.y) / view.scale;
    const item = this.shown.items.find((t) => Math.abs(x - t.x) <= t.w / 2 && Math.abs(y - t.y) <= t.h / 2);
    const around = this.shown.clusters.filter((c) => x > c.x0 && x < c.x1 && y > c.y0 && y < c.y1).pop();
    return item || (around ? { group: around.id, boxes: this.shown.groups.get(around.id).boxes, lines: around.lines } : null);
  }

  key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT)$/.test(e.target.tagName)) return;
    if (e.target.tagName === "BUTTON" && (e.key === " " || e.key === "Enter")) return;
    const { view, player } = this, colours = [...this.get("colour").options].filter((o) => !o.disabled).map((o) => o.value);
    const keys = {
      "/": () => this.get("search").focus(), "+": () => view.zoom(1.25), "=": () => view.zoom(1.25), "-": () => view.zoom(0.8), 0: () => view.fit(),
      "[": () => this.setStage(this.stage - 1), "]": () => this.setStage(this.stage + 1),
      ",": () => player.go((player.time ?? player.steps.length) - 1), ".": () => player.go((player.time ?? -1) + 1), " ": () => player.toggle(),
      n: () => this.nextHit(1), p: () => this.nextHit(-1), "?": () => this.panel.help(),
      f: () => { const g = this.groupHere(); if (g !== null) this.toggle(g); },
      b: () => { if (!this.get("side").disabled) { this.side = this.get("side").checked = !this.side; this.layout(true); } },
      c: () => { this.colour = this.get("colour").value = colours[(colours.indexOf(this.colour) + 1) % colours.length]; this.layout(false); },
      Escape: () => { if (player.time !== null) player.end(); else this.select(null); },
      ArrowUp: () => this.walk(0, -1), ArrowDown: () => this.walk(0, 1), ArrowLeft: () => this.walk(-1, 0), ArrowRight: () => this.walk(1, 0),
    };
    if (!keys[e.key]) return;
    e.preventDefault();
    keys[e.key]();
  }

  walk(dx, dy) {
    if (this.selected === null) { this.view.pan(-60 * dx, -60 * dy); return; }
    let next;
    if (dy) next = (dy < 0 ? this.argumentsOf(this.selected) : this.usersOf(this.selected))[0];
    else {
      const here = this.itemOf(this.selected);
      const row = this.shown.items.filter((t) => !t.group && Math.abs(t.y - here.y) < 1 && (t.x - here.x) * dx > 0);
      row.sort((a, b) => Math.abs(a.x - here.x) - Math.abs(b.x - here.x));
      next = row.length ? row[0].boxes[0] : undefined;
    }
    if (next !== undefined) this.goTo(next);
  }
};

graphc.app = new graphc.App();
