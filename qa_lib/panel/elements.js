// What the panel's views are made of.

const ICONS = {
  locked: "M4 7V5a4 4 0 0 1 8 0v2h1v7H3V7zm2 0h4V5a2 2 0 0 0-4 0z",
  unlocked: "M4 7V5a4 4 0 0 1 7.7-1.5l-1.9.7A2 2 0 0 0 6 5v2h7v7H3V7z",
  power: "M7 1h2v7H7zM4.5 3.4l1.2 1.5a4 4 0 1 0 4.6 0l1.2-1.5a6 6 0 1 1-7 0z",
  open: "M3 5h10l-5 7z",
  folded: "M5 3l7 5-7 5z",
};

// Paths, each with its class; nobody reads them aloud.
function drawing(viewBox, paths) {
  const made = (tag) => document.createElementNS("http://www.w3.org/2000/svg", tag);
  const svg = made("svg");
  svg.setAttribute("viewBox", viewBox);
  svg.setAttribute("aria-hidden", "true");
  for (const [d, className] of paths) {
    const path = made("path");
    path.setAttribute("d", d);
    path.setAttribute("class", className);
    svg.append(path);
  }
  return svg;
}

const icon = (name) => drawing("0 0 16 16", [[ICONS[name], ""]]);

function element(tag, className, attributes = {}, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Whether "text" matches what somebody typed: a pattern where it has a star, else any part of it.
function matches(text, typed) {
  const wanted = typed.trim().toLowerCase();
  if (!wanted.includes("*")) return text.toLowerCase().includes(wanted);
  const parts = wanted.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`).test(text.toLowerCase());
}

// JupyterLab would take keys for its own, and the focus with them.
function keepKeys(root) {
  root.dataset.lmSuppressShortcuts = "true";
  root.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  });
}

// JupyterLab says on the page's body whether its theme is a light one; other pages follow the system.
function followTheme(root, show) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  function follow() {
    const light = document.body.dataset.jpThemeLight;
    const dark = light === undefined ? system.matches : light === "false";
    root.classList.toggle("qa-dark", dark);
    show(dark);
  }
  const theme = new MutationObserver(follow);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  system.addEventListener("change", follow);
  follow();
  return () => {
    theme.disconnect();
    system.removeEventListener("change", follow);
  };
}
