// The equalizer's view: a vertical slider for each quantizer, in blocks that fold, with one handle for each block and group.
//
// While a slider moves, "moving" holds where all of them stand; when it is released, "bit_widths" does, and "releases" counts on: a hand may
// come back to where it began. 0 is float.

const MARK_SPAN = 1e5; // of the largest divergence: below this share, all is as good as nothing
const REST = 400; // milliseconds that somebody points at a name before it is looked into
const KEYS = [
  ["↑ ↓", "the slider one width up or down; Home and End to its ends"],
  ["← →", "to the layer beside"],
  ["Tab", "to what belongs to the layer, then on to the next part"],
  ["l", "lock the layer, or unlock it"],
  ["f", "the layer in float, or back"],
  ["Enter", "look inside the layer"],
  ["/", "find layers by name"],
  ["?", "this list; Escape closes it"],
];

function render({ model, el }) {
  const lower = () => model.get("lower");
  const top = () => model.get("upper") + 1; // the position of "float"
  const position = (width) => width || top();
  const width = (position) => (Number(position) === top() ? 0 : Number(position));
  const label = (width) => (width ? String(width) : "float");
  const short = (width) => (width ? String(width) : "fl");

  let standing = []; // where the sliders are now, measured or not
  let columns = [];
  let blocks = [];
  let handles = [];
  let largest = 0; // of the divergences
  let frame = 0;
  let held = false; // a hand has moved something, and not let go of it
  let moved = new Set(); // since the page was drawn last

  const root = element("div", "qa-equalizer");
  keepKeys(root);
  const find = element("input", "qa-find", {
    type: "search", placeholder: "find layers", "aria-label": "find layers by name; * stands for anything",
  });
  const foldAll = element("button", "qa-text", { type: "button" });
  const help = element("button", "qa-text", { type: "button", title: "keys", "aria-expanded": "false" }, "? keys");
  const count = element("span", "qa-count", { role: "status" });
  const group = element("button", "qa-text", { type: "button", title: "one more handle, which moves the layers that were found" }, "group these");
  const legend = element("div", "qa-legend", {}, element("span", "qa-tint", { style: "--qa-tint: 0.8" }),
    "how much the output minds this layer at this width, all others in float");
  const tools = element("div", "qa-tools", {}, find, count, group, foldAll, help, legend);
  const list = element("dl", "", {}, ...KEYS.flatMap(([key, meaning]) => [element("dt", "", {}, key), element("dd", "", {}, meaning)]));
  const keys = element("div", "qa-keys", { hidden: "", role: "group", "aria-label": "keys" }, list);
  const overview = element("div", "qa-overview", { "aria-hidden": "true", title: "all layers; click to go there" });
  const strip = element("div", "qa-columns", { role: "group", "aria-label": "num_bits of each quantizer" });
  const bar = element("div", "qa-groups", { role: "group", "aria-label": "groups of quantizers" });
  const peek = element("div", "qa-peek", { role: "tooltip", hidden: "" });
  root.append(tools, keys, overview, strip, bar, peek);
  el.append(root);

  function tint(index, width) {
    const row = model.get("divergence")[index];
    if (!row || !width) return 0;
    const value = row[width - lower()];
    if (!(largest > 0) || !(value > 0)) return 0;
    return Math.max(0, 1 + Math.log10(value / largest) / Math.log10(MARK_SPAN));
  }

  function show(index) {
    const column = columns[index];
    const now = standing[index];
    column.slider.value = position(now); // which a hand may have moved
    if (column.shown === now) return;
    column.shown = now;
    column.slider.setAttribute("aria-valuetext", now ? `${now} bits` : "float");
    column.value.textContent = label(now);
    column.root.classList.toggle("qa-off", now === 0);
    column.off.setAttribute("aria-pressed", now === 0);
    column.tint.style.setProperty("--qa-tint", tint(index, now));
    column.bar.style.setProperty("--qa-share", (position(now) - lower() + 1) / (top() - lower() + 1));
    column.bar.classList.toggle("qa-off", now === 0);
  }

  function showAll() {
    standing.forEach((_, index) => show(index));
    handles.forEach((handle) => handle.show());
  }

  function showMoved() {
    moved.forEach(show);
    handles.forEach((handle) => handle.members.some((member) => moved.has(member)) && handle.show());
    moved.clear();
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
      const stopped = members.some((member) => locked[member]) ? null : stop(index, width, byKey);
      for (const member of members) {
        if (stopped !== null) standing[member] = stopped;
        moved.add(member);
      }
      held ||= stopped !== null;
    }
    showMoved();
    if (held && !frame) {
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
      // They stay where a keyboard finds them, and do nothing.
      for (const each of [column.slider, column.off]) each.setAttribute("aria-disabled", locked);
      column.lock.setAttribute("aria-pressed", locked);
      column.lock.replaceChildren(icon(locked ? "locked" : "unlocked"));
      column.root.classList.toggle("qa-locked", locked);
      column.bar.classList.toggle("qa-locked", locked);
    });
  }

  function select(name) {
    model.set("selected", model.get("selected") === name ? "" : name);
    model.save_changes();
  }

  function showSelected() {
    columns.forEach((column, index) => {
      const chosen = model.get("names")[index] === model.get("selected");
      column.root.classList.toggle("qa-selected", chosen);
      column.name.setAttribute("aria-pressed", chosen);
    });
  }

  // The steps that are suggested: a mark at the width, and one in the overview.
  function showSuggested() {
    for (const column of columns) {
      column.bar.classList.remove("qa-next");
      column.marks.querySelectorAll(".qa-next").forEach((mark) => mark.classList.remove("qa-next"));
    }
    for (const [index, width] of model.get("suggested")) {
      columns[index].bar.classList.add("qa-next");
      columns[index].marks.querySelector(`[data-bits="${width}"]`)?.classList.add("qa-next");
    }
  }

  // Only what belongs to one layer is stopped at by Tab; arrow keys lead from layer to layer.
  let current = 0;
  function setCurrent(index) {
    const reachable = (column, on) =>
      [column.slider, column.lock, column.off, column.name].forEach((each) => (each.tabIndex = on ? 0 : -1));
    if (columns[current]) reachable(columns[current], false);
    current = index;
    reachable(columns[index], true);
    for (const block of blocks) {
      const inside = block.members.includes(index);
      block.controls.forEach((each) => (each.tabIndex = inside || block.folded ? 0 : -1));
    }
  }

  const seen = () => [...strip.querySelectorAll(".qa-column")].filter((each) => each.offsetParent);

  function goTo(index) {
    setCurrent(index);
    columns[index].slider.focus({ preventScroll: true });
    scrollTo(index);
  }

  function handleKey(event, index) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    if (key === "ArrowLeft" || key === "ArrowRight") {
      const order = seen().map((each) => Number(each.dataset.index));
      const next = order[order.indexOf(index) + (key === "ArrowRight" ? 1 : -1)];
      if (next !== undefined) goTo(next);
    } else if (key === "l") toggleLock(index);
    else if (key === "f") columns[index].off.click();
    else if (key === "Enter" && event.target === columns[index].slider) select(model.get("names")[index]);
    else return;
    event.preventDefault();
  }

  root.addEventListener("keydown", (event) => {
    if (event.target === find) {
      if (event.key === "Escape") find.value = "";
      if (event.key === "Escape") showFound();
      return;
    }
    if (event.key === "/") find.focus();
    else if (event.key === "?") showHelp(keys.hidden);
    else if (event.key === "Escape") showHelp(false);
    else return;
    event.preventDefault();
  });

  function showHelp(on) {
    keys.hidden = !on;
    help.setAttribute("aria-expanded", on);
  }
  help.addEventListener("click", () => showHelp(keys.hidden));

  // What a layer sees, for whoever points at its name and rests.
  let asked = 0;
  let pointed = ""; // at this name
  function askToPeek(name) {
    clearTimeout(asked);
    pointed = name;
    asked = setTimeout(() => model.send({ hover: name }), REST);
  }
  function hidePeek() {
    clearTimeout(asked);
    pointed = "";
    peek.hidden = true;
  }
  function showPeek({ name, ends: [low, high], counts, levels, num_bits: bits, clipped }) {
    const column = columns[model.get("names").indexOf(name)];
    if (name !== pointed) return;
    const most = Math.log1p(Math.max(...counts));
    const x = (value) => (200 * (value - low)) / (high - low);
    const bars = counts.map((count, index) => {
      const height = (60 * Math.log1p(count)) / most;
      return `M${(200 * index) / counts.length} ${62 - height}h${200 / counts.length}v${height}h-${200 / counts.length}z`;
    });
    const lines = levels.filter((level) => level >= low && level <= high).map((level) => `M${x(level)} 62v6`);
    const svg = drawing("0 0 200 70", [[bars.join(""), "qa-peek-bars"], [lines.join(""), "qa-peek-levels"]]);
    const grid = `${bits} bits, ${(100 * clipped).toFixed(2)} % clipped; ${low.toPrecision(3)} to ${high.toPrecision(3)}, counts as logarithms`;
    peek.replaceChildren(element("b", "", {}, name), svg, element("div", "", {}, grid));
    peek.hidden = false;
    const at = column.name.getBoundingClientRect();
    const around = root.getBoundingClientRect();
    peek.style.left = `${Math.max(0, Math.min(at.left - around.left, around.width - 232))}px`;
    peek.style.top = `${Math.max(0, at.top - around.top - peek.offsetHeight - 4)}px`;
  }

  function makeColumn(name, index) {
    const type = model.get("types")[index];
    const slider = element("input", "qa-slider", {
      type: "range", min: lower(), max: top(), step: 1, orient: "vertical", "aria-label": `num_bits of ${name}`,
      "aria-orientation": "vertical",
    });
    let byKey = false;
    slider.addEventListener("keydown", () => (byKey = true));
    slider.addEventListener("pointerdown", () => (byKey = false));
    slider.addEventListener("input", () => move([[index, width(slider.value)]], byKey));
    slider.addEventListener("change", release);
    const value = element("span", "qa-value", { "aria-hidden": "true" });
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
    const called = element("button", "qa-name", {
      type: "button", title: `${name} (${type}): look inside${shares}`, "aria-label": `look inside ${name}, ${type}${shares}`,
    }, element("span", "", {}, model.get("labels")[index] || name), kind);
    called.addEventListener("click", () => select(name));
    called.addEventListener("mouseenter", () => askToPeek(name));
    called.addEventListener("focus", () => askToPeek(name));
    for (const event of ["mouseleave", "blur"]) called.addEventListener(event, hidePeek);
    const tintBox = element("div", "qa-tint", { title: "how much this layer at this width disturbs the output by itself" });
    const column = element("div", "qa-column", { "data-name": name, "data-index": index }, value,
      element("div", "qa-track", {}, slider, marks), tintBox, element("div", "qa-buttons", {}, lock, off), called);
    column.addEventListener("keydown", (event) => handleKey(event, index));
    column.addEventListener("focusin", (event) => {
      event.stopPropagation();
      if (current !== index) setCurrent(index);
    });
    if (others.length) {
      const mark = (on) => together(index).forEach((member) => columns[member].root.classList.toggle("qa-member", on));
      column.addEventListener("mouseenter", () => mark(true));
      column.addEventListener("mouseleave", () => mark(false));
    }
    const inOverview = element("span", "qa-bar", { title: name });
    inOverview.addEventListener("click", () => reveal(index));
    for (const each of [slider, lock, off, called]) each.tabIndex = -1;
    return { root: column, slider, value, lock, off, name: called, tint: tintBox, marks, bar: inOverview };
  }

  function makeHandle(group) {
    const slider = element("input", "qa-handle", {
      type: "range", min: lower(), max: top(), step: 1, "aria-label": `num_bits of all in ${group.name}`,
    });
    const value = element("span", "qa-value", { "aria-hidden": "true" });
    slider.addEventListener("input", () => move(group.members.map((index) => [index, width(slider.value)])));
    slider.addEventListener("change", release);
    const made = element("div", "qa-group", { title: `moves ${group.members.length} quantizers at once` }, slider, value);
    const mark = (on) => group.members.forEach((index) => columns[index].root.classList.toggle("qa-member", on));
    for (const event of ["mouseenter", "focusin"]) made.addEventListener(event, () => mark(true));
    for (const event of ["mouseleave", "focusout"]) made.addEventListener(event, () => mark(false));
    const show = () => {
      const widths = [...new Set(group.members.map((index) => standing[index]))];
      const ends = [Math.min, Math.max].map((end) => end(...widths.map(position)) % top());
      const mean = group.members.reduce((sum, index) => sum + position(standing[index]), 0) / group.members.length;
      if (document.activeElement !== slider || widths.length > 1) slider.value = Math.round(mean);
      const text = widths.length === 1 ? label(widths[0]) : `${short(ends[0])}\u2013${short(ends[1])}`;
      if (value.textContent === text) return;
      value.textContent = text;
      slider.setAttribute("aria-valuetext", widths.length === 1 ? text : `${label(ends[0])} to ${label(ends[1])}`);
    };
    return { root: made, slider, show, members: group.members };
  }

  // A block's handle stands over its columns; those of other groups stand below.
  function buildGroups() {
    const same = (block, group) =>
      block.name === group.name && group.members.every((member) => block.members.includes(member));
    handles = [];
    for (const block of blocks) block.setHandle(null);
    bar.replaceChildren();
    for (const group of model.get("groups")) {
      const handle = makeHandle(group);
      handles.push(handle);
      const block = blocks.find((each) => same(each, group));
      if (block) block.setHandle(handle);
      else bar.append(element("div", "qa-named", {}, element("span", "qa-group-name", {}, group.name), handle.root));
    }
    bar.hidden = !bar.childElementCount;
    setCurrent(current);
    showAll();
  }

  function makeBlock({ name, members }) {
    const inside = element("div", "qa-block-columns");
    const head = element("div", "qa-block-head");
    const made = element("div", "qa-block", { role: "group" }, head, inside);
    made.style.flexGrow = members.length;
    const block = { name, members, root: made, inside, folded: false, controls: [], setHandle: () => {}, fold: () => {} };
    if (!name) {
      made.removeAttribute("role");
      return block;
    }
    made.setAttribute("aria-label", name);
    const fold = element("button", "qa-fold", { type: "button", title: name });
    const text = element("span", "qa-block-name", {}, name);
    block.fold = (folded) => {
      block.folded = folded;
      made.classList.toggle("qa-folded", folded);
      fold.setAttribute("aria-expanded", !folded);
      fold.setAttribute("aria-label", `${name}, ${members.length} quantizers`);
      fold.replaceChildren(icon(folded ? "folded" : "open"), text);
    };
    block.setHandle = (handle) => {
      head.replaceChildren(fold, ...(handle ? [handle.root] : []));
      block.controls = [fold, ...(handle ? [handle.slider] : [])];
    };
    fold.addEventListener("click", () => {
      block.fold(!block.folded);
      setCurrent(current);
      showSeen();
    });
    block.fold(false);
    block.setHandle(null);
    return block;
  }

  foldAll.addEventListener("click", () => {
    const folded = !blocks.every((block) => block.folded || !block.name);
    blocks.forEach((block) => block.fold(folded));
    setCurrent(current);
    showSeen();
  });

  // Which layers can be seen of all; where that is all of them, nobody needs an overview.
  let looking = 0;
  function showSeen() {
    cancelAnimationFrame(looking);
    looking = requestAnimationFrame(() => {
      const named = blocks.filter((block) => block.name);
      foldAll.hidden = named.length < 2;
      foldAll.textContent = named.every((block) => block.folded) ? "unfold all" : "fold all";
      const { top: above, bottom: below } = strip.getBoundingClientRect();
      let all = true;
      for (const column of columns) {
        const box = column.slider.getBoundingClientRect();
        const visible = box.height > 0 && box.bottom > above + 8 && box.top < below - 8;
        column.bar.classList.toggle("qa-seen", visible);
        all &&= visible;
      }
      overview.hidden = all && strip.scrollHeight <= strip.clientHeight + 4;
    });
  }
  strip.addEventListener("scroll", showSeen, { passive: true });

  function showFound() {
    const names = model.get("names");
    columns.forEach((column, index) => (column.root.hidden = !matches(names[index], find.value)));
    for (const block of blocks) {
      block.root.hidden = !block.members.some((member) => !columns[member].root.hidden);
      // A weight that is found keeps its layer's column, which it stands in.
      for (const member of block.members) {
        const outer = columns[member].root.parentElement.closest(".qa-column");
        if (outer && !columns[member].root.hidden) outer.hidden = false;
      }
    }
    const found = names.filter((name) => matches(name, find.value)).length;
    count.textContent = find.value.trim() ? `${found} of ${names.length}` : `${names.length} quantizers`;
    group.hidden = !found || !find.value.trim();
    showSeen();
  }
  group.addEventListener("click", () => {
    const members = model.get("names").flatMap((name, index) => (matches(name, find.value) ? [index] : []));
    const name = find.value.trim();
    model.set("groups", [...model.get("groups").filter((each) => each.name !== name), { name, members }]);
    model.save_changes();
    find.value = "";
    showFound();
  });
  find.addEventListener("input", showFound);

  // In the box of the sliders alone: the page stays where it is.
  function scrollTo(index) {
    const box = columns[index].root.getBoundingClientRect();
    const frame = strip.getBoundingClientRect();
    if (box.top < frame.top) strip.scrollTop -= frame.top - box.top + 24;
    else if (box.bottom > frame.bottom) strip.scrollTop += box.bottom - frame.bottom + 4;
  }

  function reveal(index) {
    const block = blocks.find((each) => each.members.includes(index));
    block?.fold(false);
    if (columns[index].root.hidden) find.value = "";
    showFound();
    scrollTo(index);
    setCurrent(index);
    const { root: column } = columns[index];
    column.classList.remove("qa-flash");
    void column.offsetWidth; // begins anew
    column.classList.add("qa-flash");
  }

  // While a hand may be at a slider, which stays.
  function showDivergence() {
    const table = model.get("divergence");
    largest = table.flat().reduce((most, value) => (value > most ? value : most), 0);
    legend.hidden = !table.length;
    columns.forEach((column, index) => {
      column.shown = null;
      for (const mark of column.marks.querySelectorAll("[data-bits]"))
        mark.style.setProperty("--qa-tint", tint(index, Number(mark.dataset.bits)));
    });
    showAll();
  }

  function build() {
    standing = [...model.get("bit_widths")];
    columns = model.get("names").map(makeColumn);
    blocks = model.get("blocks").map(makeBlock);
    // A weight stands below its layer, smaller, where that has a column.
    const above = model.get("below");
    columns.forEach((column, index) => {
      if (above[index] < 0) return;
      column.root.classList.add("qa-weight");
      column.name.firstChild.textContent = "weight";
      columns[above[index]].name.before(column.root);
    });
    for (const block of blocks) {
      const roots = block.members.filter((index) => above[index] < 0).map((index) => columns[index].root);
      if (above.some((index) => index >= 0)) {
        for (const each of roots.filter((one) => !one.querySelector(".qa-weight")))
          each.lastChild.before(element("div", "qa-weight"));
      }
      block.inside.append(...roots);
    }
    strip.replaceChildren(...blocks.map((block) => block.root));
    const longest = Math.max(...model.get("labels").map((each) => each.length));
    root.style.setProperty("--qa-name-length", `${Math.max(longest, 8)}ch`);
    overview.replaceChildren(...blocks.flatMap((block) => block.members).map((index) => columns[index].bar));
    tools.hidden = columns.length < 2;
    setCurrent(0);
    buildGroups();
    showDivergence();
    showLocks();
    showSelected();
    showSuggested();
    showFound();
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
    "change:suggested": showSuggested,
  };
  for (const [event, listener] of Object.entries(watched)) model.on(event, listener);
  function told(message) {
    if (message.copy) navigator.clipboard?.writeText(message.copy);
    if (message.reveal !== undefined) reveal(message.reveal);
    if (message.histogram) showPeek(message.histogram);
  }
  model.on("msg:custom", told);

  function set(name, value) {
    if (model.get(name) === value) return;
    model.set(name, value);
    model.save_changes();
  }

  // Figures beside it are told how large the page is: they do not find out by themselves.
  const size = new ResizeObserver(() => {
    const now = Math.floor(root.clientWidth);
    if (now) set("page_width", now);
    set("page_height", window.innerHeight);
    showSeen();
  });
  size.observe(root);

  build();
  const forgetTheme = followTheme(root, (dark) => set("dark", dark));
  model.send({ views: 1 });
  return () => {
    release();
    for (const ending of endings) window.removeEventListener(ending, release, true);
    size.disconnect();
    cancelAnimationFrame(looking);
    clearTimeout(asked);
    for (const [event, listener] of Object.entries(watched)) model.off(event, listener);
    model.off("msg:custom", told);
    forgetTheme();
    try {
      model.send({ views: -1 });
    } catch {
      // Its kernel is gone, and nobody counts.
    }
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
