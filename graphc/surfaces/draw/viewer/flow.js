"use strict";
/* Forward and backward propagation, one node at a time; and colours of costs. */
graphc.Player = class {
  constructor(app) { this.app = app; this.timer = null; this.time = null; this.steps = []; }

  /** The order of a stage: values first, then gradients the other way round. */
  load() {
    this.stop();
    this.time = null;
    const flow = graphc.data.flow, boxes = this.app.stageNow.boxes;
    this.steps = boxes.map((_, i) => ["value", i]);
    if (flow) {
      for (let i = boxes.length - 1; i >= 0; i--) if (flow.gradients[boxes[i].n]) this.steps.push(["gradient", i]);
    }
    this.when = { value: new Map(), gradient: new Map() };
    this.steps.forEach(([what, i], t) => this.when[what].set(i, t));
    this.note();
  }

  toggle() { if (this.timer) this.stop(); else this.start(); }

  start() {
    if (this.time === null || this.time >= this.steps.length - 1) this.time = -1;
    this.timer = setInterval(() => {
      this.go(this.time + 1);
      if (this.time >= this.steps.length - 1) this.stop();
    }, Math.max(40, Math.min(700, 20000 / this.steps.length)));
    this.note();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.note();
  }

  go(time) {
    this.time = Math.max(0, Math.min(this.steps.length - 1, time));
    this.note();
    const now = this.now();
    if (now) this.app.view.reveal(this.app.itemOf(now[1]));
    this.app.view.redraw();
  }

  end() { this.stop(); this.time = null; this.note(); this.app.view.redraw(); }

  reached(what, i) { return this.time === null || (this.when[what].has(i) && this.when[what].get(i) <= this.time); }

  now() { return this.time === null || this.time < 0 ? null : this.steps[this.time]; }

  note() {
    const slider = document.getElementById("time");
    slider.max = String(Math.max(0, this.steps.length - 1));
    slider.value = String(Math.max(0, this.time ?? this.steps.length - 1));
    document.getElementById("play").textContent = this.timer ? "pause" : "play";
    let text = "";
    const now = this.now();
    if (now) {
      const box = this.app.stageNow.boxes[now[1]], flow = graphc.data.flow;
      const table = flow && (now[0] === "value" ? flow.values : flow.gradients);
      const number = table && table[box.n] ? " = " + table[box.n][0] : "";
      text = `${this.time + 1}/${this.steps.length} ${now[0]} of ${box.lines[0]}${number}`;
    }
    document.getElementById("time-note").textContent = text;
  }

  extra(i) {
    const flow = graphc.data.flow, n = this.app.stageNow.boxes[i].n;
    if (!flow || this.app.stage !== 0 || !flow.values[n]) return [];
    const out = [[this.reached("value", i) ? "= " + flow.values[n][0] : "", "value"]];
    if (flow.gradients[n]) out.push([this.reached("gradient", i) ? "\u2202 " + flow.gradients[n][0] : "", "gradient"]);
    return out;
  }

  edgeTexts(e) {
    const flow = graphc.data.flow, stage = this.app.stageNow;
    if (!flow || this.app.stage !== 0 || e.number < 0 || this.app.side) return null;
    const [s, t, position] = stage.edges[e.number];
    const value = flow.values[stage.boxes[s].n], share = flow.shares[`${stage.boxes[t].n}:${position}`];
    const out = [];
    if (!value || Math.max(value[0].length, (share || "").length) > 9) return out; // they would cover others
    out.push([this.reached("value", s) ? value[0] : "", "edge-value"]);
    if (share) out.push([this.reached("gradient", t) ? share : "", "edge-gradient"]);
    return out;
  }
};

/* Cividis in nine steps: even in lightness, and the same to colour-blind readers. */
graphc.SCALE = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];

graphc.heat = function (value, low, high) {
  if (!value) return { fill: "var(--bar)", text: "var(--text)" }; // it costs nothing
  const t = high > low ? Math.log(value / low) / Math.log(high / low) : 1;
  const step = Math.max(0, Math.min(9, Math.round(t * 9)));
  return { fill: graphc.SCALE[step], text: step < 5 ? "#ffffff" : "#000000" };
};
