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

  /** A box in a list: what it is and its type, and the user's words if it has none. */
  named(b) {
    const box = this.app.stageNow.boxes[b], row = graphc.data.nodes[box.n];
    const words = /\u00b7|^\w+$/.test(box.lines[0]) && box.kind !== "input" && row.written ? `  in ${graphc.shorten(row.written)}` : "";
    return box.lines.slice(0, 2).join("  ") + words;
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
      ["measured time", data.steps.length ? graphc.seconds(data.steps.reduce((a, b) => a + b, 0)) : ""],
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
    this.links(`The backward reads (${kept.length})`, kept.map((i, k) => [`${this.named(i)}: ${bytes[k]} bytes`, () => app.goTo(i)]));
  }

  group(item) {
    this.clear();
    const { app } = this, stage = app.stageNow;
    graphc.element("h2", item.lines[0], this.place);
    const total = (key) => graphc.short(item.boxes.reduce((sum, b) => sum + (graphc.data.nodes[stage.boxes[b].n][key] || 0), 0));
    const open = app.openAll || app.open.has(item.group), time = app.timeOf(item.boxes);
    this.facts([["nodes", String(item.boxes.length)], ["flops", total("f")], ["bytes", total("b")], ["measured time", time ? graphc.seconds(time) : ""], ["about", item.lines.slice(1).join("; ")]]);
    this.button(open ? "fold (f)" : "unfold (f)", () => app.toggle(item.group)).id = open ? "fold" : "unfold";
    this.links("Members", item.boxes.map((b) => [this.named(b), () => app.goTo(b)]));
    const row = graphc.data.nodes[stage.boxes[item.boxes[0]].n];
    if (app.by === "kernel" && row.kernels) this.listing(row.kernels[0]);
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
      ["written", row.written !== (line && line.text) ? row.written : ""],
      ["scope", graphc.scopesOf(row).map((s) => data.scopes[s].name).join(" / ")],
      ["flops", row.flops], ["function calls", row.calls], ["flops and calls", /^\d*$/.test(row.flops || "") ? "" : graphc.short(row.f || 0)],
      ["bytes moved", cost(row.bytes, row.b)], ["its size", row.size && `${row.size} bytes`],
      ["measured time", data.steps.length && row.kernels ? `${graphc.seconds(app.timeOf([i]))} of its ${app.stepText(row)}` : ""],
      ["kernel", row.kernels ? row.kernels.join(", ") + (row.merged ? ", into which it was rewritten" : "") : data.kernels.length && box.kind !== "input" ? "none: rewritten, or in memory" : ""],
    ]);
    if (flow && flow.values[box.n]) {
      graphc.element("h3", "Value", this.place);
      graphc.element("pre", flow.values[box.n][1], this.place).className = "value";
      if (flow.gradients[box.n]) {
        graphc.element("h3", "Gradient of the first scalar output by it", this.place);
        graphc.element("pre", flow.gradients[box.n][1], this.place).className = "gradient";
      }
    }
    const group = app.shown.paths[i].at(-1);
    if (group !== undefined) this.button("fold its group (f)", () => app.toggle(group)).id = "fold";
    const named = (b) => [this.named(b), () => app.goTo(b)];
    this.links("Arguments", app.argumentsOf(i).map(named));
    this.links("Used by", app.usersOf(i).map(named));
    (row.kernels || []).slice(0, 3).forEach((k) => this.listing(k));
  }

  kernel(i) {
    this.clear();
    this.listing(i);
    const stage = this.app.stageNow;
    const members = stage.boxes.map((_, b) => b).filter((b) => (graphc.data.nodes[stage.boxes[b].n].kernels || []).includes(i));
    this.links("Its nodes in this stage", members.map((b) => [this.named(b), () => this.app.goTo(b)]));
  }

  listing(k) {
    const { kernels, steps } = graphc.data, { label, step } = kernels[k];
    graphc.element("h3", `Kernel ${k}: ${label.length > 120 ? label.slice(0, 120) + "\u2026" : label}`, this.place);
    if (steps[step] !== undefined) {
      const shared = kernels.filter((other) => other.step === step).length > 1 ? ", of the pipeline it is part of" : "";
      graphc.element("p", `${graphc.seconds(steps[step])} measured${shared}`, this.place);
    }
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

graphc.seconds = function (t) {
  for (const [unit, size] of [["s", 1], ["ms", 1e-3], ["\u00b5s", 1e-6]]) if (t >= size) return `${+(t / size).toPrecision(3)} ${unit}`;
  return `${+(t * 1e9).toPrecision(3)} ns`;
};

graphc.short = function (n) {
  for (const [unit, size] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]]) if (n >= size) return `${+(n / size).toPrecision(3)} ${unit}`;
  return String(n);
};
