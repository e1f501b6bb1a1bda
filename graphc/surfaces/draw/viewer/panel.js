"use strict";
/* The panel beside the graph. All text goes in as text, never as markup. */
graphc.element = function (tag, content, parent) {
  const made = document.createElement(tag);
  if (content !== undefined) made.textContent = content;
  if (parent) parent.appendChild(made);
  return made;
};

graphc.Panel = class {
  constructor(place, app) { this.place = place; this.app = app; }

  clear() { this.place.replaceChildren(); }

  facts(rows) {
    const list = graphc.element("dl", undefined, this.place);
    for (const [name, value] of rows) {
      if (value === undefined || value === "" || value === null) continue;
      graphc.element("dt", name, list);
      graphc.element("dd", value, list);
    }
  }

  links(title, entries) {
    if (!entries.length) return;
    graphc.element("h3", title, this.place);
    const list = graphc.element("ul", undefined, this.place);
    for (const [text, go] of entries.slice(0, 200)) {
      const a = graphc.element("a", text, graphc.element("li", undefined, list));
      a.tabIndex = 0;
      a.setAttribute("role", "button");
      a.onclick = go;
      a.onkeydown = (event) => { if (event.key === "Enter") go(); };
    }
    if (entries.length > 200) graphc.element("li", `and ${entries.length - 200} more`, list);
  }

  button(text, go) {
    const made = graphc.element("button", text, this.place);
    made.onclick = go;
    return made;
  }

  overview() {
    this.clear();
    const { data } = graphc, { app } = this, stage = app.stageNow;
    const count = (kind) => stage.boxes.filter((b) => b.kind === kind).length;
    graphc.element("h2", "This graph", this.place);
    const sum = (key) => stage.boxes.reduce((total, b) => total + (data.nodes[b.n][key] || 0), 0);
    this.facts([
      ["boxes", String(stage.boxes.length)], ["inputs", String(count("input"))],
      ["forward", String(count("forward"))], ["backward", String(count("backward"))],
      ["flops", graphc.short(sum("f"))], ["bytes", graphc.short(sum("b"))],
      ["sizes", Object.entries(data.sizes).map(([k, v]) => `${k} = ${v}`).join(", ")],
      ["kernels", String(data.kernels.length)], ["note", data.note],
    ]);
    this.changes();
    this.kept();
    if (data.kernels.length) {
      this.links("Kernels", data.kernels.map((k, i) => [`${i}: ${graphc.shorten(k.label)}`, () => this.kernel(i)]));
    }
  }

  changes() {
    const { app } = this, stage = app.stageNow;
    if (!app.added) return;
    if (stage.fired) {
      const laws = new Map();
      for (const f of stage.fired) laws.set(f.law, (laws.get(f.law) || 0) + 1);
      graphc.element("h3", "Rules of this step", this.place);
      const list = graphc.element("ul", undefined, this.place);
      list.id = "laws";
      for (const [law, n] of laws) graphc.element("code", n > 1 ? `${law} (${n} times)` : law, graphc.element("li", undefined, list));
    }
    this.links(`Added (${app.added.length})`, app.added.map((i) => [stage.boxes[i].lines[0], () => app.goTo(i)]));
    if (app.removed.length) {
      graphc.element("h3", `Removed (${app.removed.length})`, this.place);
      const list = graphc.element("ul", undefined, this.place);
      list.id = "removed";
      for (const text of app.removed.slice(0, 100)) graphc.element("li", text, list);
    }
  }

  kept() {
    const { app } = this, stage = app.stageNow, kept = app.keptBoxes();
    if (!kept.length) return;
    const bytes = kept.map((i) => `${graphc.data.nodes[stage.boxes[i].n].size}`);
    this.links(`The backward reads (${kept.length})`, kept.map((i, k) => [`${stage.boxes[i].lines[0]}: ${bytes[k]} bytes`, () => app.goTo(i)]));
  }

  group(item) {
    this.clear();
    const { app } = this, stage = app.stageNow;
    graphc.element("h2", item.lines[0], this.place);
    const total = (key) => graphc.short(item.boxes.reduce((sum, b) => sum + (graphc.data.nodes[stage.boxes[b].n][key] || 0), 0));
    this.facts([["nodes", String(item.boxes.length)], ["flops", total("f")], ["bytes", total("b")], ["made at", item.lines[1]]]);
    this.button("unfold (f)", () => app.toggle(item.group)).id = "unfold";
    this.links("Members", item.boxes.map((b) => [stage.boxes[b].lines.join("  "), () => app.goTo(b)]));
    const row = graphc.data.nodes[stage.boxes[item.boxes[0]].n];
    if (app.by === "kernel") this.listing(row.kernels[0]);
  }

  node(i) {
    this.clear();
    const { app } = this, stage = app.stageNow, box = stage.boxes[i], { data } = graphc;
    const row = data.nodes[box.n], line = data.lines[row.line], flow = data.flow;
    const cost = (text, n) => (text === undefined ? undefined : String(n) === text ? text : `${text} = ${graphc.short(n || 0)}`);
    graphc.element("h2", box.lines[0], this.place);
    this.facts([
      ["op", row.op], ["name", row.name], ["type", row.type], ["formula", row.formula],
      ["params", (row.params || []).join(", ")], ["kind", box.kind], ["output", box.out ? box.lines.slice(2).join(", ") || "yes" : ""],
      ["made at", line && `${line.file}:${line.line}`], ["source", line && line.text],
      ["flops", row.flops], ["function calls", row.calls], ["flops and calls", /^\d*$/.test(row.flops || "") ? "" : graphc.short(row.f || 0)],
      ["bytes moved", cost(row.bytes, row.b)], ["its size", row.size && `${row.size} bytes`],
      ["kernel", row.kernels ? row.kernels.join(", ") : data.kernels.length && box.kind !== "input" ? "none: rewritten, or in memory" : ""],
    ]);
    if (flow && flow.values[box.n]) {
      graphc.element("h3", "Value", this.place);
      graphc.element("pre", flow.values[box.n][1], this.place).className = "value";
      if (flow.gradients[box.n]) {
        graphc.element("h3", "Gradient of the first scalar output by it", this.place);
        graphc.element("pre", flow.gradients[box.n][1], this.place).className = "gradient";
      }
    }
    if (app.shown.groupOf[i] !== null) this.button("fold its group (f)", () => app.toggle(app.shown.groupOf[i])).id = "fold";
    const named = (b) => [stage.boxes[b].lines.join("  "), () => app.goTo(b)];
    this.links("Arguments", app.argumentsOf(i).map(named));
    this.links("Used by", app.usersOf(i).map(named));
    (row.kernels || []).slice(0, 3).forEach((k) => this.listing(k));
  }

  kernel(i) {
    this.clear();
    this.listing(i);
    const stage = this.app.stageNow;
    const members = stage.boxes.map((_, b) => b).filter((b) => (graphc.data.nodes[stage.boxes[b].n].kernels || []).includes(i));
    this.links("Its nodes in this stage", members.map((b) => [stage.boxes[b].lines.join("  "), () => this.app.goTo(b)]));
  }

  listing(k) {
    graphc.element("h3", `Kernel ${k}: ${graphc.data.kernels[k].label}`, this.place);
    graphc.element("pre", graphc.data.kernels[k].source, this.place).className = "listing";
  }

  help() {
    this.clear();
    graphc.element("h2", "Keys", this.place);
    this.facts([
      ["drag, wheel", "pan, zoom"], ["arrows", "pan; with a box selected, go to its arguments, users and neighbours"],
      ["+ - 0", "zoom in, out, fit"], ["/", "find; Enter goes to the next hit"], ["f", "fold or unfold; also a double click"],
      ["[ ]", "step through the passes"], [", . space", "a node back, a node on, play"], ["b", "forward and backward side by side"],
      ["c", "next colouring"], ["Esc", "select nothing"],
    ]);
  }
};

graphc.short = function (n) {
  for (const [unit, size] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]]) if (n >= size) return `${+(n / size).toPrecision(3)} ${unit}`;
  return String(n);
};
