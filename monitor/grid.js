// The live table in the page: Perspective's viewer, talking to the monitor over the page's own
// connection. Panel turns this file into a blob: URL, so it imports nothing by a relative path.
//
// A row is known by its session id, never by its position: rows move while a hand is on the mouse.
// The datagrid draws cells only, so after every draw each visible row is given its id (`paint`).

const THEMES = ["Pro Light", "Pro Dark"];
const SPANS = new Set(["Duration", "Task time", "Last heard"]);
const STORAGE = "panelbus-monitor-layout-1"; // another number whenever old layouts must not return
const KEPT = ["columns", "columns_config", "group_by", "split_by", "sort", "filter", "expressions",
  "aggregates", "plugin_config"];
const SAVE_AFTER = 300; // ms without a change until the layout is stored
const PUBLISH_AFTER = 40; // ms without a click until the selection is told
const SLOW_AFTER = 15_000; // ms until a user who sees no table is told so

// Inside the datagrid's shadow root.
const GRID_CSS = `
:host { margin: 0 !important; }
regular-table { font-family: var(--pb-font); font-size: 13px; outline-offset: -2px; }
regular-table:focus-visible { outline: 2px solid var(--pb-accent); }
.psp-is-width-override .rt-column-resize:not(:hover) { border-color: transparent !important; }
thead th { font-weight: 600; padding-left: 8px !important; }
tbody td { cursor: default; user-select: none; padding-left: 8px !important; }
tbody tr[data-id]:hover td { background-color: var(--pb-hover) !important; }
tbody tr[data-selected] td { background-color: var(--pb-selected) !important; }
tbody tr[data-cursor] td { box-shadow: inset 0 1px 0 var(--pb-accent),
  inset 0 -1px 0 var(--pb-accent) !important; }
td.pb-id { font-family: var(--pb-mono); font-size: 12px; }
td.pb-id::before { content: ""; display: inline-block; width: 11px; height: 11px; margin-right: 7px;
  border: 1.5px solid var(--pb-muted); border-radius: 3px; vertical-align: -1px;
  box-sizing: border-box; }
tr[data-selected] td.pb-id::before { background: var(--pb-accent); border-color: var(--pb-accent);
  box-shadow: inset 0 0 0 1.5px var(--pb-surface); }
td.pb-span { text-align: right !important; font-variant-numeric: tabular-nums; }
td.pb-quiet { color: var(--pb-muted) !important; }
td[data-status] { font-weight: 600; color: var(--pb-text) !important; }
td[data-status]::before { content: ""; display: inline-block; width: 8px; height: 8px;
  border-radius: 50%; margin-right: 7px; background: currentColor; }
td[data-status="running"] { color: var(--pb-good) !important; }
td[data-status="idle"] { color: var(--pb-muted) !important; font-weight: 400; }
td[data-status="stale"] { color: var(--pb-warn) !important; }
td[data-status="being killed"], td[data-status="kill failed"] { color: var(--pb-bad) !important; }`;
// Inside the viewer's: no title strip (the page has one) and no choice of other plugins, some of
// which would ask foreign hosts for map tiles.
const VIEWER_CSS = `
regular-layout-frame::part(titlebar) { display: none !important; }
regular-layout-frame::part(container) { border: 0; inset: 0; }
#plugin_selector_container { display: none !important; }`;
const HOST_CSS = `
.pb-grid { position: relative; width: 100%; height: 100%; }
.pb-grid perspective-viewer { position: absolute; inset: 0; --psp-status-bar--display: none; }
.pb-grid[data-dim] perspective-viewer { opacity: .55; filter: saturate(.4); }
.pb-note { position: absolute; inset: auto 12px 12px auto; z-index: 9; padding: 6px 12px;
  border-radius: 6px; font: 13px var(--pb-font); background: var(--pb-bad); color: #fff; }
.pb-note[hidden] { display: none; }`;

function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  const two = (n) => String(n).padStart(2, "0");
  if (d) return `${d}d ${two(h)}h`;
  if (h) return `${h}h ${two(m)}m`;
  return m ? `${m}m ${two(s % 60)}s` : `${s}s`;
}

function sheet(root, css) {
  const style = new CSSStyleSheet();
  style.replaceSync(css);
  root.adoptedStyleSheets.push(style);
}

class Grid {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.selected = new Set(model.selection);
    this.cursor = null; // id of the row the keyboard is on
    this.anchor = null; // id a range with shift starts from
    this.skew = 0; // ms the monitor's clock is ahead of this browser's
    this.undo = []; // what `stop` undoes
    this.waiting = {}; // answers of the monitor by their type
  }

  async start() {
    this.box = document.createElement("div");
    this.box.className = "pb-grid";
    this.note = Object.assign(document.createElement("div"), {className: "pb-note", hidden: true});
    this.note.setAttribute("role", "alert");
    this.box.append(this.note);
    this.el.append(this.box);
    this.model.on("msg:custom", this.hear = (message) => this.heard(message));
    const style = Object.assign(document.createElement("style"), {textContent: HOST_CSS});
    this.el.getRootNode().append(style);
    await this.load();
    this.viewer = document.createElement("perspective-viewer");
    this.viewer.style.visibility = "hidden"; // its first draw shows bare numbers, without our style
    this.box.append(this.viewer);
    const {Client} = customElements.get("perspective-viewer").__wasm_module__;
    // the engine reuses the memory behind `bytes`, hence the copy
    this.client = new Client(
      async (bytes) => this.model.send_msg({type: "ask", data: bytes.slice().buffer}), () => {});
    await this.viewer.load(this.client);
    await this.viewer.resetThemes(THEMES); // it does not look into shadow roots by itself
    await this.show({...this.model.layout, ...this.stored()});
    this.hook();
    this.viewer.style.visibility = "";
    this.model.send_msg({type: "clock", sent: Date.now()});
    this.model.ready = true;
  }

  /** A line in the corner of the table; an empty one hides it. */
  say(text) { Object.assign(this.note, {hidden: !text, textContent: text}); }

  /** The engine and its style, from the monitor's own address or through the connection. */
  async load() {
    let [script, style] = [this.model.module_url, this.model.style_url].map(
      (url) => url && new URL(url, document.baseURI).href);
    if (!script) {
      const {script: code, style: css} = await this.ask("module");
      const blob = (data, type) => URL.createObjectURL(new Blob([data], {type}));
      [script, style] = [blob(code, "text/javascript"), blob(css, "text/css")];
    }
    const link = Object.assign(document.createElement("link"), {rel: "stylesheet", href: style});
    const styled = new Promise((done) => { link.onload = link.onerror = done; });
    this.el.getRootNode().append(link);
    const module = await import(script);
    await module.ready;
    await styled; // the viewer reads its themes from it
  }

  ask(type) {
    return new Promise((answer) => { this.waiting[type] = answer; this.model.send_msg({type}); });
  }

  heard(message) {
    if (message.type === "answer") this.client?.handle_response(message.data);
    else if (message.type === "restore") this.show(message.layout);
    else if (message.type === "reset") this.reset();
    else if (message.type === "settings") this.viewer.toggleConfig();
    else if (message.type === "clock") {
      this.skew = message.now - (message.sent + Date.now()) / 2;
      this.tick();
    } else this.waiting[message.type]?.(message);
  }

  show(layout) {
    const theme = this.model.dark ? THEMES[1] : THEMES[0];
    return this.viewer.restore({table: this.model.table_name, settings: false, title: null, theme,
      ...layout});
  }

  // --- the layout, kept by this browser -----------------------------------------------------

  stored() {
    try {
      const layout = JSON.parse(localStorage.getItem(STORAGE));
      return layout?.columns?.length ? layout : {};
    } catch (_) {
      return {}; // unreadable, or storage is forbidden here
    }
  }

  async layout() {
    const all = await this.viewer.save();
    return Object.fromEntries(KEPT.filter((key) => key in all).map((key) => [key, all[key]]));
  }

  save() {
    clearTimeout(this.saving);
    this.saving = setTimeout(async () => {
      const layout = await this.layout();
      this.model.send_msg({type: "filtered", filter: JSON.stringify(layout.filter ?? [])});
      try { localStorage.setItem(STORAGE, JSON.stringify(layout)); } catch (_) { /* forbidden */ }
    }, SAVE_AFTER);
  }

  reset() {
    try { localStorage.removeItem(STORAGE); } catch (_) { /* forbidden */ }
    return this.show(this.model.layout);
  }

  // --- painting -----------------------------------------------------------------------------

  rows() { return this.table.querySelectorAll("tbody tr"); }

  row(id) { return [...this.rows()].find((tr) => tr.dataset.id === id); }

  /** After every draw: ids onto rows, then everything that depends on them. */
  paint() {
    const ids = this.grid.model?._ids ?? []; // private, but the only place that knows
    const flat = !this.grid.model?._config.group_by.length;
    for (const tr of this.rows()) {
      let id = null;
      for (const td of tr.children) {
        const meta = this.table.getMeta(td);
        if (meta?.type !== "body") continue;
        if (flat && id === null) id = ids[meta.y - meta.y0]?.[0] ?? null;
        this.cell(td, meta.column_header?.at(-1), meta.user, flat, id);
      }
      if (id === null) delete tr.dataset.id; else tr.dataset.id = id;
    }
    this.mark();
    this.tick();
  }

  cell(td, name, value, flat, id) {
    td.classList.toggle("pb-id", flat && name === "Session");
    td.classList.toggle("pb-span", SPANS.has(name));
    td.classList.toggle("pb-quiet", name === "Host" || name === "PID" || name === "Last heard");
    if (flat && name === "Status") td.dataset.status = value; else delete td.dataset.status;
    if (SPANS.has(name) && value !== null) td.dataset.since = value; else delete td.dataset.since;
    const title = flat && name === "Session" ? id : typeof value === "string" ? value : null;
    if (title === null) td.removeAttribute("title"); else td.title = title;
  }

  /** Selection and cursor on the visible rows. */
  mark() {
    for (const tr of this.rows()) {
      const {id} = tr.dataset;
      const on = id !== undefined && this.selected.has(id);
      tr.toggleAttribute("data-selected", on);
      tr.setAttribute("aria-selected", String(on));
      tr.toggleAttribute("data-cursor", id !== undefined && id === this.cursor);
    }
  }

  /** Spans hold minus their beginning; what is shown is how long ago that is. */
  tick() {
    const now = Date.now() + this.skew;
    for (const td of this.table?.querySelectorAll("td[data-since]") ?? []) {
      const text = duration(now + Number(td.dataset.since));
      if (td.textContent !== text) td.textContent = text;
    }
  }

  // --- choosing -----------------------------------------------------------------------------

  click(event) {
    if (event.button !== 0) return;
    const path = event.composedPath();
    const id = path.find((node) => node.tagName === "TR")?.dataset.id;
    if (id === undefined) return;
    const box = path.some((node) => node.classList?.contains("pb-id"));
    if (event.shiftKey && this.anchor !== null) {
      this.range(this.anchor, id);
    } else if (event.ctrlKey || event.metaKey || box) {
      this.toggle(id);
      this.anchor = id;
    } else {
      this.selected = new Set([id]);
      this.anchor = id;
    }
    this.cursor = id;
    this.table.focus({preventScroll: true});
    this.publish();
  }

  toggle(id) { if (!this.selected.delete(id)) this.selected.add(id); }

  /** All rows between two, in the order in which they stand now. */
  async range(from, to) {
    const view = await this.viewer.getView();
    const ids = (await view.to_columns({id: true})).__ID__.map((entry) => entry[0]);
    const [first, last] = [ids.indexOf(from), ids.indexOf(to)].sort((a, b) => a - b);
    if (first < 0) return;
    for (const id of ids.slice(first, last + 1).slice(0, this.model.max_selection)) {
      this.selected.add(id);
    }
    this.publish();
  }

  key(event) {
    const step = {ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20}[event.key];
    if (step !== undefined) this.move(step, event.shiftKey);
    else if (event.key === " " && this.cursor !== null) this.toggle(this.cursor);
    else if (event.key === "Escape") this.selected.clear();
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
    this.publish();
  }

  async move(step, extend) {
    const view = await this.viewer.getView();
    const total = await view.num_rows();
    if (!total || (await view.get_config()).group_by.length) return;
    const ids = async (window) => (await view.to_columns({...window, id: true})).__ID__;
    const shown = this.cursor === null ? undefined : this.row(this.cursor);
    let y = -1;
    if (shown) y = this.table.getMeta(shown.children[0]).y;
    else if (this.cursor !== null) y = (await ids({})).findIndex(([id]) => id === this.cursor);
    y = Math.max(0, Math.min(total - 1, y + step));
    this.cursor = (await ids({start_row: y, end_row: y + 1}))[0]?.[0] ?? null;
    if (this.cursor === null) return;
    if (!extend) { this.selected.clear(); this.anchor = this.cursor; }
    this.selected.add(this.cursor);
    const [area, place] = [this.table, this.row(this.cursor)].map((e) => e?.getBoundingClientRect());
    if (!place || place.bottom > area.bottom - 14 || place.top < area.top + 24) {
      const top = step > 0 ? y - Math.floor(this.rows().length / 2) : y - 3;
      await this.table.scrollToCell(0, Math.max(0, top), 99, total);
    }
    this.publish();
  }

  /** Show the selection at once, and tell it. */
  publish() {
    this.mark();
    clearTimeout(this.publishing);
    this.publishing = setTimeout(() => { this.model.selection = [...this.selected]; },
      PUBLISH_AFTER);
  }

  // --- wiring -------------------------------------------------------------------------------

  on(target, name, handler, capture = false) {
    target.addEventListener(name, handler, capture);
    this.undo.push(() => target.removeEventListener(name, handler, capture));
  }

  hook() {
    this.grid = this.viewer.querySelector("perspective-viewer-datagrid");
    this.table = this.grid.regular_table;
    sheet(this.grid.shadowRoot, GRID_CSS);
    sheet(this.viewer.shadowRoot, VIEWER_CSS);
    this.table.addStyleListener(() => this.paint());
    for (const [name, value] of [["tabindex", "0"], ["role", "grid"],
      ["aria-multiselectable", "true"], ["aria-label", "Live sessions"]]) {
      this.table.setAttribute(name, value);
    }
    this.on(this.table, "click", (event) => this.click(event), true);
    this.on(this.table, "keydown", (event) => this.key(event), true);
    // Perspective's own menu offers to make tables and to export
    this.on(this.viewer, "contextmenu", (event) => event.stopPropagation(), true);
    this.on(this.viewer, "perspective-config-update", () => this.save());
    const {model} = this;
    model.on("change:dark", () => this.show({}));
    model.on("change:table_name", async () => this.show(await this.layout()));
    model.on("change:dim", () => this.box.toggleAttribute("data-dim", model.dim));
    model.on("change:selection", () => { this.selected = new Set(model.selection); this.mark(); });
    this.box.toggleAttribute("data-dim", model.dim);
    const timer = setInterval(() => this.tick(), 1000);
    this.undo.push(() => clearInterval(timer));
    this.paint();
    this.show({}); // the theme may have changed while all this was being loaded
  }

  stop() {
    for (const step of this.undo) step();
    clearTimeout(this.saving);
    clearTimeout(this.publishing);
    this.viewer?.delete().catch(() => { /* the connection may be gone */ });
  }
}

export function render({model, el}) {
  const grid = new Grid(model, el);
  model.on("after_render", async () => {
    const slow = setTimeout(() => grid.say(
      "The live table is not here yet. Reload the page if it does not come."), SLOW_AFTER);
    grid.undo.push(() => clearTimeout(slow));
    try {
      await grid.start();
      grid.say("");
    } catch (error) {
      console.error("the live table failed", error);
      grid.say(`The live table failed: ${error.message ?? error}. Reload the page.`);
    }
    clearTimeout(slow);
  });
  model.on("remove", () => grid.stop());
}
