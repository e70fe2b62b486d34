// The slim header and the strip of figures. Every text is set as text, never as markup.

const THEME = "panelbus-monitor-theme"; // kept by this browser
const CSS = `
:host { display: block; }
* { box-sizing: border-box; }
header { display: flex; align-items: center; gap: 8px 16px; flex-wrap: wrap; padding: 9px 16px;
  background: #17212e; color: #eef3f8; font: 14px/1.3 var(--pb-font); }
h1 { font-size: 15px; font-weight: 650; margin: 0; letter-spacing: .01em; }
.state { display: inline-flex; align-items: center; gap: 7px; padding: 3px 11px 3px 9px;
  border-radius: 99px; background: #263445; font-size: 13px; }
.state::before { content: ""; width: 8px; height: 8px; border-radius: 50%; background: #4ade80; }
.state[data-state="resyncing"]::before { background: #fbbf24; }
.state[data-state="down"] { background: #5b1d1d; }
.state[data-state="down"]::before { background: #ff8a80; }
.space { flex: 1; }
.who { display: inline-flex; align-items: center; gap: 8px; font-size: 13px; min-width: 0;
  margin-left: auto; }
.who b { font-weight: 600; max-width: 22ch; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.who span { padding: 2px 9px; border-radius: 99px; background: #263445; color: #c3cfdc;
  font-size: 12px; }
.who[data-role="operator"] span { background: #1d4433; color: #9be8bd; }
form { margin: 0; }
button { font: inherit; color: inherit; cursor: pointer; }
header button { background: none; border: 1px solid #43546a; border-radius: 7px; padding: 4px 11px;
  font-size: 13px; }
header button:hover { background: #263445; }
button:focus-visible { outline: 2px solid #76b5ff; outline-offset: 2px; }
.switch { display: inline-flex; align-items: center; gap: 8px; }
.switch i { width: 26px; height: 15px; border-radius: 99px; background: #5a6b80;
  position: relative; transition: background .15s; }
.switch i::after { content: ""; position: absolute; left: 2px; top: 2px; width: 11px; height: 11px;
  border-radius: 50%; background: #fff; transition: left .15s; }
.switch[aria-checked="true"] i { background: #2f9e5f; }
.switch[aria-checked="true"] i::after { left: 13px; }
.figures { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 10px;
  padding: 12px 14px; }
.figures button { text-align: left; background: var(--pb-surface); color: var(--pb-text);
  border: 1px solid var(--pb-line); border-radius: 10px; padding: 8px 14px 9px; min-width: 0;
  font: 13px/1.35 var(--pb-font); }
.figures button:hover { border-color: var(--pb-accent); }
.figures button[aria-pressed="true"] { border-color: var(--pb-accent);
  box-shadow: inset 0 0 0 1px var(--pb-accent); background: var(--pb-hover); }
.figures b { display: block; font-size: 22px; font-weight: 650; line-height: 1.25;
  font-variant-numeric: tabular-nums; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
.figures button[data-tone="warn"] b { color: var(--pb-warn); }
.figures button[data-tone="bad"] b { color: var(--pb-bad); }
.figures span { color: var(--pb-muted); display: block; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
@media (max-width: 700px) { .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); } }`;

function make(tag, more = {}, ...children) {
  const el = Object.assign(document.createElement(tag), more);
  el.append(...children);
  return el;
}

function stored() {
  try { return localStorage.getItem(THEME); } catch (_) { return null; } // forbidden here
}

// Who is logged in, and the form that ends that: a link alone could be anybody's.
function who(model) {
  if (!model.user) return [];
  const name = make("div", {className: "who", title: `Logged in as ${model.user}, ${model.role}`},
    make("b", {textContent: model.user}), make("span", {textContent: model.role}));
  name.dataset.role = model.role;
  const form = make("form", {method: "post", action: "logout"},
    make("input", {type: "hidden", name: "_xsrf", value: model.form_token}),
    make("button", {type: "submit", textContent: "Log out"}));
  return [name, form];
}

export function render({model, el}) {
  const state = make("span", {className: "state", role: "status"});
  const live = make("button", {className: "switch", type: "button"}, make("i"), "Auto-refresh");
  live.setAttribute("role", "switch");
  const refresh = make("button", {type: "button", textContent: "Refresh now"});
  const theme = make("button", {type: "button"});
  const figures = make("div", {className: "figures"});
  figures.setAttribute("role", "group");
  figures.setAttribute("aria-label", "Figures; each filters the table");
  const header = make("header", {}, make("h1", {textContent: model.product}), state,
    make("span", {className: "space"}), live, refresh, theme, ...who(model));
  const buttons = new Map();

  const said = () => {
    state.dataset.state = model.state;
    state.textContent = model.state_text;
  };
  const switched = () => live.setAttribute("aria-checked", String(model.live));
  const themed = () => {
    theme.textContent = model.dark ? "Light theme" : "Dark theme";
    document.documentElement.style.colorScheme = model.dark ? "dark" : "light";
  };
  const counted = () => {
    for (const [key, value, label, tone] of model.figures) {
      if (!buttons.has(key)) {
        const button = make("button", {type: "button"}, make("b"), make("span"));
        button.addEventListener("click", () => { model.active = model.active === key ? "" : key; });
        button.dataset.figure = key;
        buttons.set(key, button);
        figures.append(button);
      }
      const button = buttons.get(key);
      const [number, text] = button.children;
      if (number.textContent !== value) number.textContent = value;
      if (text.textContent !== label) text.textContent = label;
      button.title = `${value} ${label}`;
      button.dataset.tone = tone;
      button.setAttribute("aria-pressed", String(model.active === key));
    }
  };

  live.addEventListener("click", () => { model.live = !model.live; });
  refresh.addEventListener("click", () => { model.refreshed += 1; });
  theme.addEventListener("click", () => {
    model.dark = !model.dark;
    try { localStorage.setItem(THEME, model.dark ? "dark" : "light"); } catch (_) { /* forbidden */ }
  });
  for (const [name, update] of [["state", said], ["state_text", said], ["live", switched],
    ["dark", themed], ["figures", counted], ["active", counted]]) {
    model.on(`change:${name}`, update);
    update();
  }
  model.on("change:ended", () => { if (model.ended) location.reload(); });
  el.append(make("style", {textContent: CSS}), header, figures);
  model.on("after_render", () => {
    const before = stored();
    const wanted = before === null ? matchMedia("(prefers-color-scheme: dark)").matches
      : before === "dark";
    if (wanted !== model.dark) model.dark = wanted;
  });
}
