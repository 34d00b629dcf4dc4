"use strict";
// Which state, token and head are shown, and how a reader changes them: keys, buttons, the step line.

Player.PAUSE = 1100; // milliseconds between two layers while it plays

Player.Controls = class {
  /** `show(view)` is called with { at, token, head } after every change. */
  constructor(show) {
    this.show = show;
    this.view = { at: 0, token: 0, head: 0 };
    this.last = Player.scene.run.states.length - 1;
    this.tokens = Player.scene.run.tokens;
    this.timer = null;
    this.line = document.getElementById("line");
    this.field = document.getElementById("token");
    this.line.max = this.last;
    this.field.max = this.tokens - 1;
    this.ticks();
    window.addEventListener("resize", () => {
      this.ticks();
      this.marked();
    });
    this.buttons();
    document.addEventListener("keydown", (event) => this.key(event));
    this.change({});
  }

  ticks() {
    const places = Player.scene.run.states.map((_, at) => at);
    const room = document.getElementById("ticks").clientWidth;
    const every = Math.max(1, Math.ceil((38 * places.length) / room)); // a name takes 38 pixels
    this.marks = places.filter((at) => at % every === 0 || at === this.last).map((at) => {
      const mark = Player.element("span", { "data-at": at, title: this.name(at) }, this.short(at));
      mark.style.left = `${(100 * at) / Math.max(this.last, 1)}%`;
      mark.addEventListener("click", () => this.change({ at }));
      return mark;
    });
    document.getElementById("ticks").replaceChildren(...this.marks);
  }

  /** As in "E 3": layer E of step 3. */
  name(at) {
    const layer = Player.layer(at);
    return layer === null ? "start" : `${layer.name} ${this.step(at)}`;
  }

  /** As in "E3": of a layer's name as many letters as tell it from the others. */
  short(at) {
    const layer = Player.layer(at);
    if (layer === null) return "start";
    const others = Player.scene.layers.map(({ name }) => name).filter((name) => name !== layer.name);
    let length = 1;
    while (length < layer.name.length && others.some((name) => name.startsWith(layer.name.slice(0, length)))) length += 1;
    return `${layer.name.slice(0, length)}${this.step(at)}`;
  }

  /** The step that state `at` is in, or that it ends. */
  step(at) {
    return at === 0 ? 0 : Player.scene.run.states[at - 1].step + 1;
  }

  buttons() {
    const on = (id, what) => document.getElementById(id).addEventListener("click", what);
    on("first", () => this.change({ at: 0 }));
    on("back", () => this.change({ at: this.view.at - 1 }));
    on("next", () => this.change({ at: this.view.at + 1 }));
    on("last", () => this.change({ at: this.last }));
    on("play", () => this.play());
    this.line.addEventListener("input", () => this.change({ at: Number(this.line.value) }));
    this.field.addEventListener("change", () => this.change({ token: Math.round(Number(this.field.value)) }));
  }

  play() {
    if (this.timer !== null) {
      this.stop();
      return;
    }
    if (this.view.at === this.last) this.change({ at: 0 });
    this.timer = setInterval(() => {
      this.change({ at: this.view.at + 1 });
      if (this.view.at === this.last) this.stop();
    }, Player.PAUSE);
    this.pressed(true);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.pressed(false);
  }

  pressed(playing) {
    const button = document.getElementById("play");
    button.setAttribute("aria-pressed", playing);
    button.textContent = playing ? "stop" : "play";
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const typing = event.target === this.field; // a number's field has its own arrows
    const pressed = event.target instanceof HTMLButtonElement;
    const { at, token } = this.view;
    const does = {
      ArrowRight: () => this.change({ at: at + 1 }),
      ArrowLeft: () => this.change({ at: at - 1 }),
      ArrowUp: () => this.change({ token: token - 1 }),
      ArrowDown: () => this.change({ token: token + 1 }),
      Home: () => this.change({ at: 0 }),
      End: () => this.change({ at: this.last }),
    };
    if (!pressed) does[" "] = () => this.play(); // a button answers space by itself
    if (/^[1-9]$/.test(event.key)) does[event.key] = () => this.change({ head: Number(event.key) - 1 });
    if (typing && ["Enter", "Escape"].includes(event.key)) this.field.blur(); // and the keys are the page's again
    if (typing || !(event.key in does)) return;
    event.preventDefault();
    does[event.key]();
  }

  /** To the nearest state, token and head that there are. */
  change(wanted) {
    const within = (value, last) => (Number.isFinite(value) ? Math.min(Math.max(value, 0), last) : 0);
    const next = { ...this.view, ...wanted };
    next.at = within(next.at, this.last);
    next.token = within(next.token, this.tokens - 1);
    const heads = this.heads(next.at);
    if ("head" in wanted && wanted.head >= heads.length) next.head = this.view.head;
    this.view = next;
    this.shown();
  }

  heads(at) {
    const layer = Player.layer(at);
    return layer === null ? [] : layer.heads;
  }

  /** The head that is drawn: the one chosen, or the layer's last where it has fewer. */
  get drawn() {
    return Math.min(this.view.head, this.heads(this.view.at).length - 1);
  }

  shown() {
    const { at, token } = this.view;
    this.line.value = at;
    this.line.setAttribute("aria-valuetext", this.name(at));
    this.field.value = token;
    this.marked();
    for (const [id, end] of [["first", 0], ["back", 0], ["next", this.last], ["last", this.last]]) {
      document.getElementById(id).disabled = at === end;
    }
    this.radios();
    this.show({ at, token, head: this.drawn, step: this.step(at), done: Player.scene.run.states[at].step });
  }

  marked() {
    for (const mark of this.marks) mark.classList.toggle("now", Number(mark.dataset.at) === this.view.at);
  }

  radios() {
    const heads = this.heads(this.view.at);
    const made = heads.map((head, number) => {
      const button = Player.element(
        "button", { type: "button", role: "radio", "aria-checked": number === this.drawn, title: `writes ${head.writes} (key ${number + 1})` }, `head ${number + 1}`,
      );
      button.addEventListener("click", () => {
        this.change({ head: number });
        document.querySelectorAll("#heads button")[number].focus();
      });
      return button;
    });
    document.getElementById("heads").replaceChildren(...made);
  }
};
