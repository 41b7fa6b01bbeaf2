// Loaded before the page is drawn, so that it is never drawn in the wrong colours.
(() => {
  const KEY = "projector-theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem(KEY) ?? (system.matches ? "dark" : "light");
  const show = () => {
    const theme = chosen();
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = theme === "dark" ? "light" : "dark";
  };
  show();
  system.addEventListener("change", show);
  addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      const next = chosen() === "dark" ? "light" : "dark";
      // What the system wants needs no memory.
      if (next === (system.matches ? "dark" : "light")) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, next);
      show();
    });
  });
})();
