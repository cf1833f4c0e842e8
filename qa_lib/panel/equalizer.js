// The equalizer's view: a vertical slider for each quantizer, and one handle for each group.
//
// While a slider moves, "moving" holds where all of them stand; when it is released, "bit_widths" does, and "releases" counts on: a hand may
// come back to where it began. 0 is float.

const MARK_SPAN = 1e5; // of the largest divergence: below this share, all is as good as nothing

const ICONS = {
  locked: "M4 7V5a4 4 0 0 1 8 0v2h1v7H3V7zm2 0h4V5a2 2 0 0 0-4 0z",
  unlocked: "M4 7V5a4 4 0 0 1 7.7-1.5l-1.9.7A2 2 0 0 0 6 5v2h7v7H3V7z",
  power: "M7 1h2v7H7zM4.5 3.4l1.2 1.5a4 4 0 1 0 4.6 0l1.2-1.5a6 6 0 1 1-7 0z",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function element(tag, className, attributes = {}, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function render({ model, el }) {
  const lower = () => model.get("lower");
  const top = () => model.get("upper") + 1; // the position of "float"
  const position = (width) => width || top();
  const width = (position) => (Number(position) === top() ? 0 : Number(position));
  const label = (width) => (width ? String(width) : "float");
  const short = (width) => (width ? String(width) : "fl");

  let standing = []; // where the sliders are now, measured or not
  let columns = [];
  let handles = [];
  let frame = 0;
  let held = false; // a hand has moved something, and not let go of it

  const root = element("div", "qa-equalizer", { "data-lm-suppress-shortcuts": "true" });
  // JupyterLab would take arrow keys for its own, and the focus with them.
  root.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  });
  const strip = element("div", "qa-columns", { role: "group", "aria-label": "num_bits of each quantizer" });
  const bar = element("div", "qa-groups", { role: "group", "aria-label": "groups of quantizers" });
  const legend = element("div", "qa-legend", {}, element("span", "qa-tint", { style: "--qa-tint: 0.8" }),
    "how much the output minds this layer at this width, all others in float");
  root.append(strip, bar, legend);
  el.append(root);

  function tint(index, width) {
    const row = model.get("divergence")[index];
    if (!row || !width) return 0;
    const largest = Math.max(...model.get("divergence").flat());
    const value = row[width - lower()];
    if (!(largest > 0) || !(value > 0)) return 0;
    return Math.max(0, 1 + Math.log10(value / largest) / Math.log10(MARK_SPAN));
  }

  function show(index) {
    const column = columns[index];
    const now = standing[index];
    column.slider.value = position(now);
    column.slider.setAttribute("aria-valuetext", now ? `${now} bits` : "float");
    column.value.textContent = label(now);
    column.root.classList.toggle("qa-off", now === 0);
    column.off.setAttribute("aria-pressed", now === 0);
    column.tint.style.setProperty("--qa-tint", tint(index, now));
  }

  function showAll() {
    standing.forEach((_, index) => show(index));
    handles.forEach((handle) => handle.show());
  }

  // The width that a slider stops at where a hand wants this one: the nearest, or for a key the next in its direction.
  function stop(index, wanted, byKey) {
    if (!wanted) return 0;
    const allowed = model.get("allowed")[index] || [];
    if (!allowed.length || allowed.includes(wanted)) return wanted;
    const now = position(standing[index]);
    if (byKey && wanted > now) return allowed.find((each) => each > now) ?? 0;
    if (byKey) return allowed.findLast((each) => each < now) ?? allowed[0];
    return allowed.reduce((best, each) => (Math.abs(each - wanted) <= Math.abs(best - wanted) ? each : best));
  }

  const together = (index) => model.get("tied").find((members) => members.includes(index)) || [index];

  function move(changes, byKey = false) {
    const locked = model.get("locked");
    for (const [index, width] of changes) {
      const members = together(index);
      if (members.some((member) => locked[member])) continue;
      const stopped = stop(index, width, byKey);
      for (const member of members) standing[member] = stopped;
    }
    held = true;
    showAll();
    if (!frame) {
      frame = requestAnimationFrame(() => {
        frame = 0;
        model.set("moving", [...standing]);
        model.save_changes();
      });
    }
  }

  function release() {
    if (!held) return;
    held = false;
    cancelAnimationFrame(frame);
    frame = 0;
    model.set("moving", []);
    model.set("bit_widths", [...standing]);
    model.set("releases", model.get("releases") + 1);
    model.save_changes();
  }
  // A slider says nothing of a hand that lets go where it took hold, nor always of one that lets go after it was moved by somebody else.
  const endings = ["pointerup", "pointercancel", "keyup", "blur"];
  for (const ending of endings) window.addEventListener(ending, release, true);

  function toggleLock(index) {
    const locked = [...model.get("locked")];
    const now = !locked[index];
    for (const member of together(index)) locked[member] = now;
    model.set("locked", locked);
    model.save_changes();
  }

  function showLocks() {
    model.get("locked").forEach((locked, index) => {
      const column = columns[index];
      column.slider.disabled = column.off.disabled = locked;
      column.lock.setAttribute("aria-pressed", locked);
      column.lock.replaceChildren(icon(locked ? "locked" : "unlocked"));
      column.root.classList.toggle("qa-locked", locked);
    });
  }

  function showSelected() {
    columns.forEach((column, index) => {
      const chosen = model.get("names")[index] === model.get("selected");
      column.root.classList.toggle("qa-selected", chosen);
      column.name.setAttribute("aria-pressed", chosen);
    });
  }

  function makeColumn(name, index) {
    const type = model.get("types")[index];
    const slider = element("input", "qa-slider", {
      type: "range", min: lower(), max: top(), step: 1, orient: "vertical", "aria-label": `num_bits of ${name}`,
    });
    let byKey = false;
    slider.addEventListener("keydown", () => (byKey = true));
    slider.addEventListener("pointerdown", () => (byKey = false));
    slider.addEventListener("input", () => move([[index, width(slider.value)]], byKey));
    slider.addEventListener("change", release);
    const value = element("output", "qa-value");
    const marks = element("div", "qa-marks", { "aria-hidden": "true" });
    for (let bits = top() - 1; bits >= lower(); bits--) {
      const mark = element("span", "qa-mark", { "data-bits": bits });
      const allowed = model.get("allowed")[index] || [];
      mark.classList.toggle("qa-closed", allowed.length > 0 && !allowed.includes(bits));
      marks.append(mark);
    }
    marks.prepend(element("span", "qa-mark"));
    const lock = element("button", "qa-small", {
      type: "button", title: `hold ${name} where it is`, "aria-label": `lock ${name}`,
    });
    lock.addEventListener("click", () => toggleLock(index));
    const off = element("button", "qa-small", {
      type: "button", title: `switch the quantizer of ${name} off: float`, "aria-label": `${name} in float`,
    }, icon("power"));
    let before = model.get("upper");
    off.addEventListener("click", () => {
      const now = standing[index];
      if (now) before = now;
      move([[index, now ? 0 : before]]);
      release();
    });
    const kind = element("span", "qa-type", {}, type || "");
    const others = together(index).filter((member) => member !== index).map((member) => model.get("names")[member]);
    const shares = others.length ? `; moves together with ${others.join(", ")}` : "";
    const called = element("button", "qa-name", { type: "button", title: `${name} (${type}): look inside${shares}` },
      element("span", "", {}, name), kind);
    called.addEventListener("click", () => {
      model.set("selected", model.get("selected") === name ? "" : name);
      model.save_changes();
    });
    const tintBox = element("div", "qa-tint", { title: "how much this layer at this width disturbs the output by itself" });
    const column = element("div", "qa-column", { "data-name": name }, value,
      element("div", "qa-track", {}, slider, marks), tintBox, element("div", "qa-buttons", {}, lock, off), called);
    if (others.length) {
      const mark = (on) => together(index).forEach((member) => columns[member].root.classList.toggle("qa-member", on));
      column.addEventListener("mouseenter", () => mark(true));
      column.addEventListener("mouseleave", () => mark(false));
    }
    return { root: column, slider, value, lock, off, name: called, tint: tintBox, marks };
  }

  function makeHandle(group) {
    const slider = element("input", "qa-handle", {
      type: "range", min: lower(), max: top(), step: 1, "aria-label": `num_bits of all in ${group.name}`,
    });
    const value = element("output", "qa-value");
    slider.addEventListener("input", () => move(group.members.map((index) => [index, width(slider.value)])));
    slider.addEventListener("change", release);
    const made = element("label", "qa-group", { title: `moves ${group.members.length} quantizers at once` },
      element("span", "qa-group-name", {}, group.name), slider, value);
    const mark = (on) => group.members.forEach((index) => columns[index].root.classList.toggle("qa-member", on));
    for (const event of ["mouseenter", "focusin"]) made.addEventListener(event, () => mark(true));
    for (const event of ["mouseleave", "focusout"]) made.addEventListener(event, () => mark(false));
    const show = () => {
      const widths = [...new Set(group.members.map((index) => standing[index]))];
      value.textContent = widths.length === 1 ? label(widths[0])
        : `${short(Math.min(...widths.map(position)) % top())}\u2013${short(Math.max(...widths.map(position)) % top())}`;
      const mean = group.members.reduce((sum, index) => sum + position(standing[index]), 0) / group.members.length;
      if (document.activeElement !== slider || widths.length > 1) slider.value = Math.round(mean);
    };
    return { root: made, show };
  }

  function buildGroups() {
    handles = model.get("groups").map(makeHandle);
    bar.replaceChildren(...handles.map((handle) => handle.root));
    bar.hidden = !handles.length;
    showAll();
  }

  // While a hand may be at a slider, which stays.
  function showDivergence() {
    legend.hidden = !model.get("divergence").length;
    columns.forEach((column, index) => {
      for (const mark of column.marks.querySelectorAll("[data-bits]"))
        mark.style.setProperty("--qa-tint", tint(index, Number(mark.dataset.bits)));
    });
    showAll();
  }

  function build() {
    standing = [...model.get("bit_widths")];
    columns = model.get("names").map(makeColumn);
    // A weight stands below its layer, smaller, where that has a column.
    const place = new Map(model.get("names").map((name, index) => [name, index]));
    const above = model.get("names").map((name, index) =>
      model.get("weights")[index] ? place.get(name.replace(/\.weight$/, "")) : undefined);
    columns.forEach((column, index) => {
      if (above[index] === undefined) return;
      column.root.classList.add("qa-weight");
      column.name.replaceChildren("weight");
      columns[above[index]].name.before(column.root);
    });
    const roots = columns.filter((_, index) => above[index] === undefined).map((column) => column.root);
    if (above.some((index) => index !== undefined)) {
      for (const root of roots.filter((each) => !each.querySelector(".qa-weight")))
        root.lastChild.before(element("div", "qa-weight"));
    }
    strip.replaceChildren(...roots);
    const longest = Math.max(...roots.map((root) => root.dataset.name.length));
    root.style.setProperty("--qa-name-length", `${Math.max(longest, 12)}ch`);
    buildGroups();
    showDivergence();
    showLocks();
    showSelected();
  }

  function follow() {
    standing = [...model.get("bit_widths")];
    showAll();
  }

  const watched = {
    "change:bit_widths": follow,
    "change:divergence": showDivergence,
    "change:groups": buildGroups,
    "change:locked": showLocks,
    "change:selected": showSelected,
  };
  for (const [event, listener] of Object.entries(watched)) model.on(event, listener);
  const copy = (message) => message.copy && navigator.clipboard?.writeText(message.copy);
  model.on("msg:custom", copy);

  // JupyterLab says on the page's body whether its theme is a light one; other pages follow the system.
  const system = matchMedia("(prefers-color-scheme: dark)");
  function showTheme() {
    const light = document.body.dataset.jpThemeLight;
    const dark = light === undefined ? system.matches : light === "false";
    root.classList.toggle("qa-dark", dark);
    if (model.get("dark") !== dark) {
      model.set("dark", dark);
      model.save_changes();
    }
  }
  const theme = new MutationObserver(showTheme);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  system.addEventListener("change", showTheme);

  // Figures beside it are told how wide the page is: they do not find out by themselves.
  const size = new ResizeObserver(() => {
    const now = Math.floor(root.clientWidth);
    if (now && now !== model.get("page_width")) {
      model.set("page_width", now);
      model.save_changes();
    }
  });
  size.observe(root);

  build();
  showTheme();
  return () => {
    release();
    for (const ending of endings) window.removeEventListener(ending, release, true);
    size.disconnect();
    for (const [event, listener] of Object.entries(watched)) model.off(event, listener);
    model.off("msg:custom", copy);
    theme.disconnect();
    system.removeEventListener("change", showTheme);
  };
}

// JupyterLab moves a widget's messages to a thread of their own after the first. With this as the first, what a hand does
// while a cell runs is not the first.
function initialize({ model }) {
  model.send({ ready: true });
  if (model.get("moving").length) {
    // The page has gone from under a hand.
    model.set("moving", []);
    model.set("releases", model.get("releases") + 1);
    model.save_changes();
  }
}

export default { initialize, render };
